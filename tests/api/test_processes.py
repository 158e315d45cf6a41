"""A real server process: swaps under load, kill -9 under load, a full disk, an orderly end."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from continualml.learning.merge import merge
from continualml.records import Rows
from continualml.scoring.session import Session
from continualml.settings import Project
from continualml.store import artifacts, log, pointers
from continualml.store.engine import open_store, read
from tests.api.conftest import LOAN, graph
from tests.several import Clients

pytestmark = pytest.mark.journey

Process = Callable[[], AbstractContextManager[subprocess.Popen[bytes]]]
FORBIDDEN = (
    "s3fs",
    "fsspec",
    "botocore",
    "prefect",
    "mlflow",
    "sklearn",
    "skl2onnx",
    "pandas",
    "streamlit",
    "celery",
    "lightgbm",
    "onnx",
    "alembic",
    "continualml.loop",
    "continualml.learning",
    "continualml.decide",
)


def client_of(project: Project) -> httpx.Client:
    secret = project.settings.admin_token.read_text("utf-8").strip()
    return httpx.Client(
        base_url=f"http://127.0.0.1:{project.settings.port}",
        headers={"Authorization": f"Bearer {secret}"},
        timeout=10,
    )


@dataclass(slots=True)
class Load(Clients):
    """Clients that send rows, one after the other, until they are stopped or the server goes."""

    project: Project
    answers: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def send(self, client: int) -> None:
        rng = np.random.default_rng(client)
        with client_of(self.project) as asking:
            while not self.stopped.is_set():
                age = float(np.float32(rng.normal()))
                try:
                    answer = asking.post("/predict", json={"features": {"age": age, "debt": None}})
                except httpx.TransportError as error:
                    self.broken.append(repr(error))
                    return
                if answer.status_code == 200:
                    assert answer.headers["x-model-version"] == str(answer.json()["version"])
                    self.answers.append((age, answer.json()))
                else:
                    self.refused.append(answer.text)


def logged(project: Project, ids: list[str]) -> dict[str, log.Observed]:
    engine = open_store(project.settings.database_url)
    with read(engine) as conn:
        found = log.recorded(conn, [("loan", i) for i in ids])
    engine.dispose()
    return {i: row for (_, i), row in found.items()}


def check_logged(project: Project, answers: list[tuple[float, dict[str, Any]]]) -> None:
    """Every answer that a client received stands in the log, as it was received."""
    ids = [a["predictions"][0]["observation_id"] for _, a in answers]
    assert len(set(ids)) == len(ids)
    rows = logged(project, ids)
    for age, answer in answers:
        (said,) = answer["predictions"]
        row = rows[said["observation_id"]]
        assert row.version == answer["version"]
        assert np.frombuffer(row.numeric)[0] == age
        assert np.frombuffer(row.answer or b"").tolist() == list(said["probabilities"].values())


def test_two_hundred_swaps_under_load_fail_no_request_and_each_answer_is_its_versions(
    project: Project,
    process: Process,
    register: Callable[..., int],
    point: Callable[..., None],
) -> None:
    versions = [register(slope) for slope in (0.5, 1.0, 2.0, 4.0)]
    point(versions[0])
    with process(), Load(project) as load:
        for i in range(200):
            point(versions[i % len(versions)])
            time.sleep(0.03)
            if i % 10 == 0:  # now and then wait until it is followed
                time.sleep(0.25)

    assert load.refused == load.broken == []
    assert len(load.answers) > 1_000
    assert {a["version"] for _, a in load.answers} == set(versions)
    check_logged(project, load.answers)
    engine = open_store(project.settings.database_url)
    for number in versions:
        with read(engine) as conn:
            known = pointers.version(conn, "loan", number)
        assert known is not None
        session = Session(artifacts.read(project.settings.artifacts, known.sha256))
        mine = [(age, a["predictions"][0]) for age, a in load.answers if a["version"] == number]
        numeric = np.array([[age, np.nan] for age, _ in mine])
        again = session.answer(
            Rows(numeric=numeric, categorical=np.empty((len(mine), 0), dtype=object))
        )
        said = np.array([list(p["probabilities"].values()) for _, p in mine])
        np.testing.assert_allclose(said, again, rtol=0, atol=1e-6)
        classes = np.array(["no", "yes"])[again.argmax(axis=1)].tolist()
        assert [p["prediction"] for _, p in mine] == classes
    engine.dispose()


def test_new_weights_of_a_blend_are_followed_under_load_and_each_answer_is_its_revisions(
    project: Project,
    process: Process,
    register: Callable[..., int],
    point: Callable[..., None],
) -> None:
    slopes = (0.5, 4.0)
    rows = Rows(numeric=np.zeros((3, 2)), categorical=np.empty((3, 0), dtype=object))
    members = [(f"s{i}", i + 1, graph(LOAN, slope)) for i, slope in enumerate(slopes)]
    merged, _ = merge(LOAN, members, rows, strategy="blend")
    version = register(data=merged)
    revisions = {n: (n / 28, 1 - n / 28) for n in range(1, 28)}
    point(version, revision=1, weights=revisions[1])
    with process(), Load(project) as load:
        for n in range(2, 28):
            point(version, revision=n, weights=revisions[n])
            time.sleep(0.25)

    assert load.refused == load.broken == []
    check_logged(project, load.answers)
    ids = [a["predictions"][0]["observation_id"] for _, a in load.answers]
    logged_rows = logged(project, ids)
    seen = {row.revision for row in logged_rows.values()}
    assert len(seen) > 13  # of 27: they are looked for five times a second
    engine = open_store(project.settings.database_url)
    session = Session(merged)
    with read(engine) as conn:
        kept = {n: pointers.weights_of(conn, "loan", n) for n in revisions}
    engine.dispose()
    assert kept == revisions
    for (age, answer), i in zip(load.answers, ids, strict=True):
        revision = logged_rows[i].revision
        assert revision is not None
        one = Rows(numeric=np.array([[age, np.nan]]), categorical=np.empty((1, 0), dtype=object))
        again = session.answer(one, np.array(revisions[revision], np.float32))[0]
        said = list(answer["predictions"][0]["probabilities"].values())
        np.testing.assert_allclose(said, again, rtol=0, atol=1e-6)


def test_every_answer_that_a_client_received_survives_kill_9(
    project: Project,
    process: Process,
    register: Callable[..., int],
    point: Callable[..., None],
) -> None:
    point(register())
    received: list[tuple[float, dict[str, Any]]] = []
    for answers in (5, 20, 45, 80, 125):
        with process() as child, Load(project) as load:
            until = time.monotonic() + 30
            while len(load.answers) < answers and time.monotonic() < until:
                time.sleep(0.001)
            os.kill(child.pid, signal.SIGKILL)
            child.wait(10)
        assert load.refused == []
        received += load.answers

    assert len(received) > 200
    check_logged(project, received)


def test_a_full_disk_is_503_and_it_recovers_by_itself(
    project: Project,
    process: Process,
    register: Callable[..., int],
    point: Callable[..., None],
) -> None:
    point(register())
    rows = [{"features": {"age": 1.0, "debt": None}}] * 100
    with process() as child, client_of(project) as client:
        first = client.post("/predict", json={"instances": rows})
        size = (project.settings.data / "log.sqlite-wal").stat().st_size
        free = resource.prlimit(child.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (size, free[1]))  # no file may grow
        before = logged_seq(project)
        full = [client.post("/predict", json={"instances": rows}) for _ in range(3)]
        label = {"observation_id": "x", "label": "yes"}
        full.append(client.post("/labels", json={"labels": [label]}))
        alive = client.get("/livez")
        until(lambda: client.get("/readyz").status_code == 503)
        health = client.get("/health")
        after = logged_seq(project)
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, free)
        healed = client.post("/predict", json={"instances": rows})
        until(lambda: client.get("/readyz").status_code == 200)

    assert first.status_code == healed.status_code == 200
    assert [a.status_code for a in full] == [503] * 4
    for answer in full:
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["type"] == "urn:continualml:problem:store-unavailable"
    assert alive.status_code == 200
    assert health.status_code == 503
    assert health.json()["components"]["store"]["status"] == "down"
    assert after == before
    ids = [p["observation_id"] for a in (first, healed) for p in a.json()["predictions"]]
    assert len(logged(project, ids)) == 200


def test_on_sigterm_what_is_under_way_is_answered_and_the_process_ends(
    project: Project,
    process: Process,
    register: Callable[..., int],
    point: Callable[..., None],
) -> None:
    point(register())
    with process() as child, Load(project) as load:
        time.sleep(0.3)
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        child.wait(10)
        took_s = time.monotonic() - began

    assert took_s < 5
    assert load.refused == []
    check_logged(project, load.answers)


def test_it_starts_quickly_small_and_without_what_trains_and_schedules(
    project: Project, register: Callable[..., int], point: Callable[..., None], tmp_path: Path
) -> None:
    point(register())
    source = (
        "import json, sys\n"
        "from continualml import settings\n"
        "from continualml.app.api import main\n"
        "from continualml.app.api.serving import Serving\n"
        "serving = Serving.begin(settings.load())\n"
        "main.create(settings.load()).openapi()\n"
        "serving.end()\n"
        "json.dump(sorted(sys.modules), sys.stdout)\n"
    )
    env = {"CONTINUAL_DATA": str(project.settings.data), "PATH": os.environ["PATH"]}
    env["CONTINUAL_CONFIG"] = str(project.settings.config)
    run = subprocess.run(
        [sys.executable, "-c", source], env=env, cwd=tmp_path, capture_output=True, check=True
    )

    there = set(json.loads(run.stdout))
    assert "onnxruntime" in there
    assert [m for m in FORBIDDEN if m in there] == []


def test_it_does_not_start_on_an_unsafe_token_file(project: Project) -> None:
    project.settings.data.mkdir(parents=True)
    project.settings.admin_token.write_text("", encoding="utf-8")
    project.settings.admin_token.chmod(0o600)
    env = {"CONTINUAL_DATA": str(project.settings.data), "PATH": os.environ["PATH"]}
    env |= {"CONTINUAL_CONFIG": str(project.settings.config)}
    env |= {"CONTINUAL_PORT": str(project.settings.port)}

    run = subprocess.run(
        [sys.executable, "-m", "continualml.app.api"],
        env=env,
        capture_output=True,
        check=False,
        timeout=20,
    )

    assert run.returncode == 2
    assert b"admin.token" in run.stderr
    assert b"Traceback" not in run.stderr


def until(holds: Callable[[], bool], most_s: float = 6.0) -> None:
    end = time.monotonic() + most_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def logged_seq(project: Project) -> int:
    engine = open_store(project.settings.database_url)
    with read(engine) as conn:
        last = log.last_seq(conn)
    engine.dispose()
    return last
