"""Collects what nothing needs any more: old rows, artifacts of versions that will not come back."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine

from continualml import clock, decide
from continualml.loop import carry_out
from continualml.model import Model
from continualml.records import Collected
from continualml.store import artifacts, ledger, pointers, retention, windows
from continualml.store.engine import read, write

# In one transaction, while which nobody else writes.
_AT_ONCE = 10_000
_EVERYTHING = 2**62
_REFERENCE_ROWS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """What went of one model, or would; ``model`` is None for files that no version needs."""

    model: str | None
    observations: int = 0
    labels: int = 0
    files: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    outcome: Collected
    rows: retention.Old
    files: tuple[Path, ...]

    @property
    def size_bytes(self) -> int:
        return self.rows.size_bytes + _size(self.files)


def collect(
    engine: Engine, directory: Path, name: str, *, older_than_s: float | None, by: str
) -> Gone:
    """Collect what a model does not need, in portions; each stands in the ledger before it goes.

    Parameters
    ----------
    older_than_s
        How long rows stay at least; None: for ever.
    """
    gone = Gone(model=name)
    while True:
        now = clock.now()
        at, recorded_at = now.timestamp(), now.isoformat(timespec="milliseconds")
        with write(engine) as conn:
            while carry_out.take_in_foreign(conn, name, recorded_at=recorded_at):
                pass  # what a guard found comes first, as it stands in the log
            known = carry_out.known(conn, name)
            plan = _plan(conn, directory, known, older_than_s, by=by, most=_AT_ONCE)
            if plan is None:
                return gone
            retention.forget(conn, name, plan.rows)
            carry_out.take_in(conn, known, name, plan.outcome, at=at, recorded_at=recorded_at)
        gone = _added(gone, plan)
        _unlink(plan.files)


def would(engine: Engine, directory: Path, name: str, *, older_than_s: float | None) -> Gone:
    """Say what ``collect`` would collect, and change nothing."""
    with read(engine) as conn:
        known = carry_out.known(conn, name)
        plan = _plan(conn, directory, known, older_than_s, by="", most=_EVERYTHING)
    return _added(Gone(model=name), plan) if plan else Gone(model=name)


def strays(engine: Engine, directory: Path, *, dry_run: bool) -> Gone:
    """Remove the files that no version needs, such as a killed process leaves them."""
    with read(engine) as conn:
        files = tuple(retention.strays(conn, directory))
    size = _size(files)
    if not dry_run:
        _unlink(files)
    return Gone(model=None, files=len(files), size_bytes=size)


def _plan(
    conn: Connection,
    directory: Path,
    known: decide.Known,
    older_than_s: float | None,
    *,
    by: str,
    most: int,
) -> _Plan | None:
    model, state = known.model, known.standing
    if model is None or state is None:
        return None
    rows, below = retention.Old(), 0
    if older_than_s is not None:
        below = _horizon(conn, model, state, clock.now().timestamp() - older_than_s)
        first = ledger.entries(conn, model=model.name, kinds=("first",), limit=1)
        rows = retention.old(
            conn,
            model.name,
            below=below,
            spared=retention.began(conn, model.name),
            kept=_trained_on(conn, model, state),
            counted_after=first[0].decision.seq,
            most=most,
        )
    going = _unneeded(conn, model, state)
    if not rows.seqs and not going:
        return None
    stay = {(o.sha256, o.kind) for o in pointers.artifacts_named(conn) if o not in going}
    files = {directory / f"{o.sha256}.{o.kind}" for o in going if (o.sha256, o.kind) not in stay}
    outcome = Collected(
        below=below,
        observations=len(rows.seqs),
        labels=rows.labels,
        labelled=rows.labelled,
        graphs=tuple(o.version for o in going if o.kind == artifacts.GRAPH),
        learners=tuple(o.version for o in going if o.kind == artifacts.LEARNER),
        by=by,
    )
    return _Plan(outcome=outcome, rows=rows, files=tuple(sorted(files)))


def _unneeded(conn: Connection, model: Model, state: decide.Standing) -> tuple[pointers.Named, ...]:
    """Name the graphs of versions that will not come back, and learners that will not go on."""
    graphs = _standing_versions(state) | retention.in_use(conn, model.name)
    learners = {a.version for a in state.heads.values()} | retention.young(conn, model.name)
    stay = {artifacts.GRAPH: graphs, artifacts.LEARNER: learners}
    return tuple(
        one
        for one in pointers.artifacts_named(conn)
        if one.model == model.name and one.version not in stay[one.kind]
    )


def _horizon(conn: Connection, model: Model, state: decide.Standing, at: float) -> int:
    """Find the number below which nothing that is still to be decided needs a row."""
    widest = max(
        *(s.window for s in model.policy.strategies), 2 * model.policy.hold, _REFERENCE_ROWS
    )
    left_out = [*state.excluded]
    if state.incident is not None:
        left_out.append((state.incident.began, _EVERYTHING))
    # What waits in the log must not push the rows of the next refit out of its window.
    through = min([state.read, *(o.through for o in state.orders)])
    more = windows.n_without(conn, model, tuple(left_out), upto=through)
    window = windows.training(conn, model, through=through, newest=widest + more)
    needs = [
        retention.before(conn, model.name, at),
        state.read,
        state.coming.seq,
        *window.observation_seq.tolist(),
        *(o.since or o.through for o in state.orders),
    ]
    if state.drift is not None:
        needs += [state.drift.of_columns.seq, state.drift.of_labels.seq]
    if state.incident is not None:
        needs.append(state.incident.began)
    return int(min(needs))


def _trained_on(
    conn: Connection, model: Model, state: decide.Standing
) -> tuple[tuple[int, int], ...]:
    """Span the rows that each version was trained on which answers, or may answer again."""
    standing = {a.version for a in state.heads.values()}
    standing |= set(pointers.pointed(conn, model.name).values())
    versions = (pointers.version(conn, model.name, one) for one in sorted(standing))
    ranges = (v.manifest["rows"]["ranges"] for v in versions if v is not None)
    return tuple((r[0][0], r[-1][1]) for r in ranges if r)


def _standing_versions(state: decide.Standing) -> set[int]:
    places = (state.champion, state.anchor, state.previous, *state.heads.values(), *state.archive)
    found = {v for a in places if a is not None for v in (a.version, *a.graphs)}
    found |= {version for order in state.orders for _, version in order.members}
    # Rows that were observed while these stood are still held against them when labelled.
    found |= {stood.version for line in state.lines.values() for stood in line}
    return found | ({state.drift.version} if state.drift else set())


def _added(gone: Gone, plan: _Plan) -> Gone:
    return Gone(
        model=gone.model,
        observations=gone.observations + len(plan.rows.seqs),
        labels=gone.labels + plan.rows.labels,
        files=gone.files + len(plan.files),
        size_bytes=gone.size_bytes + plan.size_bytes,
    )


def _size(files: tuple[Path, ...]) -> int:
    sizes = 0
    for path in files:
        with suppress(FileNotFoundError):  # it was removed meanwhile
            sizes += path.stat().st_size
    return sizes


def _unlink(files: tuple[Path, ...]) -> None:
    for path in files:
        path.unlink(missing_ok=True)
