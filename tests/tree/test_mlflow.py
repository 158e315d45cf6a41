"""The mirror while a real MLflow server is killed, is silent, and is slow."""

import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from continualml import demo
from continualml.loop import begin
from continualml.loop.command import command
from continualml.loop.cycle import Loop
from continualml.loop.training import Trainer
from continualml.model import Strategy
from continualml.store import outbox
from continualml.store.engine import read
from tests.conftest import Home, demo_table
from tests.tree.conftest import Tree, free_port, until
from tests.tree.proxy import Proxy
from tests.tree.registry import Registry

pytestmark = pytest.mark.journey

ROW = {
    "period": 0.1,
    "nswprice": 0.05,
    "nswdemand": 0.4,
    "vicprice": 0.003,
    "vicdemand": 0.42,
    "transfer": 0.41,
}
LONGEST_S = 2.0  # for one answer, on a machine that does a lot besides
MODEL = replace(
    demo.DEMO,
    policy=replace(
        demo.DEMO.policy, strategies=(Strategy(name="newest-200", window=200, refit=100),)
    ),
)


@pytest.fixture
def small(tmp_path: Path, engine: Engine, trainer: Trainer) -> Home:
    """A store of its own with a first champion and one strategy, so that few versions are made."""
    loop = Loop(
        engine=engine,
        artifacts=tmp_path / "artifacts",
        models={"demo": MODEL},
        trainer=trainer,
        holder="test",
    )
    begin.from_table(loop, "demo", demo_table(600, seed=0))
    return Home(tmp_path, engine, loop)


def test_while_mlflow_is_killed_messages_wait_and_arrive_when_it_is_back(tree: Tree) -> None:
    registry = Registry(tree.mlflow, "electricity", tree.login)
    tree.until(lambda: registry.aliased("champion") is not None, 90)
    took_s: list[float] = []

    def fails() -> bool:
        took_s.append(predict(tree.api, ROW))
        mirror = mirror_of(tree.api)
        return bool(mirror["status"] == "degraded" and mirror["messages"]["waiting"] > 0)

    tree.kill("mlflow", "server")
    tree.until(fails, 60)
    assert "MlflowException" in mirror_of(tree.api)["because"]
    assert max(took_s) < LONGEST_S

    tree.until(registry.is_up, 120)
    last = max(v["version"] for v in tree.model()["versions"])
    tree.until(lambda: last in registry.versions(), 120)
    found = [v for v in registry.versions() if v <= last]
    assert found == list(range(1, last + 1))
    tree.until(lambda: registry.aliased("champion") == tree.model()["champion"], 120)
    tree.until(lambda: mirror_of(tree.api)["status"] == "ok", 60)


def test_a_silent_or_slow_mlflow_delays_neither_answers_nor_the_cycle_and_loses_nothing(
    tree: Tree, small: Home
) -> None:
    registry = Registry(tree.mlflow, "demo", tree.login)
    row = {f"x{i}": 0.5 for i in range(1, 5)}
    port = int(tree.mlflow.rsplit(":", 1)[1])
    with (
        Proxy(port, delay_s=math.inf) as proxy,
        served(small) as api,
        courier(small, proxy.url, tree.login),
    ):
        until(lambda: proxy.held > 0, 60, lambda: "the courier did not ask")
        took_s = [predict(api, row) for _ in range(50)]
        small.send(100, seed=1)
        small.loop.turn("demo")
        command(
            small.engine, small.loop.artifacts, "demo", version=2, said="it is a test", by="test"
        )
        assert proxy.answered == 0  # all that while MLflow had not said a word

        until(lambda: "Read timed out" in failing(small), 60, lambda: failing(small))
        proxy.delay_s = 0.7
        until(lambda: registry.runs() != [], 60, lambda: failing(small))
        took_s += [predict(api, row) for _ in range(50)]
        proxy.delay_s = math.inf  # in the middle of a version
        tries = attempts(small)
        until(lambda: attempts(small) > tries, 60, lambda: failing(small))
        proxy.delay_s = 0.0
        until(lambda: set(counts(small)) == {outbox.DELIVERED}, 90, lambda: failing(small))
        told = api.get("/models/demo").json()

    versions = list(range(1, max(v["version"] for v in told["versions"]) + 1))
    assert max(took_s) < LONGEST_S
    assert registry.versions() == versions
    assert registry.runs() == [(v, "FINISHED") for v in versions]  # none begun a second time
    assert registry.aliased("champion") == told["champion"] == 2


def predict(api: httpx.Client, row: dict[str, float]) -> float:
    """Return how long the answer took, in seconds."""
    began = time.monotonic()
    api.post("/predict", json={"features": row}).raise_for_status()
    return time.monotonic() - began


def mirror_of(api: httpx.Client) -> dict[str, Any]:
    told: dict[str, Any] = api.get("/health").json()["components"]["mlflow"]
    return told


def failing(home: Home) -> str:
    with read(home.engine) as conn:
        return outbox.failing(conn, "mlflow") or ""


def counts(home: Home) -> dict[str, int]:
    with read(home.engine) as conn:
        return outbox.counts(conn, "mlflow")


def attempts(home: Home) -> int:
    with read(home.engine) as conn:
        return max((m.attempts for m in outbox.due(conn, "mlflow")), default=0)


@contextmanager
def started(home: Home, module: str, **variables: str) -> Iterator[None]:
    env = {n: v for n, v in os.environ.items() if not n.startswith(("CONTINUAL_", "MLFLOW_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", f"continualml.app.{module}"],
        cwd=home.directory,
        env=env | {"CONTINUAL_DATA": str(home.directory)} | variables,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextmanager
def served(home: Home) -> Iterator[httpx.Client]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        started(home, "api", CONTINUAL_PORT=str(port)),
        httpx.Client(base_url=url, trust_env=False, timeout=20) as api,
    ):
        until(lambda: is_up(api), 30, lambda: "the API did not start")
        token = (home.directory / "admin.token").read_text("utf-8").strip()
        api.headers["Authorization"] = f"Bearer {token}"
        yield api


def courier(home: Home, url: str, login: tuple[str, str]) -> Any:
    return started(
        home,
        "courier",
        MLFLOW_TRACKING_URI=url,
        MLFLOW_TRACKING_USERNAME=login[0],
        MLFLOW_TRACKING_PASSWORD=login[1],
        MLFLOW_HTTP_REQUEST_TIMEOUT="2",
    )


def is_up(api: httpx.Client) -> bool:
    try:
        return api.get("/livez").is_success
    except httpx.TransportError:
        return False
