import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sqlalchemy import event, select
from sqlalchemy.engine import Engine

from continualml import demo
from continualml.store import ledger, tickets
from continualml.store.engine import (
    Appender,
    StoreUnavailableError,
    append_alone,
    open_store,
    read,
    take_numbers,
    write,
)
from continualml.store.group_commit import GroupCommit
from continualml.store.log import Labelled, Observed
from continualml.store.tables import observations
from continualml.store.tickets import Ticket, next_batch

KILLS = 10

# A process that answers through the group commit and says each answer once it is acknowledged.
SERVER = """
import asyncio, os, sys
from continualml.store.engine import open_store
from continualml.store.group_commit import GroupCommit
from continualml.store.log import Observed

async def client(commit, name):
    n = 0
    while True:
        n += 1
        o = Observed(model="m", observation_id=f"{name}-{n}", numeric=os.urandom(16),
                     categorical=None, version=1, answer=os.urandom(16), recorded_at=0.0)
        told = asyncio.get_running_loop().create_future()
        commit.append([o], told.set_result, alone=name.endswith("-0"))
        assert await told == [None]
        os.write(1, f"{o.observation_id} {o.numeric.hex()} {o.answer.hex()}\\n".encode())

async def main():
    commit = GroupCommit(open_store(sys.argv[1], durability=sys.argv[3]))
    await asyncio.gather(*(client(commit, f"{sys.argv[2]}-{i}") for i in range(16)))

asyncio.run(main())
"""


def row(observation_id: str) -> Observed:
    return Observed(
        model="m",
        observation_id=observation_id,
        numeric=b"\0" * 8,
        categorical=None,
        version=None,
        answer=None,
        recorded_at=0.0,
    )


@pytest.mark.journey
@pytest.mark.patient
@pytest.mark.parametrize("durability", ["power", "process"])
def test_kill_9_at_any_instant_loses_and_doubles_nothing_acknowledged(
    url: str, durability: str
) -> None:
    open_store(url).dispose()
    rng, said = np.random.default_rng(7), list[str]()
    for round_ in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", SERVER, url, str(round_), durability], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        first = child.stdout.readline()  # it has begun to answer
        time.sleep(rng.uniform(0.0, 0.4))
        os.kill(child.pid, signal.SIGKILL)
        said += [x.decode() for x in (first + child.stdout.read()).splitlines(keepends=True)]
        child.stdout.close()
        child.wait()
    assert not any("Error" in x for x in said)
    acknowledged = {
        x.split()[0]: x.split()[1:] for x in said if x.endswith("\n") and len(x.split()) == 3
    }
    engine = open_store(url)
    with read(engine) as conn:
        rows = conn.execute(select(observations).order_by(observations.c.seq)).all()
        assert ledger.verify(conn) is None
    engine.dispose()
    log = {r.observation_id: [r.numeric.hex(), r.answer.hex()] for r in rows}
    assert len(acknowledged) > KILLS * 16
    assert len(log) == len(rows)  # nothing twice
    assert {k: log.get(k) for k in acknowledged} == acknowledged
    assert [r.seq for r in rows] == list(range(1, len(rows) + 1))


def test_all_that_wait_go_into_one_transaction(engine: Engine) -> None:
    written: list[str] = []
    if engine.dialect.name == "sqlite":
        event.listen(engine, "checkout", lambda raw, *_: raw.set_trace_callback(written.append))
    else:
        event.listen(engine, "commit", lambda _: written.append(f"COMMIT {len(written)}"))

    async def many() -> None:
        commit = GroupCommit(engine)
        await asyncio.gather(*(commit.submit([row(f"r{i}")]) for i in range(200)))
        commit.close()

    asyncio.run(many())
    # SQLite tells a statement again for each row that its trigger numbers.
    begun = ('INSERT INTO "observations_append"', "COMMIT ")
    assert 0 < len({sql for sql in written if sql.startswith(begun)}) < 20


