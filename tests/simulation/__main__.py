"""``python -m tests.simulation``: lets the loop live through many seeds, or one again.

A failing seed prints what did not hold, the end of its trace, and the command that repeats it.
"""

import argparse
import itertools
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from loguru import logger

from tests.simulation.run import Ran, run, template

_SHOWN = 40


def main() -> int:
    """Return 0 if everything held in every seed."""
    said = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    said.add_argument("--seed", type=int, help="run this one, and print its whole trace")
    said.add_argument("--first", type=int, default=0, help="seed to begin with")
    said.add_argument("--seeds", type=int, help="how many; without it and --minutes, 100")
    said.add_argument("--minutes", type=float, help="go on for so long")
    said.add_argument("--first-failure", action="store_true", help="end with it")
    said.add_argument("--keep", type=Path, help="leave the stores of failing seeds there")
    asked = said.parse_args()
    logger.remove()
    if asked.seed is not None:
        logger.add(sys.stderr, level="DEBUG")
    began, n, failed = time.monotonic(), 0, list[int]()
    decisions: Counter[str] = Counter()
    points: Counter[str] = Counter()
    for ran in several(_seeds(asked.seed, asked.first, asked.seeds, asked.minutes), asked.keep):
        n += 1
        decisions += ran.decisions
        points.update(ran.points)
        if ran.failure is not None:
            failed.append(ran.seed)
        if ran.failure is not None or asked.seed is not None:
            show(ran, whole=asked.seed is not None)
            sys.stdout.flush()
        if failed and asked.first_failure:
            break
    took_s = time.monotonic() - began
    sys.stdout.write(
        f"{n} seeds in {took_s:.0f} s ({took_s / max(n, 1):.2f} s each), {len(failed)} failed"
        f"{f': {failed}' if failed else ''}\n"
        f"decisions: {_counts(decisions)}\npoints passed: {_counts(points)}\n"
    )
    return 1 if failed else 0


def several(seeds: Iterator[int], keep: Path | None = None) -> Iterator[Ran]:
    """Run seeds one after the other."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  nothing waits for a disk
    with tempfile.TemporaryDirectory(prefix="simulation-", dir=memory) as there:
        templates = Path(there) / "templates"
        template(templates / "begun", begun=True)
        template(templates / "empty", begun=False)
        for seed in seeds:
            with tempfile.TemporaryDirectory(dir=there) as one:
                ran = run(seed, templates, Path(one) / "store")
                if keep is not None and ran.failure is not None:
                    shutil.copytree(Path(one) / "store", keep / str(seed), dirs_exist_ok=True)
            yield ran


def show(ran: Ran, *, whole: bool = False) -> None:
    """Print a run for people."""
    for line in ran.trace if whole else ran.trace[-_SHOWN:]:
        sys.stdout.write(f"{line}\n")
    held = ran.failure or "everything held"
    sys.stdout.write(
        f"seed {ran.seed}: {held}\n  faults: {', '.join(ran.faults)}\n"
        f"  {ran.commits} commits in {ran.simulated_s:.0f} simulated s, {_counts(ran.decisions)}\n"
        f"  digest {ran.digest}\n"
        f"  again: python -m tests.simulation --seed {ran.seed}\n"
    )


def _seeds(one: int | None, first: int, n: int | None, minutes: float | None) -> Iterator[int]:
    if one is not None:
        yield one
        return
    until = time.monotonic() + 60 * minutes if minutes is not None else None
    most = n if n is not None else None if minutes is not None else 100
    for i, seed in enumerate(itertools.count(first)):
        if (most is not None and i >= most) or (until is not None and time.monotonic() > until):
            return
        yield seed


def _counts(counter: Counter[str] | dict[str, int]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in sorted(counter.items()))


if __name__ == "__main__":
    sys.exit(main())
