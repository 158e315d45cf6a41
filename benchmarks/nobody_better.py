"""Worlds of real Electricity answers in which nobody is better: how often is anybody promoted?

The whole fold decides (``decide.advance``: refits, blend, weights, ways back), labels a day late.
A day at a time a coin says who of champion and challenger gives whose real answers, which flips
the signs of the whole day's differences. Two strategies answer alike, so that their blend is no
better by averaging, and both of them and the blend may be promoted.
"""

import argparse
import json

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from benchmarks.decisions import loops, stream_data
from continualml import decide
from continualml.errors import InputError
from continualml.model import Feature, Model, Policy, Strategy
from continualml.records import Declared, Merged, Outcome, Scored, Trained, TrainingFailed

DAY = DELAY = 48
_WINDOWS = ((500, 100), (1_000, 200), (2_000, 500), (8_000, 500))
_SURE, _MOST_ROWS = 0.7, 2_000
_HELD = dict.fromkeys(("brier", "error_rate", "log_loss"), (0.3, 0.01))
MODEL = Model(
    name="electricity",
    kind="classification",
    target="y",
    classes=("down", "up"),
    features=(Feature(name="x"),),
    policy=Policy(
        block=DAY,
        tolerance=0.2,  # alarms are not what this is about
        strategies=tuple(Strategy(name=n, window=1_000, refit=500) for n in ("one", "other")),
    ),
)
Bools = NDArray[np.bool_]


class World:
    """A loop whose champion and challengers are right where ``right`` (2, n) says so."""

    def __init__(self, right: Bools) -> None:
        self._seq, self._version = 0, 0
        self._said = np.where(right, _SURE, 1 - _SURE)
        self._known = decide.Known()
        self._take(Declared(model=MODEL))
        self._take(self._trained("first", through=1))

    def promoted(self) -> bool:
        """Go on until somebody is promoted, or to the end."""
        n, kinds = self._said.shape[1], set[str]()
        while "promote" not in kinds:
            while orders := self._state.orders:
                # The blend is of what was fitted before.
                self._carry_out(min(orders, key=lambda o: o.strategy == decide.BLEND))
            at = max((self._state.read - 2 * DELAY) // 2, 0)
            if at >= n:
                return False
            due = decide.rows_until_due(MODEL, self._state) or _MOST_ROWS
            kinds = self._take(self._scored(np.arange(at, min(at + min(due, _MOST_ROWS), n))))
        return True

    @property
    def _state(self) -> decide.Standing:
        if self._known.standing is None:
            raise InputError("standing", expected="a first champion", got=None)
        return self._known.standing

    def _take(self, outcome: Outcome) -> set[str]:
        self._seq += 1
        self._known, said = decide.advance(self._known, self._seq, outcome)
        return {d.kind for d in said}

    def _carry_out(self, order: decide.Order) -> None:
        if order.strategy == decide.BLEND:
            self._version += 1
            merged = Merged(
                strategy=order.strategy,
                version=self._version,
                through=order.through,
                members=order.members,
            )
            self._take(merged)
        elif order.strategy in {s.name for s in MODEL.policy.strategies}:
            self._take(self._trained(order.strategy, through=order.through))
        else:
            failed = TrainingFailed(
                strategy=order.strategy, through=order.through, because="not what this is about"
            )
            self._take(failed)

    def _trained(self, strategy: str, *, through: int) -> Trained:
        self._version += 1
        return Trained(
            strategy=strategy,
            version=self._version,
            through=through,
            hold=50,
            held=_HELD,
            predecessor=None,
            seconds=0.0,
            worse_by=0.0,
            standard_error=0.01,
        )

    def _scored(self, rows: NDArray[np.int64]) -> Scored:
        """Say what was answered on these rows; row i is observed at 2 (i + 1), labelled later."""
        observed = 2 * (rows + 1)
        versions = tuple(decide.asked(MODEL, self._state, observed))
        wrong = np.column_stack([1 - self._said[int(v > 1), rows] for v in versions])
        return Scored(
            versions=versions,
            seq=(observed + 2 * DELAY + 1).astype("<i8").tobytes(),
            target=(rows % 2).astype("<f8").tobytes(),
            answers=_of_classes(wrong, rows % 2).astype("<f4").tobytes(),
            observed=observed.astype("<i8").tobytes(),
        )


def _of_classes(wrong: NDArray[np.float64], target: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, versions, 2) probabilities, of (n, versions) those of the class that is not true."""
    up = np.where(target[:, None] == 1, 1 - wrong, wrong)
    return np.stack([1 - up, up], axis=2)


def real(rows: int | None) -> list[Bools]:
    """(2, n) where the first model and each blind refit were right, from a day's first row on."""
    stream = stream_data.load("electricity")
    stream = stream if rows is None else stream.head(rows)
    begun = -stream.first % DAY
    first = loops.first_model(stream, DELAY).right
    found = []
    for window, period in _WINDOWS:
        later = loops.blind(stream, DELAY, window=window, period=period).right
        found.append(np.stack((first, later))[:, begun:])
    return found


def flipped(rng: np.random.Generator, right: Bools) -> Bools:
    """Let a coin say for each day who gives whose answers."""
    days = -(-right.shape[1] // DAY)
    swap = np.repeat(rng.random(days) < 0.5, DAY)[: right.shape[1]]
    return np.where(swap, right[::-1], right)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--worlds", type=int, default=200)
    asked.add_argument("--rows", type=int, default=None, help="only the first rows")
    said = asked.parse_args()
    rng, there = np.random.default_rng(9), real(said.rows)
    promoted = sum(
        World(flipped(rng, there[i % len(there)])).promoted() for i in range(said.worlds)
    )
    better = sum(World(right).promoted() for right in there)
    told = {
        "worlds": said.worlds,
        "promoted": promoted,
        "share": round(promoted / said.worlds, 4),
        # Clopper and Pearson's one-sided bound.
        "at_most_95": round(float(beta.ppf(0.95, promoted + 1, max(said.worlds - promoted, 1))), 4),
        "as_it_was": f"{better} of {len(there)} promoted",
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
