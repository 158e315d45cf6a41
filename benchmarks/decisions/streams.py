"""Whole loops: accuracy on streams when labels come at once and a day (48 rows) late."""

import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np

from benchmarks.decisions import loops, online, stream_data
from benchmarks.decisions.cells import Cell, Cells
from benchmarks.decisions.loops import Result
from benchmarks.decisions.ours import ours
from benchmarks.decisions.stream_data import Stream

Way = Callable[[Stream, int], Result]
DELAYS = (48, 0)
POINTS = 60
_QUICK_ROWS = 550
COMMAND = "python -m benchmarks.decisions streams"

WAYS: dict[str, Way] = {
    "ours, default policy": ours,
    "no change: the newest known label": loops.no_change,
    "first model for ever": loops.first_model,
    "blind refit, newest 500 every 100": partial(loops.blind, window=500, period=100),
    "blind refit, newest 1,000 every 200": partial(loops.blind, window=1_000, period=200),
    "blind refit, newest 2,000 every 500": partial(loops.blind, window=2_000, period=500),
    "blind refit, newest 8,000 every 500": partial(loops.blind, window=8_000, period=500),
    "textbook: ADWIN, refit, better on 200 held back": loops.textbook,
    "textbook: ADWIN, refit, our gate": loops.textbook_proved,
    **{f"River: {name}": partial(online.run, learner=name) for name in online.LEARNERS},
}


def kept(folder: Path) -> Cells:
    """Read what has been measured so far."""
    return Cells(folder / "streams.json", COMMAND)


def measure(folder: Path, *, quick: bool) -> Cells:
    """Fill ``streams.json``: each way on each stream at each delay."""
    cells = kept(folder)
    load = cache(stream_data.load)
    names = ("electricity",) if quick else stream_data.NAMES
    cells.fill(
        {
            f"{name} | {delay} | {way}": partial(_cell, load, name, delay, way, quick=quick)
            for way in sorted(WAYS, key=_slow)
            for delay in (DELAYS[:1] if quick else DELAYS)
            for name in names
        }
    )
    return cells


def _cpu_s() -> float:
    """CPU seconds of this process and of the children that it has ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _slow(way: str) -> int:
    """Measure the quick ways first; ensembles take minutes a stream."""
    return 1 + way.startswith("River") if way.startswith(("ours", "River")) else 0


def _cell(load: Callable[[str], Stream], name: str, delay: int, way: str, *, quick: bool) -> Cell:
    stream = load(name).head(_QUICK_ROWS) if quick else load(name)
    began = _cpu_s()
    result = WAYS[way](stream, delay)
    cpu_s = _cpu_s() - began
    parts = np.array_split(result.right, min(POINTS, len(result.right)))
    return {
        "accuracy": round(float(result.right.mean()), 4),
        "refits": result.refits,
        "swaps": result.swaps,
        "promotions": result.promotions,
        "labels": result.labels,
        "cpu_s": round(cpu_s, 2),
        "rows": len(stream.x),
        "first": stream.first,
        "rolling": [round(float(part.mean()), 4) for part in parts],
    }
