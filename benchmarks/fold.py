"""Rows a second through the whole fold: alarm, seven gates, decisions; one core."""

import json
import time

import numpy as np

from continualml import decide
from continualml.model import Feature, Model, Policy
from continualml.records import Scored, Trained

ROWS, STEP = 100_000, 1_000


def main() -> None:
    for block in (1, 48):
        print(json.dumps({"block": block, "rows_per_s": round(ROWS / _fold(block))}))


def _fold(block: int) -> float:
    budget = 10**9  # so high that no promotion ends the fold early
    model = Model(
        name="m",
        kind="classification",
        target="y",
        classes=("no", "yes"),
        features=(Feature(name="x"),),
        policy=Policy(block=block, false_alarms=budget, false_promotions=budget),
    )
    state, _ = decide.begin(model, 1, _trained("first", 1))
    seq = 1
    for strategy in model.policy.strategies:
        seq += 1
        state, _ = decide.step(model, state, seq, _trained(strategy.name, seq))
    versions = decide.watched(model, state)
    rng = np.random.default_rng(0)
    chunks = [
        Scored(
            versions=versions,
            seq=np.arange(at + 1, at + STEP + 1).astype("<i8").tobytes(),
            loss=rng.random((STEP, len(versions))).tobytes(),
            error=np.zeros((STEP, len(versions)), dtype="u1").tobytes(),
        )
        for at in range(100, 100 + ROWS, STEP)
    ]
    began = time.perf_counter()
    for chunk in chunks:
        seq += 1
        state, _ = decide.step(model, state, seq, chunk)
    return time.perf_counter() - began


def _trained(strategy: str, version: int) -> Trained:
    return Trained(
        strategy=strategy,
        version=version,
        through=100,
        hold=50,
        loss=0.5,
        loss_standard_error=0.01,
        error_rate=0.5,
        worse_by=0.0,
        standard_error=0.0,
        predecessor=None,
        seconds=0.0,
    )


if __name__ == "__main__":
    main()
