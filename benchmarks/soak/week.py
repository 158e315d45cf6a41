"""A week of a small team's traffic in minutes, on the whole tree: what grows?"""

import itertools
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from benchmarks.chaos.world import World, begun, running
from continualml import demo

_ROWS_AT_ONCE = 50
_SAMPLE_S = 2.0
_LABELS_LATER = 20
_WARM_UP = 1 / 3
# What may pass for noise: memory and descriptors of a process that does not grow go up and down.
_MEMORY_SHARE, _MEMORY_MB = 0.10, 10.0
_DESCRIPTORS = 8
_WAL_MB = 64.0
_PER_ROW = 1.25
_OTHERS = {
    "log files MB": "each is cut at 16 MB, and its last part kept",
    "mlflow MB": "none: a run for each version that is made",
    "prefect MB": "Prefect's own: it forgets events after days, runs after months",
}
_KINDS = {
    "api": "continualml.app.api",
    "timer": "continualml.app.timer",
    "training": "continualml.app.trainer",
    "courier": "continualml.app.courier",
    "dashboard": "continualml.app.dashboard",
    "scheduled": "continualml.app.scheduled",
    "mlflow": "mlflow",
    "prefect": "prefect",
}


@dataclass(slots=True)
class Course:
    """Samples over time: seconds, rows sent, and named figures."""

    at_s: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, at_s: float, rows: int, figures: dict[str, float]) -> None:
        for name in figures.keys() - self.figures.keys():
            self.figures[name] = [float("nan")] * len(self.at_s)
        self.at_s.append(at_s)
        self.rows.append(rows)
        for name, values in self.figures.items():
            values.append(figures.get(name, float("nan")))


def soaked(folder: Path, *, rows: int, minutes: float) -> Course:
    """Send that many rows and their labels in that time, and look at every process meanwhile."""
    course = Course()
    with running(begun(folder)) as world, world.client() as api:
        began, sent, waiting = time.monotonic(), 0, deque[list[dict[str, str]]]()
        sample_at = 0.0
        for i in itertools.count():
            now = time.monotonic() - began
            if sent >= rows or now > 1.5 * 60 * minutes:
                break
            if now >= sample_at:
                course.add(now, sent, {**_of_processes(world), **_of_files(world)})
                sample_at = now + _SAMPLE_S
            waiting.append(_predict(api, i))
            sent += _ROWS_AT_ONCE
            if len(waiting) > _LABELS_LATER:
                api.post("/labels", json={"labels": waiting.popleft()}).raise_for_status()
            if not i % 50:  # somebody looks at the dashboard
                api.get("/models/stream").raise_for_status()
            ahead = sent / rows * 60 * minutes - (time.monotonic() - began)
            time.sleep(max(0.0, ahead))
        course.add(time.monotonic() - began, sent, {**_of_processes(world), **_of_files(world)})
    return course


def _predict(api: httpx.Client, i: int) -> list[dict[str, str]]:
    """Ask for some rows, and return the labels that come later."""
    rows, target = demo.generate(_ROWS_AT_ONCE, seed=i, noise=0.5, drift=0.0)
    names = [f"week-{i}-{j}" for j in range(_ROWS_AT_ONCE)]
    instances = [
        {"observation_id": name, "features": {f"x{k}": v for k, v in enumerate(row, 1)}}
        for name, row in zip(names, rows.numeric.tolist(), strict=True)
    ]
    api.post("/predict", json={"instances": instances}).raise_for_status()
    return [
        {"observation_id": name, "label": demo.DEMO.classes[int(t)]}
        for name, t in zip(names, target, strict=True)
    ]


def _of_processes(world: World) -> dict[str, float]:
    found: dict[str, float] = {}
    first = world.first()
    for one in [first, *first.children(recursive=True)]:
        try:
            command = " ".join(one.cmdline())
            memory, files = one.memory_info().rss / 2**20, one.num_fds()
        except psutil.Error:
            continue  # it ended
        kind = "up" if one.pid == first.pid else _kind(command)
        if kind is not None:
            found[f"{kind} memory MB"] = found.get(f"{kind} memory MB", 0.0) + memory
            found[f"{kind} descriptors"] = found.get(f"{kind} descriptors", 0.0) + files
    return found


def _kind(command: str) -> str | None:
    """Name what a process is; a run of the schedule lives for seconds and is none of them."""
    if "flow-run" in command or "flow_run" in command or "prefect.engine" in command:
        return None
    return next((kind for kind, word in _KINDS.items() if word in command), None)


def _of_files(world: World) -> dict[str, float]:
    def size(*paths: Path) -> float:
        return sum(p.stat().st_size for p in paths if p.is_file()) / 2**20

    data = world.data
    return {
        "log MB": size(data / "log.sqlite"),
        "log WAL MB": size(data / "log.sqlite-wal"),
        "log files MB": size(*(data / "logs").glob("*")),
        "artifacts MB": size(*(data / "artifacts").glob("*")),
        "mlflow MB": size(*(data / "mlflow").rglob("*")),
        "prefect MB": size(*(data / "prefect").rglob("*")),
    }


def judged(course: Course) -> list[dict[str, Any]]:
    """Say of every figure what it was, how it went on after the warm-up, and what was held."""
    at, rows = np.array(course.at_s), np.array(course.rows, dtype=np.float64)
    warm = at >= at[-1] * _WARM_UP
    told = []
    for name, values in sorted(course.figures.items()):
        y = np.array(values)
        there = warm & np.isfinite(y)
        if there.sum() < 10:
            continue
        x, y = at[there], y[there]
        rise = _slope(x, y) * float(x[-1] - x[0])
        told.append(
            {
                "figure": name,
                "median": round(float(np.median(y)), 2),
                "largest": round(float(y.max()), 2),
                "rise_after_warm_up": round(rise, 2),
                **_verdict(name, y, rows[there], rise),
            }
        )
    return told


def _verdict(name: str, y: np.ndarray, rows: np.ndarray, rise: float) -> dict[str, Any]:
    if name.endswith("memory MB"):
        bound = max(_MEMORY_MB, _MEMORY_SHARE * float(np.median(y)))
        return {"bound": f"rise < {bound:.0f} MB", "held": bool(rise < bound)}
    if name.endswith("descriptors"):
        return {"bound": f"rise < {_DESCRIPTORS}", "held": bool(rise < _DESCRIPTORS)}
    if name == "log WAL MB":
        return {"bound": f"largest < {_WAL_MB:.0f} MB", "held": bool(y.max() < _WAL_MB)}
    half = len(y) // 2
    if name in {"log MB", "artifacts MB"}:  # they keep what comes: so much a row
        early, late = _slope(rows[:half], y[:half]), _slope(rows[half:], y[half:])
        held = late <= max(_PER_ROW * early, early + 1e-5)
        per = f"{early * 1e6:.0f}, then {late * 1e6:.0f} MB for a million rows"
        return {"bound": f"no faster later: {per}", "held": bool(held)}
    return {"bound": _OTHERS[name], "held": True}


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """Take the median of the slopes between all pairs: no single peak moves it."""
    i, j = np.triu_indices(len(x), 1)
    apart = x[j] - x[i]
    some = apart > 0
    return float(np.median((y[j] - y[i])[some] / apart[some])) if some.any() else 0.0
