"""Seconds to replay a log of a million labelled rows: read, fold, compare every decision."""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from continualml import decide
from continualml.loop.build import this_build
from continualml.loop.replay import replay
from continualml.model import Feature, Model, Policy
from continualml.records import Built, Declared, Merged, Outcome, Scored, Trained
from continualml.store import ledger, log
from continualml.store.engine import open_store, read, write

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
MODEL = Model(
    name="m",
    kind="classification",
    target="y",
    classes=("no", "yes"),
    features=(Feature(name="x"),),
    policy=Policy(block=24),
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine = open_store(f"sqlite:///{folder}/log.sqlite")
        began = time.perf_counter()
        with write(engine) as conn:
            entries = _live(conn)
        made_s, began, used = time.perf_counter() - began, time.perf_counter(), time.process_time()
        with read(engine) as conn:
            found = replay(conn, "m")
        told = {
            "rows": found.rows,
            "outcomes": found.outcomes,
            "entries": entries,
            "equal": found.equal,
            "made_s": round(made_s, 1),
            "replay_s": round(time.perf_counter() - began, 1),
            "replay_cpu_s": round(time.process_time() - used, 1),
            "log_mb": Path(folder, "log.sqlite").stat().st_size >> 20,
            "build": this_build(),
        }
    print(json.dumps(told, indent=2))
    sys.exit(found.equal != entries)


def _live(conn: Connection) -> int:
    rng = np.random.default_rng(0)
    known, entries, version = decide.Known(), 0, 0

    def take(outcome: Outcome) -> decide.Standing | None:
        nonlocal known, entries
        new = log.append_outcome(conn, "m", outcome, 0.0)
        known, decisions = decide.advance(known, new.seq, outcome)
        for d in decisions:
            told = decide.with_provenance(d, known, new.seq, new.sha256)
            ledger.record(conn, told, "2026-01-01T00:00:00.000+00:00")
        entries += len(decisions)
        return known.standing

    take(Declared(model=MODEL))
    take(Built(build=this_build()))
    state = take(_trained("first", version := version + 1, through=100))
    while state and state.rows < ROWS:
        for order in state.orders:
            version += 1
            if order.members:
                members, name = order.members, order.strategy
                state = take(
                    Merged(strategy=name, version=version, through=order.through, members=members)
                )
            else:
                state = take(_trained(order.strategy, version, through=order.through))
            break
        else:
            most = decide.rows_until_due(MODEL, state) or 100
            state = take(_scored(rng, state.read, most, decide.watched(MODEL, state)))
    return entries


def _scored(rng: np.random.Generator, at: int, n: int, versions: tuple[int, ...]) -> Scored:
    wrong = rng.random((n, len(versions)))
    return Scored(
        versions=versions,
        seq=np.arange(at + 1, at + n + 1).astype("<i8").tobytes(),
        target=np.zeros(n, "<f8").tobytes(),
        answers=np.stack([1 - wrong, wrong], axis=2).astype("<f4").tobytes(),
    )


def _trained(strategy: str, version: int, *, through: int) -> Trained:
    return Trained(
        strategy=strategy,
        version=version,
        through=through,
        hold=50,
        held={"brier": (0.34, 0.04), "error_rate": (0.5, 0.07), "log_loss": (0.2, 0.03)},
        worse_by=0.0,
        standard_error=0.0,
        predecessor=None,
        seconds=0.0,
    )


if __name__ == "__main__":
    main()
