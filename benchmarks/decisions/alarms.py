"""False alarms per million rows that do not change, and the delay after a change."""

import copy
import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.decisions import feature_watches, watches
from benchmarks.decisions.cells import Cell, Cells
from benchmarks.decisions.watches import Method
from benchmarks.decisions.worlds import Floats, Kind, World

COMMAND = "python -m benchmarks.decisions alarms"
TARGET = 100.0  # false alarms per million rows that every way is tuned to
RHOS = (0.0, 0.3)
_REFERENCE = 1_000
# Quiet rows before a change: anywhere between two looks, or who looks every 100 rows has luck.
_BEFORE, _PORTION = (2_000, 2_100), 200
_TUNING, _MEASURING, _CHANGING = 1, 2, 3  # seeds, so that no way is judged on what tuned it


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured: quiet rows, rows of one world, changed worlds, rows to wait."""

    rows: int = 500_000
    world: int = 20_000
    worlds: int = 200
    cap: int = 10_000
    steps: int = 8

    def of(self, method: Method) -> "Size":
        """Take a part for a slow way."""
        rows = max(self.world, int(self.rows * method.share))
        worlds = max(2, math.ceil(self.worlds * max(method.share, 0.5)))
        return replace(self, rows=rows, worlds=worlds)


QUICK = Size(rows=1_000, world=1_000, worlds=2, cap=300, steps=1)
WAYS = ("default", *(f"tuned at rho {rho:g}" for rho in RHOS))
METHODS: dict[Kind, tuple[Method, ...]] = {
    "losses": watches.METHODS,
    "features": feature_watches.METHODS,
}


def kept(folder: Path) -> Cells:
    """Read what has been measured so far."""
    return Cells(folder / "alarms.json", COMMAND)


def measure(folder: Path, *, quick: bool) -> Cells:
    """Fill ``alarms.json``: each way at its default, and tuned in each kind of world."""
    size = QUICK if quick else Size()
    cells = kept(folder)
    wanted = {}
    slow_last = sorted(
        ((kind, method) for kind, methods in METHODS.items() for method in methods),
        key=lambda pair: -pair[1].share,
    )
    for kind, method in slow_last:
        name = f"{kind} | {method.name}"
        own = size.of(method)
        wanted[f"{name} | default"] = partial(_default, kind, method, own)
        for rho in RHOS:
            wanted[f"{name} | tuned at rho {rho:g}"] = partial(_tuned, kind, method, own, rho)
    cells.fill(wanted)
    return cells


def _default(kind: Kind, method: Method, size: Size) -> Cell:
    there = {f"{rho:g}": World(kind=kind, rho=rho) for rho in RHOS}
    return {
        "parameter": method.parameter,
        "value": method.default,
        **_size(size),
        "false_alarms": {
            rho: false_alarms(method, method.default, world, size, seed=_MEASURING)
            for rho, world in there.items()
        },
        "delay": {rho: delays(method, method.default, world, size) for rho, world in there.items()},
    }


def _tuned(kind: Kind, method: Method, size: Size, rho: float) -> Cell:
    value = tune(method, World(kind=kind, rho=rho), size)
    return {
        "parameter": method.parameter,
        "value": value,
        **_size(size),
        "false_alarms": {
            f"{r:g}": false_alarms(method, value, World(kind=kind, rho=r), size, seed=_MEASURING)
            for r in RHOS
        },
        "delay": {f"{rho:g}": delays(method, value, World(kind=kind, rho=rho), size)},
    }


def _size(size: Size) -> Cell:
    return {"rows": size.rows, "worlds": size.worlds, "cap": size.cap}


def false_alarms(method: Method, value: float, world: World, size: Size, *, seed: int) -> float:
    """Count alarms per million rows in worlds that do not change; each watch starts anew."""
    alarms, worlds = 0, max(1, size.rows // size.world)
    for i in range(worlds):
        rng = np.random.default_rng([seed, i])
        watch = method.make(value, world.quiet(rng, _REFERENCE))
        alarms += len(watch.feed(world.quiet(rng, size.world)))
    return alarms / (worlds * size.world) * 1e6


def tune(method: Method, world: World, size: Size) -> float:
    """Find the value with ``TARGET`` false alarms, by bisection on its logarithm.

    The same worlds are used in every step, so that the rate hardly ever rises and falls.
    """
    loud, quiet = method.least, method.most
    if method.quieter == "smaller":
        loud, quiet = quiet, loud
    for _ in range(size.steps):
        middle = math.sqrt(loud * quiet)
        if false_alarms(method, middle, world, size, seed=_TUNING) > TARGET:
            loud = middle
        else:
            quiet = middle
    return float(f"{math.sqrt(loud * quiet):.4g}")


def delays(method: Method, value: float, world: World, size: Size) -> dict[str, Cell]:
    """Rows from a change, 2,000 or more after the start, to the first alarm; by size of change."""
    found: dict[float, list[int]] = {change: [] for change in world.changes}
    for i in range(size.worlds):
        rng = np.random.default_rng([_CHANGING, i])
        watch = method.make(value, world.quiet(rng, _REFERENCE))
        before = int(rng.integers(*_BEFORE))
        watch.feed(world.quiet(rng, before))  # what it alarms here is counted elsewhere
        for change, rows in found.items():
            rows.append(_first(copy.deepcopy(watch), world.changed(rng, size.cap, change)))
    return {
        f"{change:g}": {
            "median": float(np.median(rows)),
            "mean": round(float(np.mean(rows)), 1),
            "found": round(float(np.mean(np.array(rows) <= size.cap)), 3),
        }
        for change, rows in found.items()
    }


def _first(watch: watches.Watch, rows: Floats) -> int:
    """Rows to the first alarm; one more than there are when none comes (it is "not found")."""
    for at in range(0, len(rows), _PORTION):
        if alarms := watch.feed(rows[at : at + _PORTION]):
            return at + alarms[0] + 1
    return len(rows) + 1
