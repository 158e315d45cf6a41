"""A real PostgreSQL that is killed, hangs, or fails over, under two workers and their load.

Asked for by ``make test-outage``: they take minutes.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import psutil
import pytest
from sqlalchemy import Engine

from continualml.settings import Project
from continualml.store import pointers
from continualml.store.engine import open_store, write
from tests import postgres
from tests.api.conftest import project_in, registered, running
from tests.lossy import Lossy
from tests.several import Asking, Load, until, workers_of

pytestmark = pytest.mark.outage

# What docs/scaling.md says: nobody waits longer for the log.
PATIENCE_S = 8.0


@dataclass(slots=True)
class Deployment:
    """One server with two workers, whose database is behind a proxy."""

    project: Project
    way: Lossy
    pid: int

    def workers(self) -> set[int]:
        return workers_of(self.pid)

    def both_serve(self) -> bool:
        counts = self.project.settings.data / "counts"  # a file for each, once it serves
        return len(self.workers()) == len(list(counts.glob("*/*.counts"))) == 2

    def asks(self, path: str) -> int:
        with Asking.of(self.project) as one:
            return one.get(path)[0]

    def predicts(self) -> bool:
        body = {"features": {"age": -1.0, "debt": None}}
        with suppress(OSError, HTTPException), Asking.of(self.project) as one:
            return bool(one.post("/predict", body)[0] == 200)
        return False


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    """A server of its own: the others' shall not be killed."""
    with postgres.server() as one:
        yield one


@contextmanager
def deployed_in(folder: Path, url: str, way: Lossy) -> Iterator[Deployment]:
    project = project_in(folder)
    port = url.rpartition("/")[0].rpartition(":")[2]
    project.settings.database_url = url.replace(f":{port}/", f":{way.own_port}/")
    project.settings.workers = 2
    version = registered(project)
    engine = open_store(project.settings.database_url)
    with write(engine) as conn:
        pointers.point(conn, "loan", "champion", version, 0)
    engine.dispose()
    with running(project) as process:
        one = Deployment(project, way, process.pid)
        until(one.predicts)
        until(one.both_serve)
        yield one


@pytest.fixture
def deployed(server: postgres.Server, tmp_path: Path) -> Iterator[Deployment]:
    with Lossy(server.port) as way, deployed_in(tmp_path, server.new(), way) as one:
        yield one


@pytest.fixture
def engine(deployed: Deployment) -> Iterator[Engine]:
    opened = open_store(deployed.project.settings.database_url)
    yield opened
    opened.dispose()


def say(figures: str) -> None:
    """Say what docs/scaling.md tells; ``-rP`` shows it."""
    print(figures)  # noqa: T201  as it says


def test_a_database_that_is_killed_and_started_again_loses_and_doubles_nothing(
    server: postgres.Server, deployed: Deployment, engine: Engine
) -> None:
    healed_s = []
    with Load(deployed.project, 1) as load:
        for _ in range(3):
            time.sleep(1.0)
            server.kill()
            until(lambda: load.answers[-1].status == 503)
            assert deployed.asks("/livez") == 200
            assert deployed.asks("/readyz") == 503
            time.sleep(1.0)
            server.start()
            healed_s.append(until(deployed.predicts))
    said = load.check(engine)
    assert said["answered"] > 50
    assert said["store-unavailable"] > 3
    assert load.broken == []
    assert max(one.took_s for one in load.answers) < 2 * PATIENCE_S
    say(f"killed: {dict(said)}, answered again after {[round(s, 2) for s in healed_s]} s")


