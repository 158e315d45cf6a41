from dataclasses import replace

import pytest

from continualml import decide
from continualml.loop import arithmetic
from tests.test_decide import BLOCK, MODEL, World


def test_the_thresholds_shown_are_those_that_decide() -> None:
    world = World()
    world.go(100)
    known = decide.Known(model=MODEL, standing=world.state)
    told = arithmetic.explained(MODEL, known)
    evidence = world.said[-1].basis
    assert told["alarm"]["threshold"] == evidence["loss"]["threshold"]
    assert told["alarm"]["threshold"] == 2_000 / 0.24 / BLOCK
    proofs = decide.questions(MODEL, world.state.anchor, BLOCK).proofs
    assert tuple(told["gate"]["thresholds"].values()) == proofs
    assert told["gate"]["thresholds"]["blend"] == 2_000 / BLOCK / 0.5
    assert told["gate"]["thresholds"]["short"] == pytest.approx(2_000 / BLOCK * 12)
    assert sum(told["gate"]["places"].values()) == pytest.approx(1)
    assert told["alarm"]["promised"] == evidence["promised"]
    assert told["differs_from_file"] == []


def test_a_chance_is_split_among_the_places_and_said() -> None:
    sure = replace(MODEL, policy=replace(MODEL.policy, false_promotions=None))
    told = arithmetic.explained(sure, decide.Known(model=sure, standing=World().state))
    assert told["gate"]["chance"] == 0.05
    assert told["gate"]["thresholds"]["blend"] == 40
    assert any("is ever promoted" in s and "at most 0.05" in s for s in told["guaranteed"])


def test_a_file_that_was_edited_is_not_in_force_yet_and_said_to_differ() -> None:
    edited = replace(MODEL, policy=replace(MODEL.policy, false_alarms=90))
    known = decide.Known(model=MODEL, standing=World().state)
    told = arithmetic.explained(edited, known)
    assert told["alarm"]["budget_rows"] == 2_000
    assert told["differs_from_file"] == ["policy.false_alarms"]


def test_without_a_champion_what_is_not_known_yet_is_not_made_up() -> None:
    told = arithmetic.explained(
        replace(MODEL, policy=replace(MODEL.policy, block=None)), decide.Known()
    )
    assert not told["in_force"]
    assert told["block"]["rows"] is None
    assert "threshold" not in told["alarm"]
    assert "will be estimated" in told["block"]["because"]


def test_a_period_says_how_many_rows_it_is_or_that_this_is_not_known() -> None:
    policy = replace(MODEL.policy, false_alarm_days=30.0)
    told = arithmetic.explained(replace(MODEL, policy=policy), decide.Known())
    assert "does not yet span one" in told["alarm"]["because"]
    measured = replace(MODEL, policy=replace(policy, rows_per_day=48.0))
    told = arithmetic.explained(measured, decide.Known())
    assert told["alarm"]["because"] == "30 days of 48 labelled rows"
    assert any("Days became rows once" in s for s in told["not_guaranteed"])


def test_a_users_own_threshold_is_promised_exactly() -> None:
    policy = replace(MODEL.policy, threshold=0.8)
    exact = arithmetic.explained(replace(MODEL, policy=policy), decide.Known())
    assert not any("approximate" in s for s in exact["not_guaranteed"])
    other = arithmetic.explained(MODEL, decide.Known())
    assert any("approximate" in s for s in other["not_guaranteed"])
