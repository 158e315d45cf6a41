"""Several serving processes over one log: two workers of one server, and a second server beside it.

Each test runs over SQLite, and with ``make test-outage`` over a real PostgreSQL.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from http.client import HTTPException
from typing import Any

import numpy as np
import psutil
import pytest
from sqlalchemy import Engine, func, select

from continualml.settings import Project
from continualml.store import pointers, tables
from continualml.store.engine import open_store, read, write
from tests.api.conftest import free_port, project_in, registered, running
from tests.several import Asking, until, workers_of

pytestmark = pytest.mark.journey

# What docs/scaling.md says.
SWAP_S = 1.0
NUMBERED = (tables.observations, tables.labels, tables.outcomes)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A server with two workers and one with one, over one data directory and one log."""

    project: Project
    engine: Engine
    ports: tuple[int, int]
    first: int

    def asking(self, server: int = 0) -> Asking:
        return Asking.of(self.project, self.ports[server])

    def workers(self) -> set[int]:
        return workers_of(self.first)

    def until_two_serve(self) -> None:
        def both() -> bool:
            with suppress(OSError, HTTPException), self.asking() as one:
                return b"continual_workers 2.0" in one.get("/metrics")[1]
            return False

        until(both)

    def point(self, version: int) -> tuple[float, float]:
        """Make it the champion; tell between which instants that was committed."""
        before = time.monotonic()
        with write(self.engine) as conn:
            pointers.point(conn, "loan", "champion", version, 0)
        return before, time.monotonic()


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.outage)]
)
def deployed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    project = project_in(tmp_path_factory.mktemp("deployed"))
    if request.param == "postgresql":
        new: Callable[[], str] = request.getfixturevalue("server").new
        project.settings.database_url = new()
    version = registered(project)
    engine = open_store(project.settings.database_url)
    with write(engine) as conn:
        pointers.point(conn, "loan", "champion", version, 0)
    second = replace(project, settings=project.settings.model_copy(update={"port": free_port()}))
    project.settings.workers = 2
    with running(project) as first, running(second):
        there = Deployment(
            project, engine, (project.settings.port, second.settings.port), first.pid
        )
        there.until_two_serve()
        yield there
    engine.dispose()


def test_no_row_appears_below_a_number_that_was_read_whichever_process_wrote_it(
    deployed: Deployment,
) -> None:
    def send(i: int) -> None:
        with deployed.asking(i % 2) as one:
            for n in range(15):
                rows = [{"features": {"age": 1.0, "debt": None}}] * (1 + 35 * (n % 3))
                _, _, told = one.post("/predict", {"instances": rows})
                ids = [p["observation_id"] for p in told["predictions"]]
                labels = [{"observation_id": name, "label": "yes"} for name in ids]
                assert one.post("/labels", {"labels": labels})[0] == 200

    looks, read_to, known = 0, 0, 0
    with ThreadPoolExecutor(4) as pool:
        sending = [pool.submit(send, i) for i in range(4)]
        while not all(one.done() for one in sending):
            with read(deployed.engine) as conn:
                below = sum(
                    conn.execute(
                        select(func.count()).select_from(t).where(t.c.seq <= read_to)
                    ).scalar_one()
                    for t in NUMBERED
                )
                assert below == known
                read_to = max(
                    conn.execute(select(func.max(t.c.seq))).scalar() or 0 for t in NUMBERED
                )
                known = sum(
                    conn.execute(select(func.count()).select_from(t)).scalar_one() for t in NUMBERED
                )
            assert known == read_to  # numbers have no gap either
            looks += 1
            time.sleep(0.01)
        for one in sending:
            one.result()
    assert looks > 10


def test_one_id_sent_to_two_processes_at_the_same_instant_is_one_row_with_one_answer(
    deployed: Deployment,
) -> None:
    together = threading.Barrier(2)

    def send(server: int) -> list[tuple[int, Any, Any]]:
        answers = []
        with deployed.asking(server) as asking:
            asking.get("/livez")
            for i in range(60):
                age = 1.0 if i < 40 else float(server)  # the last ones differ: who is first wins
                one = {"observation_id": f"twice-{i}", "features": {"age": age, "debt": None}}
                together.wait(30)
                answers.append(asking.post("/predict", one))
        return answers

    with ThreadPoolExecutor(2) as pool:
        here, there = pool.map(send, (0, 1))

    for a, b in list(zip(here, there, strict=True))[:40]:
        assert (a[0], b[0]) == (200, 200)
        assert a[2]["predictions"] == b[2]["predictions"]
    both = [{a[0], b[0]} for a, b in zip(here[40:], there[40:], strict=True)]
    assert both == [{200, 409}] * 20
    assert set(logged(deployed, "twice-").values()) == {1}
    assert len(logged(deployed, "twice-")) == 60