def test_a_full_disk_refuses_everything_of_its_batch_and_heals_by_itself(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'log.sqlite'}")

    @event.listens_for(engine, "checkout")
    def limit(raw: sqlite3.Connection, *_: object) -> None:
        raw.execute(f"PRAGMA max_page_count={pages}")

    pages = 60

    async def journey() -> tuple[int, int]:
        nonlocal pages
        commit, written = GroupCommit(engine), 0
        for i in range(2_000):
            try:
                await commit.submit([row(f"{i}-{'x' * 500}")])
            except StoreUnavailableError:
                break
            written += 1
        pages = 100_000
        await commit.submit([row("after")])
        commit.close()
        return written, i

    written, refused = asyncio.run(journey())
    with read(engine) as conn:
        ids = set(conn.scalars(select(observations.c.observation_id)))
    engine.dispose()
    assert 0 < written == refused
    assert len(ids) == written + 1
    assert "after" in ids


@pytest.mark.parametrize("anywhere", [False, True])
def test_both_ways_to_append_number_in_order_and_write_all_or_nothing(
    engine: Engine, anywhere: bool
) -> None:
    appender = Appender(engine, observations)

    def append(*ids: str) -> bool:
        rows = [row(i) for i in ids]
        return (
            append_alone(engine, observations, [msgspec.structs.asdict(r) for r in rows])
            if anywhere
            else appender.append(rows)
        )

    many = [f"many-{i}" for i in range(200)]  # more than one statement holds
    assert append("a", "b")
    assert not append("c", "b")
    assert not append(*many, "a")
    with write(engine) as conn:
        assert take_numbers(conn, 1) == 3  # somebody else writes in between
    assert append(*many)
    appender.close()
    with read(engine) as conn:
        rows = conn.execute(select(observations).order_by(observations.c.seq)).all()
    assert [(r.seq, r.observation_id) for r in rows] == list(
        zip([1, 2, *range(4, 204)], ["a", "b", *many], strict=True)
    )
    assert {(r.model, r.numeric, r.version, r.recorded_at) for r in rows} == {
        ("m", b"\0" * 8, None, 0.0)
    }


def test_labels_and_rows_that_wait_together_are_answered_apart(engine: Engine) -> None:
    async def both() -> tuple[object, object]:
        commit = GroupCommit(engine)
        seen = msgspec.structs.replace(row("a"), model="demo")
        answers = await asyncio.gather(
            commit.submit([seen]),
            commit.submit_labels(demo.DEMO, [Labelled(observation_id="a", label="yes")], 0.0),
        )
        commit.close()
        return answers[0], [a.verdict for a in answers[1]]

    rows, verdicts = asyncio.run(both())
    assert rows == [None]
    assert verdicts == ["accepted"]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Engine]:
    engine = open_store(f"sqlite:///{tmp_path / 'log.sqlite'}")
    yield engine
    engine.dispose()


async def alone(commit: GroupCommit, *ids: str) -> list[Observed | None] | Exception:
    told: asyncio.Future[list[Observed | None] | Exception]
    told = asyncio.get_running_loop().create_future()
    commit.append([row(i) for i in ids], told.set_result, alone=True)
    return await told


def writers(engine: Engine, *, slow_s: float = 0.0) -> list[str]:
    """Note which thread writes rows, each as slowly as asked."""
    names: list[str] = []

    def trace(sql: str) -> None:
        if sql.startswith("INSERT INTO"):
            names.append(threading.current_thread().name)
            time.sleep(slow_s)

    event.listen(engine, "checkout", lambda raw, *_: raw.set_trace_callback(trace))
    return names


