"""How tests ask several serving processes, and hold their answers against the log."""

import json
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any, Self

import numpy as np
import psutil
from sqlalchemy import Engine, select

from continualml.settings import Project
from continualml.store import tables
from continualml.store.engine import read

AWAY = {
    "urn:continualml:problem:store-unavailable",
    "urn:continualml:problem:outcome-unknown",
}


@dataclass(slots=True)
class Asking:
    """One connection; httpx takes longer for a request than the server does."""

    connection: HTTPConnection
    secret: str

    @classmethod
    def of(cls, project: Project, port: int | None = None) -> Self:
        secret = project.settings.admin_token.read_text("utf-8").strip()
        return cls(HTTPConnection("127.0.0.1", port or project.settings.port, timeout=60), secret)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def get(self, path: str) -> tuple[int, bytes]:
        self.connection.request("GET", path, headers={"Authorization": f"Bearer {self.secret}"})
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def post(self, path: str, body: object) -> tuple[int, Any, Any]:
        """Send a body; give status, headers and what was answered."""
        headers = {"Authorization": f"Bearer {self.secret}"}
        self.connection.request("POST", path, json.dumps(body).encode(), headers)
        answer = self.connection.getresponse()
        return answer.status, answer.headers, json.loads(answer.read())


def workers_of(pid: int) -> set[int]:
    """List the processes that serve for a server with several."""
    found = set()
    for one in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess):  # a zombie is one too
            if any("spawn_main" in part for part in one.cmdline()):
                found.add(one.pid)
    return found


def until(holds: Callable[[], bool], most_s: float = 150.0) -> float:
    """Wait until something holds; tell how long that took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < most_s
        time.sleep(0.05)
    return time.monotonic() - began


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back for the row with this age; ``at`` by the monotonic clock."""

    age: float
    took_s: float
    at: float
    status: int
    body: Any
    retry_after: str | None


@dataclass(slots=True, kw_only=True)
class Clients(ABC):
    """Clients in threads of their own, from the beginning of a block to its end."""

    n_clients: int = 4
    stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for i in range(self.n_clients):
            thread = threading.Thread(target=self.send, args=(i,), daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    @abstractmethod
    def send(self, client: int) -> None:
        """Send as the client of this number, until they are stopped."""


@dataclass(slots=True)
class Load(Clients):
    """Clients that send rows, each of another age, over connections of their own."""

    project: Project
    name: int
    n_clients: int = field(default=6, kw_only=True)
    pause_s: float = 0.02
    answers: list[Answer] = field(default_factory=list)
    broken: list[float] = field(default_factory=list)

    def send(self, client: int) -> None:
        n = 0
        while not self.stopped.wait(self.pause_s):
            n += 1
            age = float(self.name * 10**8 + client * 10**6 + n)
            began = time.monotonic()
            try:
                with Asking.of(self.project) as one:
                    body = {"features": {"age": age, "debt": None}}
                    status, headers, told = one.post("/predict", body)
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
                    body=told,
                    retry_after=headers["Retry-After"],
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
        with Asking.of(self.project) as asking:
            answers = [asking.post("/predict", body) for _ in range(2)]
        assert [a[0] for a in answers] == [200, 200]
        assert answers[0][2]["predictions"] == answers[1][2]["predictions"]

    def _rows(self, engine: Engine) -> dict[float, list[Any]]:
        found: dict[float, list[Any]] = {}
        with read(engine) as conn:
            for row in conn.execute(select(tables.observations)):
                age = float(np.frombuffer(row.numeric)[0])
                if int(age) // 10**8 == self.name:
                    found.setdefault(age, []).append(row)
        return found
