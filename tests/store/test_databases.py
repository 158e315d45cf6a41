"""What the store promises of each database: order, one view, width, and which errors heal."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, insert, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError

from continualml import demo
from continualml.errors import InputError
from continualml.loop import begin
from continualml.loop.cycle import Loop
from continualml.loop.training import Trainer
from continualml.store import ledger, tables
from continualml.store.engine import Durability, StoreUnavailableError, open_store, read, write
from continualml.store.log import Observed, append_observations, last_seq
from tests import postgres
from tests.conftest import Home, demo_table

WRITERS, EACH = 4, 40


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


def test_no_row_ever_appears_below_a_number_that_was_read(engine: Engine) -> None:
    def fill(writer: int) -> None:
        for i in range(EACH):
            with write(engine) as conn:
                append_observations(conn, [row(f"{writer}-{i}-{j}") for j in range(1 + i % 3)])

    writers = [threading.Thread(target=fill, args=(w,)) for w in range(WRITERS)]
    for one in writers:
        one.start()
    looks = 0
    asked = select(func.max(tables.observations.c.seq), func.count())
    while any(one.is_alive() for one in writers):
        with read(engine) as conn:
            last, n = conn.execute(asked.select_from(tables.observations)).one()
        assert (last or 0) == n  # numbers have no gap, so neither have the rows that are seen
        looks += 1
    for one in writers:
        one.join()
    assert looks > 3
    with read(engine) as conn:
        assert last_seq(conn) == WRITERS * sum(1 + i % 3 for i in range(EACH))


def test_one_read_sees_one_state(engine: Engine) -> None:
    asked = select(func.count()).select_from(tables.observations)
    with read(engine) as conn:
        before = conn.execute(asked).scalar()
        with write(engine) as other:
            append_observations(other, [row("a")])
        assert conn.execute(asked).scalar() == before == 0
    with read(engine) as conn:
        assert conn.execute(asked).scalar() == 1


def test_the_log_goes_on_above_two_thousand_million(engine: Engine) -> None:
    with write(engine) as conn:
        conn.execute(update(tables.sequence).values(next=2**31 + 7))
        append_observations(conn, [row("a")])
    with read(engine) as conn:
        assert last_seq(conn) == 2**31 + 7


def test_the_text_of_an_error_tells_no_value_of_a_row(engine: Engine) -> None:
    token = {"id": "1", "name": "hunter2", "hash": "h", "scopes": "read", "created_at": "now"}
    with pytest.raises(IntegrityError) as caught, write(engine) as conn:
        conn.execute(insert(tables.tokens), [token, token])
    assert "hunter2" not in str(caught.value)


def test_what_a_commit_outlives_is_what_was_asked_for(url: str) -> None:
    asked = {"sqlite": "PRAGMA synchronous", "postgresql": "SHOW synchronous_commit"}
    told = {
        "sqlite": {"power": "2", "process": "1"},
        "postgresql": {"power": "on", "process": "off"},
    }
    kind = make_url(url).get_backend_name()
    if kind == "postgresql":  # a server that promises less by its own configuration
        engine = open_store(url)
        name = engine.url.database
        with write(engine) as conn:
            conn.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
        engine.dispose()
    durabilities: tuple[Durability, ...] = ("power", "process")
    for durability in durabilities:
        engine = open_store(url, durability=durability)
        with write(engine) as conn:
            assert str(conn.execute(text(asked[kind])).scalar()) == told[kind][durability]
        engine.dispose()


def test_a_driver_that_is_not_installed_is_named() -> None:
    with pytest.raises(InputError, match="expected a driver that is installed, got 'pg8000'"):
        open_store("postgresql+pg8000://nobody@127.0.0.1/x")


def test_a_server_that_is_not_there_may_come_back() -> None:
    pytest.importorskip("psycopg")
    nowhere = f"postgresql://nobody@127.0.0.1:{postgres.free_port()}/x"
    with pytest.raises(StoreUnavailableError):
        open_store(nowhere)
    engine = open_store(nowhere, migrate=False)
    for opened in (read, write):
        with pytest.raises(StoreUnavailableError), opened(engine):
            pass
    engine.dispose()


@pytest.mark.journey
@pytest.mark.patient
def test_a_server_that_is_stopped_under_a_transaction_heals_and_wrote_nothing(
    server: postgres.Server,
) -> None:
    engine = open_store(server.new())

    def interrupted() -> None:
        with write(engine) as conn:
            append_observations(conn, [row("a")])
            pid = conn.execute(text("SELECT pg_backend_pid()")).scalar()
            server.run(f"SELECT pg_terminate_backend({pid})")
            append_observations(conn, [row("b")])

    with pytest.raises(StoreUnavailableError, match="terminating connection"):
        interrupted()
    with write(engine) as conn:
        append_observations(conn, [row("c")])
    with read(engine) as conn:
        assert last_seq(conn) == 1
    with pytest.raises(StoreUnavailableError, match="statement timeout"), write(engine) as conn:
        conn.execute(text("SET LOCAL statement_timeout = 50; SELECT pg_sleep(9)"))
    with pytest.raises(Exception, match="does not exist") as fault, write(engine) as conn:
        conn.execute(text("SELECT * FROM nowhere"))
    assert not isinstance(fault.value, StoreUnavailableError)  # no waiting heals that
    engine.dispose()


@pytest.mark.journey
@pytest.mark.patient
def test_the_loop_decides_over_postgresql_what_it_decides_over_sqlite(
    server: postgres.Server, tmp_path: Path, trainer: Trainer
) -> None:
    told: dict[str, list[tuple[str, int | None, str]]] = {}
    for name, url in (("sqlite", f"sqlite:///{tmp_path / 'log'}"), ("postgresql", server.new())):
        engine = open_store(url)
        loop = Loop(
            engine=engine,
            artifacts=tmp_path / name,
            models={"demo": demo.DEMO},
            trainer=trainer,
            holder="test",
            most_s=300.0,
        )
        begin.from_table(loop, "demo", demo_table(600, seed=0))
        home = Home(tmp_path, engine, loop)
        home.send(200, seed=1)
        home.send(600, seed=2, drift=1.5)
        loop.turn("demo")
        with read(engine) as conn:
            entries = ledger.entries(conn, limit=1_000)
            assert ledger.verify(conn) is None
        engine.dispose()
        told[name] = [(e.decision.kind, e.decision.version, e.decision.because) for e in entries]
    assert told["postgresql"] == told["sqlite"]
    assert {"first", "accept", "alarm"} <= {kind for kind, _, _ in told["postgresql"]}