def test_every_process_follows_a_swap_within_the_time_that_is_stated_and_none_goes_back(
    deployed: Deployment,
) -> None:
    versions = [registered(deployed.project, slope) for slope in (0.5, 2.0)]
    seen: list[tuple[float, float, str]] = []  # asked, answered, by which version
    ended = threading.Event()
    stood_still_s = 0.0

    def ask(server: int) -> None:
        body = {"features": {"age": 1.0, "debt": None}}
        while not ended.wait(0.02):
            with deployed.asking(server) as one:  # a new connection: any worker may take it
                for _ in range(3):
                    asked = time.monotonic()
                    _, headers, _ = one.post("/predict", body)
                    seen.append((asked, time.monotonic(), headers["X-Model-Version"]))

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask, server) for server in (0, 0, 1)]
        swaps: list[tuple[float, float, str]] = []
        for i in range(5):
            swaps.append((*deployed.point(versions[i % 2]), str(versions[i % 2])))
            for _ in range(30):
                before = time.monotonic()
                ended.wait(0.05)
                stood_still_s = max(stood_still_s, time.monotonic() - before - 0.05)
        ended.set()
        for one in asking:
            one.result()

    # A machine that lets us wait lets the server wait too.
    bound_s = SWAP_S + 2 * stood_still_s
    end = (float("inf"), 0.0, "")
    for (_, swapped, version), (following, _, _) in zip(swaps, [*swaps[1:], end], strict=True):
        told = {v for asked, got, v in seen if swapped + bound_s < asked and got < following}
        assert told <= {version}
    assert {v for _, _, v in seen} >= set(map(str, versions))


def test_kill_9_of_a_worker_under_load_loses_and_doubles_nothing_and_it_is_started_again(
    deployed: Deployment,
) -> None:
    answers: dict[str, Any] = {}
    ended = threading.Event()

    def send(i: int) -> None:
        server, n = int(i == 3), 0
        rng = np.random.default_rng(i)
        asking = deployed.asking(server)
        while not ended.wait(0.01):  # the worker that starts needs the processor too
            name, age = f"kill-{i}-{n}", float(np.float32(rng.normal()))
            one = {"observation_id": name, "features": {"age": age, "debt": None}}
            status = 0
            told: Any = None
            while not status:
                try:
                    status, _, told = asking.post("/predict", one)
                except (OSError, HTTPException):
                    assert server == 0  # the other server goes on answering
                    asking.connection.close()
                    asking = deployed.asking(server)
            assert status == 200
            answers[name] = (age, told["predictions"][0])
            n += 1
        asking.connection.close()

    killed: set[int] = set()
    with ThreadPoolExecutor(4) as pool, ExitStack() as at_end:
        at_end.callback(ended.set)
        sending = [pool.submit(send, i) for i in range(4)]
        for _ in range(1):
            time.sleep(0.5)
            one_of = min(deployed.workers() - killed)
            killed.add(one_of)
            os.kill(one_of, signal.SIGKILL)
            until(lambda: len(deployed.workers() - killed) == 2)
        deployed.until_two_serve()
        ended.set()
        for one in sending:
            one.result()

    assert len(answers) > 100
    counted = logged(deployed, "kill-")
    assert set(counted.values()) == {1}
    assert set(answers) <= set(counted)
    with read(deployed.engine) as conn:
        there_now = {
            r.observation_id: r
            for r in conn.execute(
                select(tables.observations).where(
                    tables.observations.c.observation_id.startswith("kill-")
                )
            )
        }
    for name, (age, said) in answers.items():
        assert np.frombuffer(there_now[name].numeric)[0] == age
        kept = np.frombuffer(there_now[name].answer).tolist()
        assert kept == list(said["probabilities"].values())


def test_workers_end_with_the_process_that_started_them(deployed: Deployment) -> None:
    """The last of this deployment: nothing answers at its first address afterwards."""
    there = [psutil.Process(pid) for pid in deployed.workers()]
    os.kill(deployed.first, signal.SIGKILL)
    _, left = psutil.wait_procs(there, 60)
    assert left == []
    with pytest.raises(ConnectionRefusedError), deployed.asking() as one:
        one.get("/livez")


def logged(deployed: Deployment, prefix: str) -> dict[str, int]:
    """Count how often each id that begins so stands in the log."""
    name = tables.observations.c.observation_id
    asked = select(name, func.count()).where(name.startswith(prefix)).group_by(name)
    with read(deployed.engine) as conn:
        return {row[0]: row[1] for row in conn.execute(asked)}