def test_a_database_that_hangs_lets_nobody_wait_for_long(
    server: postgres.Server, deployed: Deployment, engine: Engine
) -> None:
    with Load(deployed.project, 2) as load:
        time.sleep(1.0)
        with server.hung():
            hung_at = time.monotonic()
            time.sleep(2 * PATIENCE_S)
            with Asking.of(deployed.project) as one:
                status, text = one.get("/health")
            health = json.loads(text)
            assert "components" in health, health
            assert (status, health["components"]["store"]["status"]) == (503, "down")
            assert deployed.asks("/readyz") == 503
            assert deployed.asks("/livez") == 200
            meanwhile = [one for one in load.answers if one.at > hung_at + 1.0]
        healed_s = until(deployed.predicts)
    said = load.check(engine)
    assert {one.status for one in meanwhile} == {503}
    assert max(one.took_s for one in load.answers) < PATIENCE_S + 4.0
    late = [one for one in meanwhile if one.at > hung_at + PATIENCE_S + 4.0]
    assert late  # who comes later is refused at once
    assert np.median([one.took_s for one in late]) < 1.0
    assert said["outcome-unknown"] >= 2
    say(f"hung: {dict(said)}, answered again after {healed_s:.2f} s")


def test_after_a_failover_to_a_synchronous_standby_everything_acknowledged_is_there(
    tmp_path: Path,
) -> None:
    with postgres.server() as primary, Lossy(primary.port) as way:
        url = primary.new()
        standby = primary.standby()
        try:
            with deployed_in(tmp_path, url, way) as deployed:
                engine = open_store(deployed.project.settings.database_url)
                with Load(deployed.project, 3) as load:
                    time.sleep(2.0)
                    primary.kill()
                    until(lambda: load.answers[-1].status == 503)
                    standby.run("SELECT pg_promote()")
                    way.port = standby.port  # the address moves
                    healed_s = until(deployed.predicts)
                    time.sleep(1.0)
                said = load.check(engine)
                engine.dispose()
        finally:
            standby.stop()
    assert said["answered"] > 50
    assert load.broken == []
    say(f"failed over: {dict(said)}, answered again after {healed_s:.2f} s")


def test_an_address_that_moves_without_a_word_is_given_up_and_found_again(
    deployed: Deployment, engine: Engine
) -> None:
    with Load(deployed.project, 4) as load:
        time.sleep(1.0)
        deployed.way.silent = True  # the old connections stay open, and nothing comes over them
        time.sleep(PATIENCE_S + 4.0)
        deployed.way.cut()
        deployed.way.silent = False
        healed_s = until(deployed.predicts)
    said = load.check(engine)
    assert max(one.took_s for one in load.answers) < PATIENCE_S + 4.0
    say(f"silent: {dict(said)}, answered again after {healed_s:.2f} s")


def test_a_worker_that_starts_while_the_database_is_away_ends_nobody_and_serves_later(
    server: postgres.Server, deployed: Deployment
) -> None:
    server.kill()
    killed = min(deployed.workers())
    os.kill(killed, signal.SIGKILL)
    until(lambda: len(deployed.workers() - {killed}) == 2)
    # Both take connections, the new one too, and the server lives on.
    starting = "urn:continualml:problem:starting"
    told: set[str] = set()

    def both_were_asked() -> bool:
        with suppress(OSError, HTTPException), Asking.of(deployed.project) as one:
            status, headers, body = one.post("/predict", {"features": {}})
            assert status in {422, 503}
            if status == 503:
                assert headers["Retry-After"] == "1"
                told.add(body["type"])
        return starting in told

    until(both_were_asked)
    assert psutil.pid_exists(deployed.pid)
    server.start()
    until(lambda: all(deployed.predicts() for _ in range(20)))
    assert len(deployed.workers()) == 2


def test_rows_of_a_worker_that_is_killed_beside_the_database_are_there_or_were_not_answered(
    server: postgres.Server, deployed: Deployment, engine: Engine
) -> None:
    with Load(deployed.project, 5) as load:
        time.sleep(1.0)
        os.kill(min(deployed.workers()), signal.SIGKILL)
        server.kill()
        time.sleep(1.0)
        server.start()
        until(lambda: len(deployed.workers()) == 2)
        until(lambda: all(deployed.predicts() for _ in range(20)))
    rest = [a for a in load.answers if not a.body.get("type", "").endswith(":starting")]
    load.answers[:] = rest
    said = load.check(engine)
    assert said["answered"] > 50
    say(f"both killed: {dict(said)}, {len(load.broken)} connections broken")
