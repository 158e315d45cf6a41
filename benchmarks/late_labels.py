"""A world that swings to and fro, with labels that come at once, half a period late, and a whole.

Who learns from the newest labels is right about the rows that they belong to. With labels half a
period late those who ask by then live in the contrary world. ``--misled`` judges each row as if its
label had come at once, as a loop would that does not note when rows were observed.
"""

import argparse
import json
from dataclasses import replace

import numpy as np

from continualml.loop import backtest, making
from continualml.loop.training import Trainer
from continualml.model import Feature, Model, Policy, Strategy
from continualml.records import Rows

HALF_PERIOD, FIRST = 600, 2_400
MODEL = Model(
    name="swing",
    kind="classification",
    target="y",
    classes=("no", "yes"),
    features=(Feature(name="steady"), Feature(name="swinging")),
    policy=Policy(
        block=24,
        hold=25,
        strategies=(
            Strategy(name="newest-150", window=150, refit=50),
            Strategy(name="newest-300", window=300, refit=100),
        ),
    ),
)


def world(seed: int, delay: int, n: int) -> backtest.Recorded:
    """Draw rows whose second feature counts for "yes" and against it in turn."""
    rng = np.random.default_rng(seed)
    x, half = rng.normal(size=(n, 2)), np.arange(n) // HALF_PERIOD
    signal = 2 * x[:, 0] + 2 * np.where(half % 2 == 0, 1, -1) * x[:, 1]
    target = (rng.random(n) < 1 / (1 + np.exp(-signal))).astype(np.float64)
    rows = Rows(numeric=x, categorical=np.empty((n, 0), dtype=object))
    return backtest.from_rows(MODEL, rows, target, delay=delay, first=FIRST)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--worlds", type=int, default=3)
    asked.add_argument("--rows", type=int, default=9_000, help="of each world")
    asked.add_argument("--misled", action="store_true")
    said = asked.parse_args()
    if said.misled:
        scored = making.scored
        making.scored = lambda *past: (s := scored(*past)) and replace(s, observed=b"")
    with Trainer() as trainer:
        for delay in (0, HALF_PERIOD, 2 * HALF_PERIOD):
            results = [
                backtest.run(world(seed, delay, said.rows), trainer, policy="late")
                for seed in range(said.worlds)
            ]
            told = {
                "delay": delay,
                "worlds": said.worlds,
                "promoted_in": sum(bool(r.rows_of("promote")) for r in results),
                "accuracy": round(float(np.mean([r.right.mean() for r in results])), 4),
                "lowest": round(min(float(r.right.mean()) for r in results), 4),
            }
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
