"""A real PostgreSQL that is killed, hangs, or fails over, under two workers and their load.

Asked for by ``make test-outage``: they take minutes.
"""

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil
import pytest
from sqlalchemy import Engine, select

from continualml.settings import Project
from continualml.store import pointers, tables
from continualml.store.engine import open_store, read, write
from tests import postgres
from tests.api.conftest import project_in, registered, running
from tests.lossy import Lossy

pytestmark = pytest.mark.outage

# What docs/scaling.md says: nobody waits longer for the log.
PATIENCE_S = 8.0
AWAY = {
    "urn:continualml:problem:store-unavailable",
    "urn:continualml:problem:outcome-unknown",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    age: float
    took_s: float
    at: float
    status: int
    body: Any
    retry_after: str | None


@dataclass(slots=True)
class Deployment:
    """One server with two workers, whose database is behind a proxy."""

    project: Project
    way: Lossy
    pid: int

    def workers(self) -> set[int]:
        found = set()
        for one in psutil.Process(self.pid).children():
            with suppress(psutil.NoSuchProcess):  # a zombie is one too
                if any("spawn_main" in part for part in one.cmdline()):
                    found.add(one.pid)
        return found

    def both_serve(self) -> bool:
        counts = self.project.settings.data / "counts"  # a file for each, once it serves
        return len(self.workers()) == len(list(counts.glob("*/*.counts"))) == 2

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any, str | None]:
        secret = self.project.settings.admin_token.read_text("utf-8").strip()
        one = HTTPConnection("127.0.0.1", self.project.settings.port, timeout=60)
        try:
            sent = None if body is None else json.dumps(body)
            one.request(method, path, sent, {"Authorization": f"Bearer {secret}"})
            answer = one.getresponse()
            return answer.status, json.loads(answer.read()), answer.headers["Retry-After"]
        finally:
            one.close()

    def predicts(self) -> bool:
        body = {"features": {"age": -1.0, "debt": None}}
        with suppress(OSError, HTTPException):
            return self.ask("POST", "/predict", body)[0] == 200
        return False


@dataclass(slots=True)
class Load:
    """Clients that send rows, each of another age, over connections of their own."""

    deployed: Deployment
    name: int
    n_clients: int = 6
    pause_s: float = 0.02
    answers: list[Answer] = field(default_factory=list)
    broken: list[float] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for i in range(self.n_clients):
            thread = threading.Thread(target=self._send, args=(i,), daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _send(self, client: int) -> None:
        n = 0
        while not self._stopped.wait(self.pause_s):
            n += 1
            age = float(self.name * 10**8 + client * 10**6 + n)
            began = time.monotonic()
            try:
                status, body, again = self.deployed.ask(
                    "POST", "/predict", {"features": {"age": age, "debt": None}}
                )
            except (OSError, HTTPException):
                self.broken.append(age)
                continue
            now = time.monotonic()
            self.answers.append(
                Answer(
                    age=age,
                    took_s=now - began,
                    at=now,
                    status=status,
                    body=body,
                    retry_after=again,
                )
            )

    def check(self, engine: Engine) -> Counter[str]:
        """Hold every answer against the log; count them by what was said."""
        said: Counter[str] = Counter()
        rows = self._rows(engine)
        for one in self.answers:
            there = rows.get(one.age, [])
            if one.status == 200:
                said["answered"] += 1
                (told,) = one.body["predictions"]
                (row,) = there  # neither lost nor doubled
                assert row.observation_id == told["observation_id"]
                kept = np.frombuffer(row.answer).tolist()
                assert kept == list(told["probabilities"].values())
                continue
            assert one.status == 503
            assert one.body["type"] in AWAY
            assert int(str(one.retry_after)) >= 1
            said[one.body["type"].rpartition(":")[2]] += 1
            if one.body["type"].endswith("outcome-unknown"):
                self._find_out(one, [row.observation_id for row in there])
            else:
                assert there == []  # it was told that nothing was recorded
        again = self._rows(engine)
        assert all(len(rows) == 1 for rows in again.values())
        return said

    def _find_out(self, one: Answer, there: list[str]) -> None:
        """Send it again, as the problem says; it is recorded once, then as before."""
        (name,) = one.body["observation_ids"]
        assert there in ([], [name])
        body = {"observation_id": name, "features": {"age": one.age, "debt": None}}
        answers = [self.deployed.ask("POST", "/predict", body) for _ in range(2)]
        assert [a[0] for a in answers] == [200, 200]
        assert answers[0][1]["predictions"] == answers[1][1]["predictions"]

    def _rows(self, engine: Engine) -> dict[float, list[Any]]:
        found: dict[float, list[Any]] = {}
        with read(engine) as conn:
            for row in conn.execute(select(tables.observations)):
                age = float(np.frombuffer(row.numeric)[0])
                if int(age) // 10**8 == self.name:
                    found.setdefault(age, []).append(row)
        return found


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


def until(holds: Callable[[], bool], most_s: float = 150.0) -> float:
    """Wait until something holds; tell how long that took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < most_s
        time.sleep(0.05)
    return time.monotonic() - began


def test_a_database_that_is_killed_and_started_again_loses_and_doubles_nothing(
    server: postgres.Server, deployed: Deployment, engine: Engine
) -> None:
    healed_s = []
    with Load(deployed, 1) as load:
        for _ in range(3):
            time.sleep(1.0)
            server.kill()
            until(lambda: load.answers[-1].status == 503)
            assert deployed.ask("GET", "/livez")[0] == 200
            assert deployed.ask("GET", "/readyz")[0] == 503
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
    with Load(deployed, 2) as load:
        time.sleep(1.0)
        with server.hung():
            hung_at = time.monotonic()
            time.sleep(2 * PATIENCE_S)
            status, health, _ = deployed.ask("GET", "/health")
            assert "components" in health, health
            assert (status, health["components"]["store"]["status"]) == (503, "down")
            assert deployed.ask("GET", "/readyz")[0] == 503
            assert deployed.ask("GET", "/livez")[0] == 200
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
                with Load(deployed, 3) as load:
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
    with Load(deployed, 4) as load:
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
        with suppress(OSError, HTTPException):
            status, body, again = deployed.ask("POST", "/predict", {"features": {}})
            assert status in {422, 503}
            if status == 503:
                assert again == "1"
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
    with Load(deployed, 5) as load:
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
