"""The process that commits for the event loop: it may go at any time, and nothing is lost."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine, event, select

from continualml.store import writer
from continualml.store.engine import StoreUnavailableError, open_store, read, write
from continualml.store.group_commit import GroupCommit
from continualml.store.log import Observed
from continualml.store.tables import observations


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


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Engine]:
    engine = open_store(f"sqlite:///{tmp_path / 'log.sqlite'}")
    yield engine
    engine.dispose()


async def append(commit: GroupCommit, *ids: str) -> list[Observed | None]:
    told: asyncio.Future[list[Observed | None] | Exception]
    told = asyncio.get_running_loop().create_future()
    commit.append([row(i) for i in ids], told.set_result)
    found = await asyncio.wait_for(told, 20)
    if isinstance(found, Exception):
        raise found
    return found


def in_log(engine: Engine) -> list[tuple[int, str]]:
    with read(engine) as conn:
        columns = observations.c.seq, observations.c.observation_id
        return [(seq, i) for seq, i in conn.execute(select(*columns).order_by(columns[0]))]


def processes() -> list[psutil.Process]:
    """Find the writers of this process."""
    found: list[psutil.Process] = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it may be a zombie by now
            found += [child] if "writer_process" in " ".join(child.cmdline()) else []
    return found


def test_rows_are_written_beside_the_threads_of_this_process(file: Engine) -> None:
    threads: set[str] = set()

    def trace(_: str) -> None:
        threads.add(threading.current_thread().name)

    event.listen(file, "checkout", lambda raw, *_: raw.set_trace_callback(trace))

    async def several() -> list[list[Observed | None]]:
        commit = GroupCommit(file)
        told = [await append(commit, "a", "b"), await append(commit, "c")]
        commit.close()
        return told

    assert asyncio.run(several()) == [[None, None], [None]]
    assert threads == set()
    assert in_log(file) == [(1, "a"), (2, "b"), (3, "c")]
    assert processes() == []


def test_what_the_process_refuses_is_told_as_the_thread_finds_it(file: Engine) -> None:
    async def several() -> list[Observed | None]:
        commit = GroupCommit(file)
        await append(commit, "a")
        try:
            return await append(commit, "b", "a", "c")
        finally:
            commit.close()

    assert asyncio.run(several()) == [None, row("a"), None]
    assert [i for _, i in in_log(file)] == ["a", "b", "c"]


def test_a_database_that_refuses_rows_is_said_to_be_unavailable_and_heals(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'log.sqlite'}")

    async def journey() -> list[Observed | None]:
        commit = GroupCommit(engine)
        with write(engine) as conn:  # as a disk that is full: SQLite then rolls back, and says so
            conn.exec_driver_sql(
                "CREATE TRIGGER refuse BEFORE INSERT ON observations "
                "BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
            )
        try:
            with pytest.raises(Exception, match="disk is full"):
                await append(commit, "a", "b")
            with write(engine) as conn:
                conn.exec_driver_sql("DROP TRIGGER refuse")
            return await append(commit, "a")
        finally:
            commit.close()

    assert asyncio.run(journey()) == [None]
    assert in_log(engine) == [(1, "a")]
    engine.dispose()


def test_a_process_that_is_killed_again_and_again_loses_and_doubles_nothing(file: Engine) -> None:
    killed = 0

    async def journey() -> list[str]:
        nonlocal killed
        commit, written, over = GroupCommit(file), list[str](), False

        async def send(name: str) -> None:
            for i in range(300):
                assert await append(commit, f"{name}-{i}") == [None]
                written.append(f"{name}-{i}")

        async def kill() -> None:
            nonlocal killed
            while not over:
                await asyncio.sleep(0.01)
                for process in processes():
                    process.send_signal(signal.SIGKILL)
                    killed += 1

        killer = asyncio.create_task(kill())
        await asyncio.gather(*(send(str(n)) for n in range(4)))
        while killed < 2:
            await append(commit, f"more-{len(written)}")
            written.append(f"more-{len(written)}")
            await asyncio.sleep(0.01)
        over = True
        await killer
        commit.close()
        return written

    written = asyncio.run(journey())
    there = in_log(file)
    assert killed >= 2
    assert sorted(i for _, i in there) == sorted(written)
    assert [seq for seq, _ in there] == list(range(1, len(there) + 1))


def test_a_process_that_hangs_is_ended_and_what_it_was_asked_is_written(
    file: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_PATIENCE_S", 0.2)

    async def journey() -> list[list[Observed | None]]:
        commit = GroupCommit(file)
        told = [await append(commit, "a")]
        (hangs,) = processes()
        hangs.send_signal(signal.SIGSTOP)
        told.append(await append(commit, "b", "c"))
        assert not hangs.is_running() or hangs.status() == psutil.STATUS_ZOMBIE
        told.append(await append(commit, "d"))
        commit.close()
        return told

    assert asyncio.run(journey()) == [[None], [None, None], [None]]
    assert [i for _, i in in_log(file)] == ["a", "b", "c", "d"]


def test_where_no_process_can_be_started_for_a_while_the_thread_writes_until_one_can(
    file: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_AGAIN_S", 0.05)
    real, refused = subprocess.Popen, 0

    def full(*_: object, **__: object) -> None:
        nonlocal refused
        refused += 1
        raise OSError(24, "Too many open files")

    async def journey() -> None:
        commit = GroupCommit(file)
        await append(commit, "a")
        monkeypatch.setattr(subprocess, "Popen", full)
        (killed,) = processes()
        killed.send_signal(signal.SIGKILL)
        while refused < 2:
            await append(commit, f"b-{refused}-{time.monotonic_ns()}")
            await asyncio.sleep(0.01)
        monkeypatch.setattr(subprocess, "Popen", real)
        until = time.monotonic() + 10
        while not processes() and time.monotonic() < until:  # noqa: ASYNC110  it is a process
            await asyncio.sleep(0.01)
        assert processes()
        assert await append(commit, "c", "d") == [None, None]
        commit.close()

    asyncio.run(journey())
    assert [i for _, i in in_log(file)][-2:] == ["c", "d"]


def test_it_ends_with_the_process_that_started_it_and_not_by_a_ctrl_c(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys, time, psutil
        from continualml.store.engine import open_store
        from continualml.store.group_commit import GroupCommit
        commit = GroupCommit(open_store(sys.argv[1]))
        print(*(c.pid for c in psutil.Process().children()), flush=True)
        time.sleep(60)
        """
    )
    url = f"sqlite:///{tmp_path / 'log.sqlite'}"
    parent = subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    process = psutil.Process(int(parent.stdout.readline()))
    deadline = time.monotonic() + 10
    while not (tmp_path / "log.sqlite-wal").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)  # it ignores signals as soon as it runs
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert process.is_running()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    process.wait(5)
    parent.stdout.close()


def test_nobody_is_left_waiting_when_it_is_closed_with_a_batch_under_way(file: Engine) -> None:
    async def journey() -> list[Observed | None]:
        commit = GroupCommit(file)
        asked = asyncio.create_task(append(commit, "a", "b"))
        await asyncio.sleep(0)
        commit.close()
        found = await asked
        with pytest.raises(StoreUnavailableError):
            await append(commit, "c")
        return found

    assert asyncio.run(journey()) == [None, None]
    assert [i for _, i in in_log(file)] == ["a", "b"]
