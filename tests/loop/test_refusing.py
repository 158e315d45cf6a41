"""What the loop makes of refused rows: an incident while it lasts, and never a reason to learn."""

import pytest
from sqlalchemy import delete

from continualml import decide
from continualml.loop import backtest, carry_out
from continualml.loop.reasons import sentences
from continualml.loop.replay import replay
from continualml.loop.training import Trainer
from continualml.records import Decision
from continualml.store import intake, ledger
from continualml.store.engine import read, write
from continualml.store.tables import snapshots
from tests.conftest import Home

EVERYTHING = 2**63 - 1


def count(home: Home, n: int, *, refused: int) -> None:
    """Log n windows of 40 rows each, as serving processes do."""
    fields = {"x2": refused} if refused else {}
    with write(home.engine) as conn:
        for _ in range(n):
            intake.append(
                conn,
                "demo",
                answered=40 - refused,
                refused=refused,
                fields=fields,
                recorded_at=0.0,
            )


def standing(home: Home) -> decide.Standing:
    with read(home.engine) as conn:
        state = carry_out.known(conn, "demo").standing
    assert state is not None
    return state


def decisions(home: Home) -> list[Decision]:
    """All decisions, after a look whether all of them can be replayed."""
    with read(home.engine) as conn:
        assert ledger.verify(conn) is None
        assert replay(conn, "demo").differences == ()
        return [e.decision for e in ledger.entries(conn, limit=10_000)][::-1]


def kinds(home: Home) -> list[str]:
    told = [d for d in decisions(home) if d.kind in {"alarm", "recover"}]
    return [f"{d.kind} {d.basis.get('family', '')}".strip() for d in told]


@pytest.fixture
def broken(home: Home) -> Home:
    """A quarter of the rows is refused, where none used to be."""
    count(home, 30, refused=0)
    home.loop.turn("demo")
    assert standing(home).refusals.known
    count(home, 8, refused=10)
    home.loop.turn("demo")
    assert kinds(home) == ["alarm refusals"]
    return home


def test_while_it_lasts_nothing_is_learnt_and_it_is_not_said_again(broken: Home) -> None:
    (alarm,) = [d for d in decisions(broken) if d.kind == "alarm"]
    why = list(sentences(alarm))
    assert any("x2" in line and "of" in line and "were refused" in line for line in why), why
    for seed in range(4):
        broken.send(150, seed=seed)
        count(broken, 10, refused=10)
        broken.loop.turn("demo")
    # Said when it began, after 300 labelled rows, and after twice as many.
    assert kinds(broken) == ["alarm refusals"] * 3
    learnt = [d for d in decisions(broken) if d.kind in {"accept", "follow", "promote"}]
    assert [d for d in learnt if d.seq > alarm.seq] == []
    assert standing(broken).incident is not None


def test_labelled_rows_alone_do_not_heal_it(broken: Home) -> None:
    broken.send(400, seed=1)  # as of a day ago; nothing more was asked since
    broken.loop.turn("demo")
    broken.send(50, seed=2)
    broken.loop.turn("demo")
    assert standing(broken).incident is not None
    count(broken, 10, refused=0)
    broken.loop.turn("demo")
    broken.send(50, seed=3)
    broken.loop.turn("demo")
    assert standing(broken).incident is None
    assert kinds(broken) == ["alarm refusals", "recover"]


def test_a_lost_snapshot_changes_nothing(broken: Home) -> None:
    before = standing(broken)
    with write(broken.engine) as conn:
        conn.execute(delete(snapshots))
    assert standing(broken) == before


def test_a_backtest_meets_the_same_refused_rows(broken: Home, trainer: Trainer) -> None:
    broken.send(300, seed=5)
    broken.loop.turn("demo")
    with read(broken.engine) as conn:
        recorded = backtest.from_store(conn, broken.loop.models["demo"])
    result = backtest.run(recorded, trainer, policy="the same")
    said = [d.basis["family"] for _, d in result.decisions if d.kind == "alarm"]
    assert said == ["refusals"]
