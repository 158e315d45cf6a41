"""A served project whose artifacts are in a bucket: what its loss, its silence and its lies do."""

import time
from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import func, select

from continualml.app.api import champion
from continualml.integrations import s3
from continualml.integrations.s3 import Bucket
from continualml.settings import Project
from continualml.store import pointers
from continualml.store.artifacts import Remote
from continualml.store.engine import open_store, read
from continualml.store.tables import outcomes
from tests.api.conftest import LOAN, graph, registered, running
from tests.seaweed import Seaweed

pytestmark = pytest.mark.journey

ROW = {"features": {"age": 1.0, "debt": None}}
LONGEST_S = 1.0  # for one answer, on a machine that does a lot besides


def until(holds: Callable[[], bool], most_s: float = 30.0) -> None:
    end = time.monotonic() + most_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def answers(api: httpx.Client) -> int | None:
    """Ask, and say which version answered, if one did, in time."""
    began = time.monotonic()
    answer = api.post("/predict", json=ROW)
    assert time.monotonic() - began < LONGEST_S
    return int(answer.headers["x-model-version"]) if answer.is_success else None


def because(api: httpx.Client) -> str:
    told = api.get("/health").json()["components"]["champion"]
    return str(told.get("failures", {}).get("loan", ""))


def unfit(project: Project) -> int:
    engine = open_store(project.settings.database_url)
    with read(engine) as conn:
        found = conn.scalar(select(func.count()).where(outcomes.c.kind == "unfit"))
    engine.dispose()
    return int(found or 0)


def test_a_silent_bucket_delays_a_swap_alone_and_one_that_lies_is_not_believed(
    project: Project,
    machine: Callable[[str], Remote],
    seaweed: Seaweed,
    serve: Callable[[], httpx.Client],
    point: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3, "LONGEST_S", 2.0)
    monkeypatch.setattr(champion, "_TRY_AGAIN_S", 0.5)
    there = machine("trains")
    point(registered(project, 1.0, place=there))
    api = serve()
    until(lambda: answers(api) == 1)

    second = registered(project, 2.0, place=there)
    with seaweed.hung():
        point(second)
        until(lambda: "FSTimeoutError" in because(api))
        assert {answers(api) for _ in range(50)} == {1}
        assert because(api).startswith(there.url)
    until(lambda: answers(api) == second)
    until(lambda: because(api) == "")
    assert unfit(project) == 0  # no version was to blame

    third = registered(project, 3.0, place=there)
    changed = graph(LOAN, 4.0) + b"\0"
    Bucket(there.url).put(f"{name_of(project, third)}.onnx", changed)
    point(third)
    until(lambda: "was changed" in because(api))
    assert answers(api) == second
    assert unfit(project) == 1


def test_a_restart_with_the_same_champion_needs_no_bucket(
    project: Project,
    machine: Callable[[str], Remote],
    seaweed: Seaweed,
    point: Callable[..., None],
) -> None:
    there = machine("trains")
    first, second, third = (registered(project, s, place=there) for s in (1.0, 2.0, 3.0))
    point(first, alias="previous")
    point(second)
    with running(project), client(project) as api:
        until(lambda: answers(api) == second)
        kept = project.settings.artifacts / f"{name_of(project, first)}.onnx"
        until(kept.exists)  # the way back is here before it is needed

    seaweed.kill()
    with running(project), client(project) as api:
        assert answers(api) == second
        point(third)
        until(lambda: "ConnectionError" in because(api) or "EndpointConnection" in because(api))
        assert answers(api) == second
        point(first)
        until(lambda: answers(api) == first)
    assert unfit(project) == 0


def client(project: Project) -> httpx.Client:
    secret = project.settings.admin_token.read_text("utf-8").strip()
    return httpx.Client(
        base_url=f"http://127.0.0.1:{project.settings.port}",
        headers={"Authorization": f"Bearer {secret}"},
        trust_env=False,
        timeout=20,
    )


def name_of(project: Project, version: int) -> str:
    engine = open_store(project.settings.database_url)
    with read(engine) as conn:
        known = pointers.version(conn, "loan", version)
    engine.dispose()
    assert known is not None
    return known.sha256
