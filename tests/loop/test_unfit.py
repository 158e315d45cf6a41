from collections.abc import Callable

import pytest
from sqlalchemy import delete, select

from continualml import decide
from continualml.loop import carry_out
from continualml.loop.command import command
from continualml.loop.reasons import sentences
from continualml.loop.replay import replay
from continualml.records import Decision, Unfit
from continualml.store import ledger, log, pointers
from continualml.store.engine import read, write
from continualml.store.tables import outcomes, snapshots
from tests.conftest import Home


def find(home: Home, version: int) -> None:
    """Log, as a serving process does, that a version is unfit."""
    found = Unfit(version=version, guard="errors", because="30 of 40 rows had no finite answer")
    with write(home.engine) as conn:
        log.append_outcome(conn, "demo", found, 0.0)


def standing(home: Home) -> decide.Standing:
    with read(home.engine) as conn:
        state = carry_out.known(conn, "demo").standing
    assert state is not None
    return state


def pointed(home: Home) -> dict[str, int]:
    with read(home.engine) as conn:
        return pointers.pointed(conn, "demo")


def decisions(home: Home) -> list[Decision]:
    """All decisions about unfit versions, after a look whether all of them can be replayed."""
    with read(home.engine) as conn:
        assert ledger.verify(conn) is None
        assert replay(conn, "demo").differences == ()
        entries = ledger.entries(conn, limit=10_000)
    return [e.decision for e in entries if "unfit" in e.decision.basis][::-1]


@pytest.fixture
def promoted(home: Home) -> Home:
    """A head of a strategy answers, by hand; version 1 answered before."""
    home.send(150, seed=1)
    home.loop.turn("demo")
    artifacts = home.directory / "artifacts"
    command(home.engine, artifacts, "demo", version=2, said="try it", by="ada@desk")
    assert {"champion": 2, "previous": 1}.items() <= pointed(home).items()
    return home


def test_an_unfit_champion_gives_way_to_the_one_before_and_leaves_every_place(
    promoted: Home,
) -> None:
    before = standing(promoted)
    name = next(name for name, a in before.heads.items() if a.version == 2)
    find(promoted, 2)
    verdict = promoted.loop.turn("demo")

    (said,) = decisions(promoted)
    assert (verdict.kind, said.kind, said.version) == ("rollback", "rollback", 1)
    assert said.because == "version 2 is unfit: 30 of 40 rows had no finite answer"
    assert said.basis["unfit"]["guard"] == "errors"
    assert said.basis["from"] == 2
    assert "the guard on errors found version 2 unfit to answer" in list(sentences(said))
    assert pointed(promoted)["champion"] == pointed(promoted)["anchor"] == 1
    assert "previous" not in pointed(promoted)
    state = standing(promoted)
    assert (state.follows, state.previous) == (None, None)
    assert name not in state.heads
    places = [state.champion, state.anchor, *state.heads.values(), *state.archive]
    assert not any(2 in {a.version, *a.graphs} for a in places)
    assert all(g.value == 0 for g in state.evidence.gates)

    promoted.send(600, seed=2)  # its strategy is refitted, and all goes on
    promoted.loop.turn("demo")
    assert standing(promoted).heads[name].version > 2
    assert len(decisions(promoted)) == 1


def test_a_version_that_answers_no_more_is_kept_out_and_written_down(promoted: Home) -> None:
    find(promoted, 1)
    promoted.loop.turn("demo")
    (said,) = decisions(promoted)
    assert (said.kind, said.version) == ("keep", 2)
    assert said.because.startswith("version 1, which is not the champion, is unfit")
    state = standing(promoted)
    assert state.previous is None
    assert 1 not in {a.version for a in state.archive}
    assert pointed(promoted)["champion"] == 2
    assert "previous" not in pointed(promoted)


def test_where_there_is_nobody_else_it_answers_on_and_that_is_said(home: Home) -> None:
    find(home, 1)
    home.loop.turn("demo")
    (said,) = decisions(home)
    assert (said.kind, said.version) == ("keep", 1)
    assert said.because.startswith("version 1 is unfit, and there is no other to answer")
    assert pointed(home)["champion"] == 1


def test_a_followed_blend_that_is_unfit_is_followed_no_more(promoted: Home) -> None:
    blend = standing(promoted).heads[decide.BLEND]
    artifacts = promoted.directory / "artifacts"
    command(promoted.engine, artifacts, "demo", version=blend.version, said="try it", by="ada@desk")
    find(promoted, blend.version)
    promoted.loop.turn("demo")
    (said,) = decisions(promoted)
    assert (said.kind, said.version) == ("rollback", 2)
    assert standing(promoted).follows is None


def test_several_found_one_after_the_other_lead_back_one_after_the_other(promoted: Home) -> None:
    find(promoted, 2)
    find(promoted, 1)
    promoted.loop.turn("demo")
    first, second = decisions(promoted)
    assert (first.kind, first.version) == ("rollback", 1)
    # Version 1 is alone by then: it answers on.
    assert (second.kind, second.version) == ("keep", 1)


def forget(home: Home) -> None:
    with write(home.engine) as conn:
        conn.execute(delete(snapshots))


@pytest.mark.parametrize("befalls", [lambda _home: None, forget])
def test_it_is_taken_in_before_a_command_and_whatever_became_of_the_snapshot(
    promoted: Home, befalls: Callable[[Home], None]
) -> None:
    find(promoted, 2)
    befalls(promoted)
    assert standing(promoted).champion.version == 2  # known, once it is taken in
    artifacts = promoted.directory / "artifacts"
    head = max(a.version for a in standing(promoted).heads.values())
    command(promoted.engine, artifacts, "demo", version=head, said="better", by="ada@desk")
    (said,) = decisions(promoted)
    assert (said.kind, said.version) == ("rollback", 1)
    assert pointed(promoted)["champion"] == head
    assert standing(promoted).previous is not None
    with read(promoted.engine) as conn:
        last = conn.execute(select(outcomes.c.kind).order_by(outcomes.c.seq.desc())).scalars()
        assert list(last)[:2] == ["commanded", "unfit"]


def test_a_turn_under_way_finds_itself_overtaken(promoted: Home) -> None:
    with read(promoted.engine) as conn:
        old = carry_out.known(conn, "demo")
    find(promoted, 2)
    outcome = decide.command_of(standing(promoted).champion, back=False, said="late", by="nobody")
    with pytest.raises(carry_out.OvertakenError), write(promoted.engine) as conn:
        carry_out.take_in(conn, old, "demo", outcome, at=0.0, recorded_at="2026-01-01")
