"""Break a running process tree in every way that is declared here, and say what held.

    python -m benchmarks.chaos                     # all of it, some twelve minutes
    python -m benchmarks.chaos --only API timer    # cases whose names have one of these words
    python -m benchmarks.chaos --list              # their names

Exit code 0: every invariant held in every case. 1: one did not. 3: a case could not be run here.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.chaos import disks, worlds
from benchmarks.chaos.report import machine, table
from benchmarks.chaos.trial import Case, Found, as_json, tried
from benchmarks.chaos.world import BrokenWorldError, World

HERE = Path(__file__).parent
WORLDS: dict[str, tuple[Callable[[Path, worlds.Run], None], Callable[[], str | None]]] = {
    "whole tree": (worlds.whole, lambda: None),
    "behind proxies": (worlds.apart, lambda: None),
    "disk of its own": (worlds.on_a_disk, disks.missing),
    "clock of its own": (worlds.with_a_clock, worlds.no_clock),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", nargs="+", choices=list(WORLDS), default=list(WORLDS))
    parser.add_argument("--only", nargs="+", default=[], help="words of the cases' names")
    parser.add_argument("--keep", action="store_true", help="keep the directory of each world")
    parser.add_argument("--output", type=Path, default=HERE, help="where the table is written")
    parser.add_argument("--list", action="store_true", help="name the cases, and run none")
    asked = parser.parse_args()
    if asked.list:
        print(json.dumps({world: worlds.names(world) for world in asked.worlds}, indent=2))
        return 0
    began, found, left_out = time.monotonic(), list[Found](), dict[str, str]()

    def run(world: World, cases: tuple[Case, ...]) -> None:
        for case in cases:
            if not asked.only or any(word in case.name for word in asked.only):
                found.append(tried(case, world, len(found)))
                print(_line(found[-1]), flush=True)

    for name in asked.worlds:
        enter, missing = WORLDS[name]
        if because := missing():
            left_out[name] = because
            print(f"left out: {name}: {because}", flush=True)
            continue
        print(f"# {name}", flush=True)
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        try:
            enter(folder / "world", run)
        except BrokenWorldError as error:
            found.append(Found(case=f"{name}: the tree itself", held=False, because=str(error)))
            print(_line(found[-1]), flush=True)
        finally:
            if asked.keep:
                print(f"kept: {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
    told = {
        **machine(),
        "took_s": round(time.monotonic() - began),
        "left_out": left_out,
        "cases": _with_earlier(as_json(found), asked.output / "results.json"),
    }
    (asked.output / "results.json").write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    (asked.output / "README.md").write_text(table(told), "utf-8")
    broken = [one.case for one in found if not one.held]
    print(f"{len(found) - len(broken)} of {len(found)} held, after {told['took_s']} s")
    return 1 if broken or not found else 3 if left_out else 0


def _with_earlier(new: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Take over what an earlier run found in the cases that were not asked for, in their order."""
    earlier = json.loads(path.read_text("utf-8"))["cases"] if path.exists() else []
    by_name = {one["case"]: one for one in [*earlier, *new]}
    order = [name for world in WORLDS for name in worlds.names(world)]
    known = [by_name.pop(name) for name in order if name in by_name]
    return known + [one for one in new if one["case"] in by_name]


def _line(one: Found) -> str:
    said = "held" if one.held else f"BROKEN: {one.because}"
    return (
        f"{one.case}: {one.acknowledged} rows and {one.labels} labels acknowledged, "
        f"{one.lost + one.labels_lost} lost, {one.doubled} doubled; p99 {one.p99_before_ms} -> "
        f"{one.p99_while_ms} ms, errors {one.errors_while:.1%}, answers again after "
        f"{one.answers_again_s} s, well after {one.well_again_s} s; {said}"
    )


if __name__ == "__main__":
    sys.exit(main())
