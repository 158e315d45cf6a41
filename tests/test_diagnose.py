"""What alarms are taken for, and what of them people are told: again and again is no news."""

from dataclasses import replace

import msgspec
import numpy as np

from continualml import decide
from continualml.decide.standing import Shift
from continualml.evidence.reference import codes, labelled, of_columns
from continualml.records import Decision, Described, TrainingFailed, Watched
from tests.test_decide import BLOCK, MODEL, Floats, World

SILENCE = max(10 * BLOCK, 200)


class TwoColumns(World):
    """A feature and the champion's confidence, both standard normal when described."""

    def describe(self) -> None:
        columns = {"x": self.rng.normal(size=500), "confidence": self.rng.normal(size=500)}
        labels = labelled(self.model, self.rng.integers(0, 2, 500).astype(float))
        packed = (msgspec.msgpack.encode(of_columns(c)) for c in (columns, labels))
        version = self.state.anchor.version
        columns_, labels_ = packed
        self.take(Described(version=version, observed=self.row, columns=columns_, labels=labels_))
        self.observed = self.row

    def look(self, x: Floats, confidence: Floats) -> list[Decision]:
        assert self.state.drift is not None
        seq = np.arange(self.observed + 1, self.observed + 1 + len(x))
        self.observed += len(x)
        found = codes(self.state.drift.columns, {"x": x, "confidence": confidence})
        version = self.state.drift.version
        seen = Watched(version=version, seq=seq.astype("<i8").tobytes(), codes=found.tobytes())
        return [d for d in self.take(seen) if d.kind == "alarm"]


def wanted(world: World) -> set[str]:
    return {o.strategy for o in world.state.orders}


def test_a_world_that_goes_on_moving_is_said_once_and_then_rarely() -> None:
    world = TwoColumns()
    usual = world.rng.normal(size=2_000)
    moved = world.look(world.rng.normal(1.0, 1.0, 2_000), usual)  # in one portion
    assert [d.basis["diagnosis"] for d in moved] == ["covariate shift"]
    said = world.look(usual[:400], world.rng.normal(1.0, 1.0, 400))  # another column is news
    assert [d.basis["moved"][0]["name"] for d in said] == ["confidence"]
    for unsaid in (1, 2, 3):
        world.describe()  # the reference is taken anew, and again it moves from there
        assert world.look(world.rng.normal(2.0, 1.0, 400), usual[:400]) == []
        assert world.state.shifts["x"].unsaid == unsaid

    # After as many rows as the budget has it may be said again, and then after twice as many.
    at = world.state.rows + MODEL.policy.false_alarms
    world.state = replace(world.state, rows=at)
    world.describe()
    assert len(world.look(world.rng.normal(3.0, 1.0, 400), usual[:400])) == 1
    assert world.state.shifts["x"] == Shift(rows=at, wait=2 * MODEL.policy.false_alarms)


def test_the_reference_is_taken_anew_once_no_fault_has_followed_the_move() -> None:
    world = TwoColumns()
    (said,) = world.look(world.rng.normal(size=400), world.rng.normal(1.0, 1.0, 400))
    assert decide.REFERENCE not in wanted(world)
    world.go(SILENCE - BLOCK)
    assert decide.REFERENCE not in wanted(world)
    world.go(BLOCK)
    (order,) = (o for o in world.state.orders if o.strategy == decide.REFERENCE)
    assert order.since == said.basis["began"]


def test_answers_that_moved_first_hide_no_broken_feed() -> None:
    """Before, the reference was taken anew at once: of rows in which the column was broken."""
    world = TwoColumns()
    alarms: list[Decision] = []
    while not alarms:  # the answers jump, and the column stands still where it often was
        alarms = world.look(np.full(BLOCK, 0.1), world.rng.normal(3.0, 1.0, BLOCK))
    (said,) = alarms
    assert said.basis["diagnosis"] == "covariate shift"
    assert [m["name"] for m in said.basis["moved"]] == ["confidence"]
    world.go(100)
    assert decide.REFERENCE not in wanted(world)
    found = world.look(np.full(400, 0.1), world.rng.normal(3.0, 1.0, 400))
    assert [d.basis["diagnosis"] for d in found] == ["broken feed"]
    assert world.state.incident is not None
    world.go(SILENCE)
    assert decide.REFERENCE not in wanted(world)


def test_one_long_turn_heals_nothing_that_goes_on() -> None:
    """Before, the labelled rows closed the incident before their columns had been read."""
    world = World()
    world.see(np.full(200, np.nan))
    assert world.state.incident is not None
    for _ in range(3):  # labels that lag come in thousands; then what was observed meanwhile
        world.take(world.scored(1_000))
        world.row = world.state.read
        world.see(np.full(1_000, np.nan))
    assert "recover" not in world.kinds()

    world.take(world.scored(1_000))
    world.row = world.state.read
    world.see(world.rng.normal(size=1_000))
    world.go(SILENCE + BLOCK)
    assert "recover" in world.kinds()


def test_a_column_that_moved_is_heard_again_whatever_came_between() -> None:
    world = TwoColumns()
    world.look(world.rng.normal(size=400), world.rng.normal(1.0, 1.0, 400))
    assert world.state.drift is not None
    assert world.state.drift.of_columns.muted == ("confidence",)
    world.look(np.full(300, np.nan), world.rng.normal(size=300))
    assert world.state.incident is not None
    for _ in range(6):  # it heals, and ten blocks later there is a reference of rows that are well
        world.look(world.rng.normal(size=100), world.rng.normal(size=100))
        world.go(SILENCE)
    (order,) = (o for o in world.state.orders if o.strategy == decide.REFERENCE)
    failed = TrainingFailed(strategy=decide.REFERENCE, through=order.through, because="no rows")
    world.take(failed)
    world.go(SILENCE + 2 * BLOCK)
    assert decide.REFERENCE in wanted(world)
    world.describe()
    assert world.look(world.rng.normal(3.0, 1.0, 400), world.rng.normal(size=400))
