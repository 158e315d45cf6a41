"""Rows, packed rows, labels and decisions through the real writer, on a disk that is watched."""

import asyncio
import hashlib
import socket
import threading
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from sqlalchemy import Engine, event

from benchmarks.power_loss import driver
from benchmarks.power_loss.disk import Event, Said, Watched
from benchmarks.power_loss.driver import FILES, URL
from continualml import demo
from continualml.records import Decision, TrainingFailed
from continualml.store import group_commit, ledger, log, packed, pointers, writer_process
from continualml.store.engine import Durability, open_store, write
from continualml.store.group_commit import GroupCommit
from continualml.store.writer import Writer

LOG = "log.sqlite"
_PACKED = 70
_WIDTH = len(demo.DEMO.numeric) * 8


def record(
    folder: Path, *, seed: int, durability: Durability, clients: int = 6, requests: int = 12
) -> list[Event]:
    """Let clients send, label and decide; once in between the store is closed and opened again.

    Returns
    -------
    What SQLite did from an empty directory on, and when it was said that something is recorded.
    """
    disk = Watched(FILES)
    rng = np.random.default_rng(seed)
    url = f"{URL}:///{folder / LOG}"
    try:
        for life in range(2):
            engine = _opened(url, durability, checkpoint_pages=int(rng.integers(4, 60)))
            loop = _opened(url, "power", checkpoint_pages=int(rng.integers(4, 60)))
            with patch.object(group_commit, "_QUICK_S", 60.0):  # a slow disk is no reason here
                asyncio.run(_live(engine, loop, disk, f"{seed}-{life}", clients, requests))
            engine.dispose()
            loop.dispose()
    finally:
        disk.unregister()
    return disk.events


def _opened(url: str, durability: Durability, *, checkpoint_pages: int) -> Engine:
    engine = open_store(url, durability=durability)

    def often(connection: Any, _record: object) -> None:
        # As in use, but that the log need not be long for each way through SQLite to be gone.
        connection.execute(f"PRAGMA wal_autocheckpoint={checkpoint_pages}")

    event.listen(engine, "connect", often)
    engine.dispose()  # what was opened without it is opened anew
    return engine


async def _live(
    engine: Engine, loop: Engine, disk: Watched, name: str, clients: int, requests: int
) -> None:
    commit = GroupCommit(engine)
    if commit._writer is not None:  # noqa: SLF001  its process would write past the watched disk
        commit._writer.close()  # noqa: SLF001
        commit._writer = _Beside(*commit._writer._arguments)  # noqa: SLF001
    turning = asyncio.create_task(asyncio.to_thread(_decide, loop, disk, name, requests))
    each = (_client(commit, disk, f"{name}-{i}", requests) for i in range(clients))
    await asyncio.gather(*each)
    await turning
    commit.close()


class _Beside(Writer):
    """The process that commits, as a thread of this one: its SQLite is the watched one."""

    def _start(self) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = _Thread(its, self._arguments)  # type: ignore[assignment]
        ours.setblocking(False)
        self._socket = ours


class _Thread:
    """As much of a process as the writer asks for."""

    def __init__(self, asked: socket.socket, arguments: tuple[str, str]) -> None:
        self._asked = asked
        self._thread = threading.Thread(target=self._serve, args=(asked, *arguments))
        self._thread.start()

    def _serve(self, asked: socket.socket, database: str, script: str) -> None:
        with patch.object(writer_process, "sqlite3", driver), asked:
            writer_process.serve(asked, database, script)

    def kill(self) -> None:
        self._asked.shutdown(socket.SHUT_RDWR)

    def wait(self, most_s: float) -> None:
        self._thread.join(most_s)


async def _client(commit: GroupCommit, disk: Watched, name: str, requests: int) -> None:
    for n in range(requests):
        key = f"{name}-{n}"
        if n % 6 == 5:
            ids = [f"{key}-{i:03}" for i in range(_PACKED)]
            numeric = b"".join(map(content, ids))
            rows = packed.Packed(
                model="demo",
                ids=ids,
                numeric=numeric,
                version=1,
                answer=numeric[: _PACKED * 16],
                recorded_at=0.0,
            )
            await commit.submit(rows)
            disk.note(Said(tuple(("row", one) for one in ids)))
            continue
        if n % 6 == 4:
            await _alone(commit, key, alone=True)
        elif n % 2:
            await _alone(commit, key, alone=False)
        else:
            await commit.submit([row(key)])
        disk.note(Said((("row", key),)))
        label = log.Labelled(observation_id=key, label=demo.DEMO.classes[0])
        await commit.submit_labels(demo.DEMO, [label], 0.0)
        disk.note(Said((("label", key),)))


async def _alone(commit: GroupCommit, key: str, *, alone: bool) -> None:
    """Send as a prediction is: alone, the event loop writes by itself, else a process beside it."""
    told = asyncio.get_running_loop().create_future()

    def settle(answer: Any) -> None:
        told.set_exception(answer) if isinstance(answer, Exception) else told.set_result(answer)

    commit.append([row(key)], settle, alone=alone)
    await told


def _decide(engine: Engine, disk: Watched, name: str, n: int) -> None:
    """Write decisions as the loop does: outcome, entry and pointer in one transaction."""
    for i in range(n):
        with write(engine) as conn:
            last = log.last_seq(conn)
            failed = TrainingFailed(strategy=name, through=last, because=str(i))
            numbered = log.append_outcome(conn, "demo", failed, 0.0)
            sha256 = content(f"{name}-{i}").hex()
            known = pointers.register(
                conn, "demo", sha256, strategy=name, manifest={}, recorded_at=""
            )
            entry = ledger.record(
                conn,
                Decision(
                    model="demo",
                    kind="follow",
                    seq=numbered.seq,
                    because=name,
                    basis={"decided_from": {"outcome": numbered.seq, "sha256": numbered.sha256}},
                    version=known.version,
                ),
                "",
            )
            pointers.point(conn, "demo", "champion", known.version, entry.n)
        disk.note(Said((("entry", entry.n, entry.hash), ("upto", last))))


def content(observation_id: str) -> bytes:
    """Make a row's bytes out of its id, so that what is found can be checked."""
    digest = hashlib.sha256(observation_id.encode()).digest()
    return (digest * (_WIDTH // len(digest) + 1))[:_WIDTH]


def row(observation_id: str) -> log.Observed:
    return log.Observed(
        model="demo",
        observation_id=observation_id,
        numeric=content(observation_id),
        categorical=None,
        version=1,
        answer=content(observation_id)[:16],
        recorded_at=0.0,
    )
