"""What the loop does to the world: score rows, fit versions, write down what was decided."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
from sqlalchemy import Connection

from continualml import decide
from continualml.errors import InputError
from continualml.evidence import blocks
from continualml.loop.training import Trainer, TrainingError
from continualml.model import Learner, Model
from continualml.records import (
    Decision,
    Json,
    LedgerEntry,
    Outcome,
    Scored,
    Trained,
    TrainingFailed,
    Window,
)
from continualml.scoring.losses import loss, wrong
from continualml.scoring.session import Session
from continualml.store import artifacts, ledger, log, outbox, pointers, snapshots, windows

FIRST = "first"
_SESSIONS = 16


class OvertakenError(RuntimeError):
    """Another turn has written first; this one's work is dropped, nothing is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A finished fit: what it measured on the held-back rows, and the version it would become."""

    outcome: Trained
    artifact: bytes
    manifest: Json


@dataclass(slots=True)
class Shelf:
    """Sessions of the versions lately scored, by number; the least used one goes first."""

    directory: Path
    sessions: OrderedDict[tuple[str, int], Session] = field(default_factory=OrderedDict)

    def session(self, conn: Connection, model: Model, version: int) -> Session:
        """Load one version by its hash, or take the one that is there."""
        key = (model.name, version)
        if key not in self.sessions:
            known = pointers.version(conn, model.name, version)
            if known is None:
                raise InputError("version", expected=f"a version of {model.name}", got=version)
            self.sessions[key] = Session(artifacts.read(self.directory, known.sha256))
        self.sessions.move_to_end(key)
        while len(self.sessions) > _SESSIONS:
            self.sessions.popitem(last=False)
        return self.sessions[key]


def scored(
    conn: Connection, shelf: Shelf, model: Model, versions: tuple[int, ...], window: Window
) -> Scored:
    """Score every version on the rows that got their labels."""
    answers = [shelf.session(conn, model, v).answer(window.rows) for v in versions]
    return Scored(
        versions=versions,
        seq=window.seq.astype("<i8").tobytes(),
        loss=np.column_stack([loss(model, a, window.target) for a in answers])
        .astype("<f8")
        .tobytes(),
        error=np.column_stack([wrong(model, a, window.target) for a in answers])
        .astype("u1")
        .tobytes(),
    )


def fitted(
    conn: Connection,
    shelf: Shelf,
    trainer: Trainer,
    model: Model,
    order: decide.Order,
    *,
    predecessor: int | None,
) -> Fit | TrainingFailed:
    """Fit one order on all but the newest rows, and check it on those beside its predecessor."""
    began = time.perf_counter()
    window = windows.training(conn, model, through=order.through, newest=_span(conn, model, order))
    hold = _hold(model, order, len(window))
    learner = _learner(model, order)
    if len(window) < 2 * hold:
        because = f"{len(window)} labelled rows, expected at least {2 * hold}"
        return TrainingFailed(strategy=order.strategy, through=order.through, because=because)
    try:
        artifact, manifest = trainer.fit(
            model, learner, _part(window, 0, -hold), strategy=order.strategy, seed=model.seed
        )
        session = Session(artifact)
        kept = _part(window, len(window) - hold, None)
        answer = session.answer(kept.rows)
    except (TrainingError, InputError) as error:
        return TrainingFailed(strategy=order.strategy, through=order.through, because=str(error))
    own = loss(model, answer, kept.target)
    worse = np.zeros(hold)
    if predecessor is not None:
        before = shelf.session(conn, model, predecessor).answer(kept.rows)
        worse = own - loss(model, before, kept.target)
    outcome = Trained(
        strategy=order.strategy,
        version=0,
        through=order.through,
        hold=hold,
        loss=float(own.mean()),
        loss_standard_error=float(own.std(ddof=1)) / hold**0.5,
        error_rate=float(wrong(model, answer, kept.target).mean()),
        worse_by=float(worse.mean()),
        standard_error=float(worse.std(ddof=1)) / hold**0.5,
        predecessor=predecessor,
        seconds=time.perf_counter() - began,
        block=(model.policy.block or blocks.estimate(own)) if order.strategy == FIRST else None,
    )
    metrics = {"hold_loss": outcome.loss, "hold_error_rate": outcome.error_rate, "hold": hold}
    return Fit(outcome=outcome, artifact=artifact, manifest={**manifest, "check": metrics})


def register(
    conn: Connection, directory: Path, model: Model, fit: Fit, recorded_at: str
) -> Trained:
    """Write the artifact, give it the next number, and queue it for the mirror."""
    sha256 = artifacts.write(directory, fit.artifact)
    known = pointers.register(
        conn,
        model.name,
        sha256,
        strategy=fit.outcome.strategy,
        manifest=fit.manifest,
        recorded_at=recorded_at,
    )
    body = {"event": "version", "model": model.name, "version": known.version}
    outbox.enqueue(conn, "mlflow", body)
    return replace(fit.outcome, version=known.version)


