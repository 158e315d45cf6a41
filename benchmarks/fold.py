"""Processor time of a row in the whole fold: alarms, gates, blend, decisions."""

import json
import time

import numpy as np

from continualml import decide
from continualml.model import Feature, Model, Policy
from continualml.records import Merged, Scored, Trained

ROWS, STEP = 100_000, 1_000


def main() -> None:
    for block in (1, 48):
        print(json.dumps({"block": block, "us_a_row": round(_fold(block) / ROWS * 1e6, 1)}))


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
    seq += 1
    members = tuple((s.name, state.heads[s.name].version) for s in model.policy.strategies)
    merged = Merged(strategy=decide.BLEND, version=seq, through=100, members=members)
    state, _ = decide.step(model, state, seq, merged)
    versions = decide.watched(model, state)
    rng = np.random.default_rng(0)
    chunks = [
        Scored(
            versions=versions,
            seq=np.arange(at + 1, at + STEP + 1).astype("<i8").tobytes(),
            target=np.zeros(STEP, "<f8").tobytes(),
            answers=_answers(rng, len(versions)),
        )
        for at in range(100, 100 + ROWS, STEP)
    ]
    began = time.process_time()
    for chunk in chunks:
        seq += 1
        state, _ = decide.step(model, state, seq, chunk)
    return time.process_time() - began


def _answers(rng: np.random.Generator, versions: int) -> bytes:
    wrong = rng.random((STEP, versions))
    return np.stack([1 - wrong, wrong], axis=2).astype("<f4").tobytes()


def _trained(strategy: str, version: int) -> Trained:
    return Trained(
        strategy=strategy,
        version=version,
        through=100,
        hold=50,
        held={"brier": (0.5, 0.01), "error_rate": (0.5, 0.01), "log_loss": (0.5, 0.01)},
        worse_by=0.0,
        standard_error=0.0,
        predecessor=None,
        seconds=0.0,
    )


if __name__ == "__main__":
    main()
