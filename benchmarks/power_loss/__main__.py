"""Cut the power at random instants under load, and count what is lost, doubled or broken."""

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

import apsw
import numpy as np

from benchmarks.power_loss.after import Found, look
from benchmarks.power_loss.disk import FATES, Fate, cuts
from benchmarks.power_loss.load import record
from continualml.store.engine import Durability

# Of each recording so many instants are tried.
_OF_EACH = 100
CASES: dict[str, tuple[Durability, tuple[Fate, ...], bool]] = {
    "power, power cut": ("power", FATES, False),
    "process, processes killed": ("process", ("kept",), False),
    "process, power cut": ("process", FATES, False),
    "power, a disk that lies": ("power", FATES, True),
}


def tried(case: str, instants: int, *, seed: int) -> list[Found]:
    """Try random instants of one case, spread over recordings of their own."""
    durability, fates, lies = CASES[case]
    rng = np.random.default_rng(seed)
    found: list[Found] = []
    with tempfile.TemporaryDirectory(prefix="power-loss-") as scratch:
        here, after = Path(scratch, "log"), Path(scratch, "after")
        after.mkdir()
        while len(found) < instants:
            here.mkdir()
            events = record(here, seed=int(rng.integers(2**31)), durability=durability)
            n = min(_OF_EACH, instants - len(found))
            at = np.sort(rng.integers(1, len(events) + 1, size=n)).tolist()
            for cut, _, left in cuts(events, at, rng, fates=fates, lies=lies):
                found.append(look(after, left, events, cut))
            for path in here.iterdir():
                path.unlink()
            here.rmdir()
    return found


def summed(case: str, found: list[Found]) -> dict[str, object]:
    """Sum up what was found after the cuts of one case."""
    broken = Counter(f.broken.split(":")[0] for f in found if f.broken)
    return {
        "case": case,
        "instants": len(found),
        "said_mean": round(float(np.mean([f.said for f in found])), 1),
        "instants_with_a_loss": sum(f.lost > 0 for f in found),
        "most_lost": max(f.lost for f in found),
        "lost_below_a_decision": sum(f.lost_below_a_decision > 0 for f in found),
        "with_a_gap": sum(f.gap != 0 for f in found),
        "broken": dict(broken),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instants", type=int, default=2_000, help="of each case")
    parser.add_argument("--seed", type=int, default=1)
    said = parser.parse_args()
    began = time.process_time()
    for case in CASES:
        print(json.dumps(summed(case, tried(case, said.instants, seed=said.seed))), flush=True)
    seconds = round(time.process_time() - began)
    print(json.dumps({"sqlite": apsw.sqlite_lib_version(), "cpu_seconds": seconds}))


if __name__ == "__main__":
    main()
