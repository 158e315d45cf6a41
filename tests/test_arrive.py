"""Decisions about labels that are late or do not come: said, and nothing else."""

from dataclasses import replace
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from continualml import decide
from continualml.errors import InputError
from continualml.evidence.usual_delay import DelayReference
from continualml.records import Arrived, Decision, Declared, DelaysDescribed
from tests.test_decide import BLOCK, MODEL, World

USUAL = DelayReference(rows=900, horizon=10, overdue=0.1, error=0.01, longest_gap=4)


def described(
    world: World, reference: DelayReference | None, *, labels: int = 0
) -> DelaysDescribed:
    coming = world.state.coming
    return DelaysDescribed(
        after=coming.after,
        observations=coming.wanted,
        through=coming.after + 10 * coming.wanted,
        labels=labels,
        reference=b"" if reference is None else msgspec.msgpack.encode(reference),
    )


def arriving(world: World, delay: NDArray[np.float64]) -> Arrived:
    """Let observations come, each with the label of the one so many before it (NaN: with none)."""
    start = world.state.coming.seq
    seq = np.arange(start + 1, start + 1 + 2 * len(delay))
    both = np.column_stack((np.full(len(delay), np.nan), delay)).ravel()
    observed = np.tile([True, False], len(delay))
    kept = observed | ~np.isnan(both)
    return Arrived(
        seq=seq[kept].astype("<i8").tobytes(),
        observed=observed[kept].astype("u1").tobytes(),
        delay=both[kept].astype("<f8").tobytes(),
    )


def watching() -> World:
    world = World()
    world.take(described(world, USUAL, labels=1_000))
    return world


def about_delay(said: tuple[Decision, ...]) -> list[str]:
    assert all(d.kind == "alarm" and d.basis["family"] == "delay" for d in said)
    return [d.basis["diagnosis"] for d in said]


def test_labels_that_come_as_usual_are_not_spoken_of() -> None:
    world = watching()
    for _ in range(10):
        assert world.take(arriving(world, np.full(400, 5.0))) == ()
    level = decide.evidence_now(MODEL, world.state)["delay"]
    assert 0 <= level["level"] < 0.01
    assert not level["silent"]


def test_labels_that_come_late_are_said_and_nothing_else_follows() -> None:
    world = watching()
    world.take(arriving(world, np.full(400, 5.0)))
    before = world.state
    said = world.take(arriving(world, np.full(400, 30.0)))
    assert set(about_delay(said)) == {"labels late"}
    (first,) = said  # once, however long it lasts
    assert first.basis["alarm_evidence"] >= first.basis["alarm_threshold"] == 2_000 / 0.24 / BLOCK
    assert first.seq == first.basis["at"] > before.coming.seq
    assert first.basis["began"] > before.coming.seq - 3 * BLOCK  # the open block's first row
    after = replace(world.state, coming=before.coming, seq=before.seq)
    assert after == before  # no incident, no order, no other evidence


def test_labels_that_stop_are_said_to_be_silent_once() -> None:
    world = watching()
    world.take(arriving(world, np.full(400, 5.0)))
    stopped = world.state.coming.seq
    said = world.take(arriving(world, np.full(390, np.nan)))
    said += world.take(arriving(world, np.full(200, np.nan)))
    assert about_delay(said).count("labels silent") == 1
    (silence,) = [d for d in said if d.basis["diagnosis"] == "labels silent"]
    assert silence.basis["began"] == stopped
    assert f"none since row {stopped}, 401 observations" in silence.because
    assert world.state.incident is None
    assert decide.evidence_now(MODEL, world.state)["delay"]["silent"]
    world.take(arriving(world, np.full(3, 0.0)))
    assert not decide.evidence_now(MODEL, world.state)["delay"]["silent"]


def test_labels_that_never_came_are_said_to_be_silent_once() -> None:
    world = World()
    said = [world.take(described(world, None)) for _ in range(3)]
    assert [about_delay(s) for s in said] == [["labels silent"], [], []]
    assert said[0][0].because == "labels silent: no label since row 100, 1000 observations"
    assert world.state.coming.wanted == 8_000
    assert decide.evidence_now(MODEL, world.state)["delay"] == {"level": None, "silent": True}


def test_a_few_labels_are_no_silence_and_no_reference() -> None:
    world = World()
    wanted, after = [], []
    for _ in range(8):
        coming = world.state.coming
        wanted.append(coming.wanted)
        after.append(coming.after)
        assert world.take(described(world, None, labels=7)) == ()
    assert wanted == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 1_000, 2_000]
    assert [a == b for a, b in pairwise(after)] == [True] * 5 + [False, True]


def test_what_was_not_asked_for_is_refused() -> None:
    world = World()
    with pytest.raises(InputError, match="arrived: expected a reference"):
        world.take(arriving(world, np.zeros(3)))
    wrong = replace(described(world, USUAL), observations=999)
    with pytest.raises(InputError, match="delays_described"):
        world.take(wrong)


def test_under_a_new_block_or_budget_the_evidence_begins_anew_and_goes_on() -> None:
    for policy in (replace(MODEL.policy, block=7), replace(MODEL.policy, false_alarms=50)):
        world = watching()
        world.take(arriving(world, np.full(411, 5.0)))
        new = replace(MODEL, policy=policy)
        world.take(Declared(model=new))
        world.model = new
        assert world.state.coming.evidence is not None
        assert (world.state.coming.evidence.rows, world.state.coming.evidence.alarm.value) == (0, 0)
        assert "labels late" in about_delay(world.take(arriving(world, np.full(400, 30.0))))
    world = watching()
    world.take(arriving(world, np.full(411, 5.0)))
    kept = world.state.coming
    world.take(Declared(model=replace(MODEL, policy=replace(MODEL.policy, cooldown=77))))
    assert world.state.coming == kept
