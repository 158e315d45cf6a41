from dataclasses import replace

import pytest

from continualml import decide
from continualml.errors import InputError
from continualml.records import Commanded
from tests.test_decide import MODEL, World, trained


def followed() -> World:
    """Version 2 of `short` is proven, 3 is its refit and answers; 1 answered before."""
    world = World()
    world.level |= {2: 0.1, 3: 0.1, 4: 0.3}
    world.take(trained("short", 2, 100))
    world.go(2_000)
    world.take(trained("short", 3, world.row))
    assert (world.state.champion.version, world.state.follows) == (3, "short")
    return world


def hand(artifact: decide.Artifact, *, back: bool = False) -> Commanded:
    return decide.command_of(artifact, back=back, said="it answers nonsense", by="ada@desk")


def test_a_commanded_version_answers_frozen_and_all_evidence_begins_anew() -> None:
    world = followed()
    world.go(200)
    first = world.state.previous
    assert first is not None
    (said,) = world.take(hand(first))
    state = world.state
    assert (said.kind, said.version) == ("promote", 1)
    assert said.because == "by hand, without proof, in place of version 3: it answers nonsense"
    assert (said.basis["by_hand"], said.basis["from"]) == ("ada@desk", 3)
    assert (state.champion, state.follows, state.anchor) == (first, None, first)
    assert state.previous is not None
    assert state.previous.version == 3
    assert all(g.value == 0 for g in state.evidence.gates)
    assert state.evidence.alarm == 0
    assert state.evidence.seq == state.read


def test_a_refit_of_the_strategy_that_was_followed_does_not_answer_any_more() -> None:
    world = followed()
    first = world.state.previous
    assert first is not None
    world.take(hand(first))
    world.level[5] = 0.1
    world.take(trained("short", 5, world.row))
    assert world.state.champion.version == 1


def test_who_was_sent_away_by_hand_comes_back_by_proof() -> None:
    world = followed()
    first = world.state.previous
    assert first is not None
    world.take(hand(first))
    world.go(2_000)
    assert world.state.champion.version == 3
    assert world.said[-1].kind == "keep"


def test_one_way_back_leads_to_the_anchor_and_the_next_one_further() -> None:
    world = followed()
    assert decide.way_back(world.state).version == 2
    (said,) = world.take(hand(decide.way_back(world.state), back=True))
    assert (said.kind, said.version) == ("rollback", 2)
    assert decide.way_back(world.state).version == 1
    world.take(hand(decide.way_back(world.state), back=True))
    assert world.state.champion.version == 1
    with pytest.raises(InputError, match="expected a version to go back to, got 'version 1 alone'"):
        decide.way_back(world.state)


def test_the_champion_itself_may_be_told_to_stay_as_it_is() -> None:
    world = followed()
    world.take(hand(world.state.champion))
    assert (world.state.champion.version, world.state.follows) == (3, None)
    assert world.state.previous is not None
    assert world.state.previous.version == 1


def test_a_command_holds_back_the_next_promotion_for_the_cooldown() -> None:
    world = World(replace(MODEL, policy=replace(MODEL.policy, cooldown=5_000)))
    world.level[2] = 0.0
    world.take(trained("short", 2, 100))
    world.take(hand(world.state.champion))
    world.go(2_000)
    assert world.state.champion.version == 1
    world.go(4_000)
    assert world.state.champion.version == 2
