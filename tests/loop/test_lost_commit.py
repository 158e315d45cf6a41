"""The loop over a database whose answer to a commit is lost, at each commit of a turn in turn."""

from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Engine

from continualml import demo
from continualml.loop import begin
from continualml.loop.cycle import Loop
from continualml.loop.replay import replay
from continualml.loop.training import Trainer
from continualml.store import ledger
from continualml.store.engine import StoreUnavailableError, open_store, read
from tests import postgres
from tests.conftest import Home, demo_table
from tests.lossy import Lossy

pytestmark = pytest.mark.outage

Told = list[tuple[str, int | None, str]]


def home_on(url: str, folder: Path, trainer: Trainer) -> Home:
    engine = open_store(url)
    loop = Loop(
        engine=engine,
        artifacts=folder / "artifacts",
        models={"demo": demo.DEMO},
        trainer=trainer,
        holder="test",
        most_s=300.0,
    )
    begin.from_table(loop, "demo", demo_table(600, seed=0))
    home = Home(folder, engine, loop)
    home.send(200, seed=1)
    home.send(400, seed=2, drift=1.5)
    return home


def told(engine: Engine) -> Told:
    with read(engine) as conn:
        entries = ledger.entries(conn, limit=1_000)
        assert ledger.verify(conn) is None
    return [(e.decision.kind, e.decision.version, e.decision.because) for e in entries]


def test_whichever_commit_of_a_turn_is_lost_the_loop_decides_the_same(
    server: postgres.Server, tmp_path: Path, trainer: Trainer
) -> None:
    clean = home_on(f"sqlite:///{tmp_path / 'log'}", tmp_path / "clean", trainer)
    clean.loop.turn("demo")
    expected = told(clean.engine)
    clean.engine.dispose()
    with Lossy(server.port) as way:
        url = server.new().replace(f":{server.port}/", f":{way.own_port}/")
        home = home_on(url, tmp_path / "lossy", trainer)
        failed = 0
        for n in count():
            way.commits_before, way.lose_commit = n // 2, bool(n % 2)
            before = way.lost
            try:
                home.loop.turn("demo")
            except StoreUnavailableError:
                failed += 1
            if way.lost == before:  # the turn has no commit more than that
                break
        way.lose_commit = None
        home.loop.turn("demo")
        found = told(home.engine)
        assert home.loop.waiting("demo") == 0
        with read(home.engine) as conn:
            again = replay(conn, "demo")
        home.engine.dispose()
    assert found == expected
    assert failed > 10
    assert {"first", "accept", "alarm"} <= {kind for kind, _, _ in found}
    assert again.differences == ()
