"""Seconds to replay a log of a million labelled rows: read, fold, compare every decision."""

import json
import sys
import tempfile
import time

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from continualml import decide
from continualml.decide.standing import Drift
from continualml.evidence.reference import answered, codes, columns_of, labelled, of_columns
from continualml.loop.build import this_build
from continualml.loop.replay import replay
from continualml.model import Feature, Model, Policy
from continualml.records import (
    Built,
    Declared,
    Described,
    Merged,
    Outcome,
    Rows,
    Scored,
    Trained,
    Watched,
)
from continualml.store import ledger, log
from continualml.store.engine import open_store, read, write

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
MODEL = Model(
    name="m",
    kind="classification",
    target="y",
    classes=("no", "yes"),
    features=tuple(Feature(name=f"x{i}") for i in range(8)),
    policy=Policy(block=24),
)
NONE = np.empty((2_000, 0), dtype=object)


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
            if order.strategy == decide.REFERENCE:
                state = take(_described(rng, state, at=order.through))
            elif order.members:
                members, name = order.members, order.strategy
                state = take(
                    Merged(strategy=name, version=version, through=order.through, members=members)
                )
            else:
                state = take(_trained(order.strategy, version, through=order.through))
            break
        else:
            most = decide.rows_until_due(MODEL, state) or 100
            at = state.read
            state = take(_scored(rng, at, most, decide.watched(MODEL, state)))
            if state and state.drift:
                state = take(_watched(rng, state.drift, at, state.read - at))
    return entries


def _columns(rng: np.random.Generator, n: int) -> dict[str, NDArray[np.float64]]:
    answers = answered(MODEL, _answers(rng, n, 1)[:, 0].astype(np.float64))
    return columns_of(MODEL, Rows(numeric=rng.normal(size=(n, 8)), categorical=NONE[:n]), answers)


def _described(rng: np.random.Generator, state: decide.Standing, *, at: int) -> Described:
    labels = labelled(MODEL, rng.integers(0, 2, 1_000).astype(np.float64))
    return Described(
        version=state.anchor.version,
        observed=at,
        columns=msgspec.msgpack.encode(of_columns(_columns(rng, 1_000), block=state.block)),
        labels=msgspec.msgpack.encode(of_columns(labels, block=state.block)),
    )


def _watched(rng: np.random.Generator, there: Drift, at: int, n: int) -> Watched:
    return Watched(
        version=there.version,
        seq=np.arange(at + 1, at + n + 1).astype("<i8").tobytes(),
        codes=codes(there.columns, _columns(rng, n)).tobytes(),
    )


def _answers(rng: np.random.Generator, n: int, versions: int) -> NDArray[np.float32]:
    wrong = rng.random((n, versions))
    return np.stack([1 - wrong, wrong], axis=2).astype("<f4")


def _scored(rng: np.random.Generator, at: int, n: int, versions: tuple[int, ...]) -> Scored:
    return Scored(
        versions=versions,
        seq=np.arange(at + 1, at + n + 1).astype("<i8").tobytes(),
        target=rng.integers(0, 2, n).astype("<f8").tobytes(),
        answers=_answers(rng, n, len(versions)).tobytes(),
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
