"""A database that is lost, hangs, or moves, under a writer: nobody waits for ever or is lied to."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, select

from continualml import demo
from continualml.records import LabelVerdict
from continualml.store import patience, tables, tickets
from continualml.store.engine import (
    CommitUnknownError,
    StoreUnavailableError,
    open_store,
    read,
    write,
)
from continualml.store.group_commit import GroupCommit
from continualml.store.log import Labelled, Observed, append_observations
from tests import postgres
from tests.lossy import Lossy

pytestmark = pytest.mark.journey


def row(observation_id: str) -> Observed:
    return Observed(
        model="demo",
        observation_id=observation_id,
        numeric=b"\0" * 8,
        categorical=None,
        version=1,
        answer=b"\1" * 8,
        recorded_at=0.0,
    )


@pytest.fixture
def way(server: postgres.Server) -> Iterator[Lossy]:
    with Lossy(server.port) as one:
        yield one


@pytest.fixture
def engine(server: postgres.Server, way: Lossy) -> Iterator[Engine]:
    url = server.new().replace(f":{server.port}/", f":{way.own_port}/")
    opened = open_store(url)
    yield opened
    opened.dispose()


def logged(engine: Engine) -> list[str]:
    with read(engine) as conn:
        asked = select(tables.observations.c.observation_id).order_by(tables.observations.c.seq)
        return list(conn.scalars(asked))


@pytest.mark.parametrize("arrives", [True, False])
def test_a_commit_whose_answer_is_lost_is_found_out_and_answered(
    way: Lossy, engine: Engine, arrives: bool
) -> None:
    async def both() -> tuple[list[Observed | None], list[LabelVerdict]]:
        commit = GroupCommit(engine)
        assert await commit.submit([row("a")]) == [None]
        way.lose_commit = arrives
        told = await commit.submit([row("b"), row("c")])
        way.lose_commit = arrives
        labels = [Labelled(observation_id="b", label="yes")]
        verdicts = [t.verdict for t in await commit.submit_labels(demo.DEMO, labels, 0.0)]
        commit.close()
        return told, verdicts

    told, verdicts = asyncio.run(both())

    assert way.lost == 2
    # What the first attempt wrote is given as it stands; what it did not is written now.
    assert told == ([row("b"), row("c")] if arrives else [None, None])
    assert verdicts == ["duplicate" if arrives else "accepted"]
    assert logged(engine) == ["a", "b", "c"]


def test_who_commits_alone_is_told_that_the_outcome_is_unknown(way: Lossy, engine: Engine) -> None:
    for arrives in (True, False):
        way.lose_commit = arrives
        with pytest.raises(CommitUnknownError), write(engine) as conn:
            append_observations(conn, [row(f"arrives: {arrives}")])
    assert logged(engine) == ["arrives: True"]


def test_a_connection_that_is_lost_before_the_commit_wrote_nothing_for_sure(
    way: Lossy, engine: Engine
) -> None:
    def cut_off() -> None:
        with write(engine) as conn:
            append_observations(conn, [row("a")])
            way.cut()
            append_observations(conn, [row("b")])

    with pytest.raises(StoreUnavailableError) as caught:
        cut_off()
    assert not isinstance(caught.value, CommitUnknownError)
    assert logged(engine) == []


def test_while_the_database_hangs_waiting_is_bounded_and_then_refused_at_once(
    way: Lossy, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tickets, "_PATIENCE_S", 0.6)

    async def asked(commit: GroupCommit, name: str) -> tuple[str, float]:
        began = time.monotonic()
        try:
            await commit.submit([row(name)])
        except StoreUnavailableError as error:
            return type(error).__name__, time.monotonic() - began
        return "written", time.monotonic() - began

    async def journey() -> tuple[list[tuple[str, float]], tuple[str, float]]:
        commit = GroupCommit(engine)
        await commit.submit([row("before")])
        way.silent = True
        first = await asyncio.gather(*(asked(commit, f"under-way-{i}") for i in range(50)))
        second = await asked(commit, "refused")
        way.silent = False
        until = time.monotonic() + 20
        while (await asked(commit, "after"))[0] != "written":
            assert time.monotonic() < until
            await asyncio.sleep(0.05)
        commit.close()
        return first, second

    first, second = asyncio.run(journey())

    assert {what for what, _ in first} == {"CommitUnknownError"}
    assert max(took_s for _, took_s in first) < 5.0  # .6 and a look every .25, on a busy machine
    assert second[0] == "StoreUnavailableError"
    assert second[1] < 0.5
    there = logged(engine)
    assert "refused" not in there  # it was told that nothing was recorded
    assert {"before", "after"} <= set(there)
    assert len(there) == len(set(there))


def test_a_connection_that_has_gone_dead_is_given_up(
    way: Lossy, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert logged(engine) == []
    monkeypatch.setattr(patience, "_SILENT_S", 0.5)
    way.silent = True
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        logged(engine)
    took_s = time.monotonic() - began
    way.silent = False
    assert took_s < 8.0  # the dead one, and the one that was to replace it
    with write(engine) as conn:
        append_observations(conn, [row("a")])
    assert logged(engine) == ["a"]


def test_of_several_hosts_the_one_that_answers_is_found(server: postgres.Server) -> None:
    database = server.new().rpartition("/")[2]
    hosts = f"host=127.0.0.1:{postgres.free_port()}&host=127.0.0.1:{server.port}"
    engine = open_store(f"postgresql://{postgres.OWNER}@/{database}?{hosts}")
    with write(engine) as conn:
        append_observations(conn, [row("a")])
    assert logged(engine) == ["a"]
    engine.dispose()


def test_a_server_that_takes_no_rows_any_more_is_left_and_no_fault_of_the_request(
    engine: Engine,
) -> None:
    with write(engine) as conn:
        conn.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    with pytest.raises(StoreUnavailableError), write(engine) as conn:
        append_observations(conn, [row("a")])
    with write(engine) as conn:  # over a new connection
        append_observations(conn, [row("b")])
    assert logged(engine) == ["b"]
