"""What was measured as JSON: medians with their spread, and ratios within rounds."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.serving.measuring import Found

Kept = dict[str, Any]


def of(found: Found, *, rounds: int, seconds: int) -> Kept:
    """Bring together what was found."""
    return {
        "command": "python -m benchmarks.serving",
        "rounds": rounds,
        "seconds": seconds,
        "machine": found.machine,
        "servers": {
            name: {
                "start_s": _median(found.starts_s[name]),
                **_memory("memory", found.memory_mb.get(name, [])),
                **_memory("memory_after", found.memory_after_mb[name]),
            }
            for name in found.starts_s
        },
        "absent": found.absent,
        "cells": {
            name: {
                part: [round(getattr(one, part), 3) for one in loads]
                for part in ("rate", "p50_ms", "p99_ms", "requests", "errors")
            }
            for name, loads in found.loads.items()
        },
    }


def _memory(name: str, each: Sequence[tuple[float, float]]) -> dict[str, float]:
    if not each:
        return {}
    pss, rss = zip(*each, strict=True)
    return {f"{name}_pss_mb": _median(pss), f"{name}_rss_mb": _median(rss)}


def _median(some: Sequence[float]) -> float:
    return round(statistics.median(some), 3)


def write(kept: Kept, path: Path) -> None:
    """Write them."""
    text = json.dumps(kept, indent=1)
    path.write_text(_short(text) + "\n", encoding="utf-8")


def _short(text: str) -> str:
    """Put a list of numbers into one line."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if inside:
            lines[-1] += line.strip() + (" " if line.endswith(",") else "")
        else:
            lines.append(line)
        inside = line.endswith("[") or (inside and not line.strip().startswith("]"))
    return "\n".join(lines)


def read(path: Path) -> Kept:
    """Read them."""
    kept: Kept = json.loads(path.read_text(encoding="utf-8"))
    return kept


def median(kept: Kept, cell: str, part: str) -> float | None:
    """Return a cell's median; None if it was not measured."""
    found = kept["cells"].get(cell)
    return statistics.median(found[part]) if found else None


def ratio(kept: Kept, cell: str, over: str, part: str) -> tuple[float, float, float] | None:
    """Return the ratio of two cells' medians, and the least and the most within a round."""
    a, b = (kept["cells"].get(name) for name in (cell, over))
    if not a or not b:
        return None
    pairs = list(zip(a[part], b[part], strict=False))
    each = [x / y for x, y in pairs if y]
    other = statistics.median(b[part])
    if not (each and other):  # it answered nothing
        return None
    return statistics.median(a[part]) / other, min(each), max(each)
