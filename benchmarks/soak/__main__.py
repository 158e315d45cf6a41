"""Does anything grow that should not: with time under load, and with the length of the log?

    python -m benchmarks.soak                  # both, some 25 minutes, 4 GB of disk for a while
    python -m benchmarks.soak week --rows 200000 --minutes 7
    python -m benchmarks.soak length --rows 5000000

Exit code 0: everything was held. 1: something was not.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.chaos.report import machine
from benchmarks.soak import length, long_log, week
from benchmarks.soak.report import page, picture

HERE = Path(__file__).parent
_SHORT = 10_000
_MOST = 1.5
_ROUNDS = 30


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=["week", "length", "both"], default="both")
    parser.add_argument("--rows", type=int, help="rows of the week, or of the long log")
    parser.add_argument("--minutes", type=float, default=7.0, help="that the week takes")
    parser.add_argument("--output", type=Path, default=HERE, help="where figures are written")
    asked = parser.parse_args()
    results = asked.output / "results.json"
    told: dict[str, Any] = json.loads(results.read_text("utf-8")) if results.exists() else {}
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        if asked.part != "length":
            told["week"] = _week(
                folder / "week", asked.rows or 200_000, asked.minutes, asked.output
            )
        if asked.part != "week":
            told["length"] = _length(folder, asked.rows or 5_000_000)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    results.write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    (asked.output / "README.md").write_text(page(told), "utf-8")
    return 0 if all(told[part]["held"] for part in told) else 1


def _week(folder: Path, rows: int, minutes: float, output: Path) -> dict[str, Any]:
    course = week.soaked(folder, rows=rows, minutes=minutes)
    figures = week.judged(course)
    for one in figures:
        print(one)
    picture(course, output / "week.png")
    took_s = round(course.at_s[-1])
    held = course.rows[-1] >= rows and all(one["held"] for one in figures)
    about = {**machine(), "rows": course.rows[-1], "took_s": took_s}
    return {**about, "held": held, "figures": figures}


def _length(folder: Path, rows: int) -> dict[str, Any]:
    sides = (folder / "short", folder / "long")
    made: list[dict[str, float]] = []
    for side, n in zip(sides, (min(_SHORT, rows), rows), strict=True):
        long_log.begin_log(side)
        with long_log.opened(side) as log:
            made_s = long_log.grow(log, n, lambda said: print(said, flush=True))
        made.append({"rows": n, "made_s": round(made_s, 1), "size_mb": length.size_mb(side)})
    told = {
        "logs": made,
        "plain": length.cycles(*sides, often=False, rounds=_ROUNDS),
        "often": length.cycles(*sides, often=True, rounds=_ROUNDS),
        **length.starts_and_pages(*sides, rounds=3),
    }
    print(json.dumps(told, indent=2))
    held = told["plain"]["ratio"] < _MOST and told["often"]["ratio"] < _MOST
    return {**machine(), "held": held, **told}


if __name__ == "__main__":
    sys.exit(main())
