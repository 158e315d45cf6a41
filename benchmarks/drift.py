"""What the feature alarm costs a row, and how soon it finds one moved column of ten."""

import argparse
import json
import time

import numpy as np

from continualml.evidence.drift import DriftQuestion, step, untouched
from continualml.evidence.reference import codes, of_columns

ROUNDS, ROWS = 5, 48_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=100, help="streams of each kind")
    asked = parser.parse_args()
    for block in (1, 12, 48):
        print(
            json.dumps(
                {"block": block, **_cost(block), "rows_to_alarm": _delays(block, asked.worlds)}
            )
        )


def _cost(block: int) -> dict[str, float]:
    """Microseconds of processor time a row, 8 numeric columns, median of the rounds."""
    rng = np.random.default_rng(0)
    reference = of_columns(_columns(rng.normal(size=(1_000, 8))))
    question = DriftQuestion(reference=reference, budget=10_000, block=block)
    rows, seq = _columns(rng.normal(size=(ROWS, 8))), np.arange(1, ROWS + 1)
    coding, folding = [], []
    for _ in range(ROUNDS):
        began = time.process_time()
        code = codes(reference, rows)
        coded = time.process_time()
        step(question, untouched(question), seq, code)
        coding.append(coded - began)
        folding.append(time.process_time() - coded)
    return {
        "code_us": round(float(np.median(coding)) / ROWS * 1e6, 2),
        "fold_us": round(float(np.median(folding)) / ROWS * 1e6, 2),
    }


def _delays(block: int, worlds: int) -> dict[str, float]:
    """Median rows from the shift of one column to the alarm, by deviations; budget 10,000."""
    rng = np.random.default_rng(3)
    found = {}
    for deviations in (0.5, 1.0):
        delays = []
        for world in range(worlds):
            x = rng.normal(size=(4_000, 10))
            x[1_288:, world % 10] += deviations
            reference = of_columns(_columns(x[:1_000]))
            question = DriftQuestion(reference=reference, budget=10_000, block=block)
            code, state, at = codes(reference, _columns(x[1_000:])), untouched(question), 0
            delay = np.inf
            while delay == np.inf and at < len(code):
                here = slice(at, at + 96)
                state, alarms = step(question, state, np.arange(1, 3_001)[here], code[here])
                delay = alarms[0].seq - 288 if alarms else delay
                at += 96
            delays.append(delay)
        found[str(deviations)] = float(np.median(delays))
    return found


def _columns(x: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> dict[str, np.ndarray]:
    return {f"x{i}": x[:, i] for i in range(x.shape[1])}


if __name__ == "__main__":
    main()