def take_in(
    conn: Connection,
    model: Model,
    state: decide.Standing | None,
    outcome: Outcome,
    *,
    at: float,
    recorded_at: str,
) -> tuple[decide.Standing, tuple[LedgerEntry, ...]]:
    """Log an outcome, decide, and write down decision, pointers and messages: one transaction.

    Raises
    ------
    OvertakenError
        If the stored standing is not the one that this turn goes on from.
    """
    there = snapshots.get(conn, model.name)
    if (there[0] if there else None) != (state.seq if state else None):
        raise OvertakenError(f"another turn of {model.name} has written first")
    seq = log.append_outcome(conn, model.name, outcome, at)
    if state is None:
        if not isinstance(outcome, Trained):
            raise OvertakenError(f"{model.name} has no first champion yet")
        after, decisions = decide.begin(model, seq, outcome)
    else:
        after, decisions = decide.step(model, state, seq, outcome)
    entries = tuple(ledger.record(conn, _with_number(d, seq), recorded_at) for d in decisions)
    if entries:
        _point(conn, model, state, after, entries[-1].n)
    _save(conn, model, after, recorded_at)
    return after, entries


def standing(conn: Connection, model: Model) -> decide.Standing | None:
    """Read the standing from its snapshot, or fold it anew from the outcomes if that is lost."""
    if there := snapshots.get(conn, model.name):
        return msgspec.json.decode(there[1], type=_Snapshot).standing
    state: decide.Standing | None = None
    after = 0
    while some := log.outcomes_after(conn, model.name, after, 1_000):
        for seq, outcome in some:
            if state is not None:
                state, _ = decide.step(model, state, seq, outcome)
            elif isinstance(outcome, Trained):
                state, _ = decide.begin(model, seq, outcome)
        after = some[-1][0]
    return state


class _Snapshot(msgspec.Struct, frozen=True):
    """What the snapshot holds: the standing, and a report of it for those who only look."""

    standing: decide.Standing
    report: Json


def _save(conn: Connection, model: Model, state: decide.Standing, recorded_at: str) -> None:
    report: Json = {
        "read": state.read,
        "rows": state.rows,
        "follows": state.follows,
        "recorded_at": recorded_at,
        "strategies": {n: a.version for n, a in state.heads.items()},
        "evidence": decide.evidence_now(model, state),
    }
    body = msgspec.json.encode(_Snapshot(standing=state, report=report))
    snapshots.put(conn, model.name, state.seq, body)


def _with_number(decision: Decision, seq: int) -> Decision:
    return replace(decision, basis={**decision.basis, "outcome": seq})


def _point(
    conn: Connection,
    model: Model,
    before: decide.Standing | None,
    after: decide.Standing,
    decided_by: int,
) -> None:
    old, new = _aliases(model, before), _aliases(model, after)
    for alias, version in new.items():
        if version is not None and old.get(alias) != version:
            pointers.point(conn, model.name, alias, version, decided_by)
            body = {"event": "alias", "model": model.name, "alias": alias, "version": version}
            outbox.enqueue(conn, "mlflow", body)


def _aliases(model: Model, state: decide.Standing | None) -> dict[str, int | None]:
    if state is None:
        return {}
    there = zip(decide.challengers(model, state), state.evidence.gates, strict=True)
    strongest = max(((g.value, a.version) for a, g in there if a is not None), default=(0.0, None))[
        1
    ]
    return {
        "champion": state.champion.version,
        "anchor": state.anchor.version,
        "previous": state.previous.version if state.previous else None,
        "challenger": strongest,
    }


def _learner(model: Model, order: decide.Order) -> Learner:
    named = {s.name: s.learner for s in model.policy.strategies}
    return named.get(order.strategy, model.learner)


def _span(conn: Connection, model: Model, order: decide.Order) -> int:
    spans = {s.name: s.window for s in model.policy.strategies}
    if order.strategy in spans:
        return max(spans[order.strategy], 2 * model.policy.hold)
    since = 0 if order.since is None else order.since - 1
    return max(windows.n_joined(conn, model, since), 2 * model.policy.hold)


def _hold(model: Model, order: decide.Order, n: int) -> int:
    # A first promise rests on more rows: it is approximately valid from 200 on.
    most = max(model.policy.hold, min(200, n // 5))
    return most if order.strategy == FIRST else model.policy.hold


def _part(window: Window, start: int, stop: int | None) -> Window:
    cut = slice(start, stop)
    return Window(
        seq=window.seq[cut],
        observation_seq=window.observation_seq[cut],
        rows=replace(
            window.rows,
            numeric=window.rows.numeric[cut],
            categorical=window.rows.categorical[cut],
        ),
        target=window.target[cut],
        version=window.version[cut],
        answer=window.answer[cut],
    )
