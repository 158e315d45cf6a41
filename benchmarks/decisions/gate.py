"""How often an equal challenger is promoted, and how long a better one has to wait."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np

from benchmarks.decisions import loops, stream_data
from benchmarks.decisions.cells import Cell, Cells
from benchmarks.decisions.rules import NEVER, RULES, Labels
from benchmarks.decisions.worlds import Floats, in_runs

COMMAND = "python -m benchmarks.decisions gate"
ROWS, WORLDS, REAL_WORLDS = 5_000, 2_000, 1_000
_DISAGREE = 0.1
_DAY = 48
# The two models are fitted on rows 0-1,000 and 1,000-2,000; whole days begin at a multiple of 48.
_FITS, _FROM = ((0, 1_000), (1_000, 2_000)), 42 * _DAY
# name: gain, rho
MADE = {
    "equal, independent": (0.0, 0.0),
    "equal, runs of rho .5": (0.0, 0.5),
    "equal, runs of rho .8": (0.0, 0.8),
    "gain .02": (0.02, 0.0),
    "gain .05": (0.05, 0.0),
}


def kept(folder: Path) -> Cells:
    """Read what has been measured so far."""
    return Cells(folder / "gate.json", COMMAND)


def measure(folder: Path, *, quick: bool) -> Cells:
    """Fill ``gate.json``: each rule in each kind of world."""
    rows, worlds, real = (1_000, 20, 4) if quick else (ROWS, WORLDS, REAL_WORLDS)
    cells = kept(folder)
    errors = cache(electricity)
    wanted: dict[str, Callable[[], Cell]] = {}
    for rule in RULES:
        for world in MADE:
            wanted[f"made | {world} | {rule}"] = partial(_made, rule, world, rows, worlds)
        wanted[f"electricity, nobody better | {rule}"] = partial(_real, rule, errors, real)
    cells.fill(wanted)
    return cells


def _made(rule: str, world: str, rows: int, worlds: int) -> Cell:
    gain, rho = MADE[world]
    rng = np.random.default_rng([7, list(MADE).index(world)])
    made = differences(rng, rows, worlds, gain=gain, rho=rho)
    return _cell(RULES[rule](made), rows)


def differences(
    rng: np.random.Generator, rows: int, worlds: int, *, gain: float, rho: float
) -> Floats:
    """(rows, worlds) differences of two 0/1 losses: the two models disagree on a tenth of rows.

    Parameters
    ----------
    gain
        How much higher the challenger's accuracy is, in [0, .1].
    rho
        Correlation of a row with the row before it.
    """
    draw = rng.random((rows, worlds))
    better, worse = (_DISAGREE + gain) / 2, (_DISAGREE - gain) / 2
    made = np.where(draw < better, 1.0, np.where(draw >= 1 - worse, -1.0, 0.0))
    return np.column_stack([in_runs(rng, column, rho) for column in made.T]) if rho else made


def _real(rule: str, errors: Callable[[], Floats], worlds: int) -> Cell:
    rng, there = np.random.default_rng(8), errors()
    portions = (nobody_better(rng, there, min(100, worlds)) for _ in range(0, worlds, 100))
    return _cell(np.concatenate([RULES[rule](p) for p in portions]), len(there))


def nobody_better(rng: np.random.Generator, difference: Floats, worlds: int) -> Floats:
    """(rows, worlds) real differences with the signs of whole days flipped at random."""
    days = len(difference) // _DAY
    sign = np.repeat(rng.choice([-1.0, 1.0], (days, worlds)), _DAY, axis=0)
    made: Floats = difference[: days * _DAY, None] * sign
    return made


def electricity() -> Floats:
    """Differences of the errors of two logistic regressions on the days after both fits."""
    stream = stream_data.load("electricity")
    x, target = stream.x[_FROM:], stream.target[_FROM:]
    first, second = ((loops.fit(stream, *rows)(x) != target).astype(float) for rows in _FITS)
    difference: Floats = first - second
    return difference


def _cell(labels: Labels, rows: int) -> Cell:
    waited = np.minimum(labels, rows)
    return {
        "promoted": round(float((labels < NEVER).mean()), 4),
        "median_labels": float(np.median(waited)),
        "mean_labels": round(float(waited.mean()), 1),
        "worlds": len(labels),
        "rows": rows,
    }