def test_who_comes_alone_is_written_without_a_change_of_threads(file: Engine) -> None:
    names = writers(file)

    async def several() -> list[list[Observed | None] | Exception]:
        commit = GroupCommit(file)
        told = [await alone(commit, "a"), await alone(commit, "b", "c"), await alone(commit, "a")]
        commit.close()
        return told

    new, more, known = asyncio.run(several())
    assert (new, more) == ([None], [None, None])
    assert known == [row("a")]
    assert names[0] == threading.main_thread().name
    with read(file) as conn:
        assert len(conn.execute(select(observations)).all()) == 3


def test_a_slow_disk_holds_up_the_event_loop_once(file: Engine) -> None:
    names = writers(file, slow_s=0.02)

    async def several() -> list[str]:
        commit = GroupCommit(file)
        await alone(commit, "0")
        once = list(names)
        for i in range(1, 4):
            await alone(commit, str(i))
        commit.close()
        return once

    once = asyncio.run(several())
    assert set(once) == {threading.main_thread().name}
    assert names == once
    with read(file) as conn:
        assert len(conn.execute(select(observations)).all()) == 4


def test_readers_that_hold_every_connection_hold_up_no_prediction(file: Engine) -> None:
    async def both() -> list[list[Observed | None] | Exception]:
        commit = GroupCommit(file)
        told = [await alone(commit, "a"), await commit.submit([row("b"), row("c")])]
        commit.close()
        return told

    with ExitStack() as held:
        for _ in range(15):  # what SQLAlchemy's pool gives out at most
            held.enter_context(file.connect())
        assert asyncio.run(both()) == [[None], [None, None]]


def test_while_another_process_writes_the_event_loop_turns(file: Engine) -> None:
    async def beside() -> tuple[list[Observed | None] | Exception, int]:
        commit, turns = GroupCommit(file), 0
        with write(file) as conn:
            take_numbers(conn, 1)
            asked = asyncio.create_task(alone(commit, "a"))
            while turns < 20:
                await asyncio.sleep(0.005)
                turns += 1
            waited = not asked.done()
        told = await asked
        commit.close()
        return told, turns if waited else 0

    assert asyncio.run(beside()) == ([None], 20)


def test_who_waits_too_long_is_told_that_nobody_knows_and_all_goes_on(
    file: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tickets, "_PATIENCE_S", 0.3)

    async def beside() -> list[str]:
        commit, told = GroupCommit(file), list[str]()
        with write(file) as conn:  # as a process does that holds the lock for long
            take_numbers(conn, 1)
            for name in ("late", "refused"):
                try:
                    await commit.submit([row(name)])
                except StoreUnavailableError as error:
                    told.append(type(error).__name__)
        until = time.monotonic() + 20
        while len(told) < 3:
            assert time.monotonic() < until
            with suppress(StoreUnavailableError):
                await commit.submit([row("after")])
                told.append("written")
            await asyncio.sleep(0.02)
        assert commit._in_thread == 0  # noqa: SLF001  else no process writes for it any more
        commit.close()
        return told

    assert asyncio.run(beside()) == ["CommitUnknownError", "StoreUnavailableError", "written"]
    with read(file) as conn:
        there = list(conn.scalars(select(observations.c.observation_id)))
    assert "refused" not in there
    assert there.count("after") == 1


def test_a_batch_takes_tickets_in_order_and_never_none() -> None:
    tickets = [Ticket(rows=[row(str(i))] * 3, told=print) for i in range(4)]
    batch = next_batch(tickets, most_rows=7)
    assert (list(batch.now), list(batch.later)) == (tickets[:2], tickets[2:])
    assert len(next_batch(tickets, most_rows=1).now) == 1


def test_a_lone_sender_is_told_of_an_error_that_nobody_awaited(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'log.sqlite'}")
    with write(engine) as conn:
        conn.exec_driver_sql("DROP TABLE observations")

    async def ask() -> list[Observed | None] | Exception:
        commit = GroupCommit(engine)
        try:
            return await asyncio.wait_for(alone(commit, "a"), 5)
        finally:
            commit.close()

    assert "no such table" in str(asyncio.run(ask()))
    engine.dispose()
