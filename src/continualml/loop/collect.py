"""Collects what nothing needs any more: old rows, artifacts of versions that will not come back."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine

from continualml import clock, decide
from continualml.loop import carry_out
from continualml.model import Model
from continualml.records import Collected
from continualml.store import artifacts, ledger, log, pointers, retention, seals, windows
from continualml.store.engine import read, write

# In one transaction, while which nobody else writes.
_AT_ONCE = 2_000
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
    """What goes next, and up to where log and ledger had been read when that was found."""

    known: decide.Known
    outcome: Collected
    rows: retention.Old
    files: tuple[Path, ...]
    read: int
    entries: int


def collect(
    engine: Engine, directory: Path, name: str, *, older_than_s: float | None, by: str
) -> Gone:
    """Collect what a model does not need, in portions; each stands in the ledger before it goes.

    What goes is found while others write, and they wait only while a portion is deleted. Where
    something came in between that the portion may rest on, it is found anew.

    Parameters
    ----------
    older_than_s
        How long rows stay at least; None: for ever.

    Raises
    ------
    StoreDamagedError
        If rows beside those that would go are not what they were when sealed.
    """
    gone = Gone(model=name)
    below = _recorded_before(engine, name, older_than_s)
    while True:
        while below and seals.seal_next(engine):
            pass  # of what is sealed it is known what is left
        with read(engine) as conn:
            plan = _plan(conn, directory, name, below, by=by)
        if plan is None:
            return gone
        if _carried_out(engine, name, plan):
            n, size_bytes = retention.remove(plan.files)
            gone = _added(gone, plan.rows, n, size_bytes)


def would(engine: Engine, directory: Path, name: str, *, older_than_s: float | None) -> Gone:
    """Say what ``collect`` would collect, and change nothing."""
    below = _recorded_before(engine, name, older_than_s)
    gone = Gone(model=name)
    with read(engine) as conn:
        known = carry_out.known(conn, name)
        if known.model is None or known.standing is None:
            return gone
        below = min(below, seals.reach(conn) + 1)
        _, rows = _rows(conn, known.model, known.standing, below, most=_EVERYTHING)
        files = _files(conn, directory, _unneeded(conn, known.model, known.standing))
    return _added(gone, rows, len(files), _size(files))


def strays(engine: Engine, directory: Path, *, dry_run: bool) -> Gone:
    """Remove the files that no version needs, such as a killed process leaves them."""
    with read(engine) as conn:
        files = tuple(retention.strays(conn, directory))
    n, size_bytes = (len(files), _size(files)) if dry_run else retention.remove(files)
    return Gone(model=None, files=n, size_bytes=size_bytes)


def _recorded_before(engine: Engine, name: str, older_than_s: float | None) -> int:
    """Find the number below which all rows are old enough; 0: all stay."""
    if older_than_s is None:
        return 0
    with read(engine) as conn:
        return retention.before(conn, name, clock.now().timestamp() - older_than_s)


def _plan(conn: Connection, directory: Path, name: str, below: int, *, by: str) -> _Plan | None:
    """Find a portion of rows, and when there are no more, the versions' files."""
    known = carry_out.known(conn, name)
    model, state = known.model, known.standing
    if model is None or state is None:
        return None
    below = min(below, seals.newest(conn) + 1)
    below, rows = _rows(conn, model, state, below, most=_AT_ONCE)
    going = () if rows.seqs else _unneeded(conn, model, state)
    if not rows.seqs and not going:
        return None
    outcome = Collected(
        below=below,
        observations=len(rows.seqs),
        labels=len(rows.labels),
        labelled=rows.labelled,
        graphs=tuple(o.version for o in going if o.kind == artifacts.GRAPH),
        learners=tuple(o.version for o in going if o.kind == artifacts.LEARNER),
        by=by,
        seals=seals.without(conn, {*rows.seqs, *rows.labels}, ledger.left_of(conn)),
    )
    return _Plan(
        known=known,
        outcome=outcome,
        rows=rows,
        files=_files(conn, directory, going),
        read=log.last_seq(conn),
        entries=ledger.last_n(conn),
    )


def _carried_out(engine: Engine, name: str, plan: _Plan) -> bool:
    """Delete a portion and write that down; False, and nothing of it, if it is to be found anew."""
    ahead = carry_out.decide_ahead(plan.known, plan.outcome)
    now = clock.now()
    at, recorded_at = now.timestamp(), now.isoformat(timespec="milliseconds")
    with suppress(carry_out.OvertakenError), write(engine) as conn:
        if carry_out.take_in_foreign(conn, name, recorded_at=recorded_at):
            return False  # what a guard found comes first, as it stands in the log
        if ledger.collected_after(conn, plan.entries):  # it may have been beside the same rows
            return False
        if retention.labelled_since(conn, name, plan.rows, after=plan.read):
            return False
        retention.forget(conn, plan.rows)
        carry_out.take_in(
            conn, plan.known, name, plan.outcome, at=at, recorded_at=recorded_at, ahead=ahead
        )
        return True
    return False


def _rows(
    conn: Connection, model: Model, state: decide.Standing, below: int, *, most: int
) -> tuple[int, retention.Old]:
    """Find rows that may go, and the number below which all of theirs are."""
    if not below:
        return 0, retention.Old()
    below = min(below, _horizon(conn, model, state))
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
    return below, rows


def _files(
    conn: Connection, directory: Path, going: tuple[pointers.Named, ...]
) -> tuple[Path, ...]:
    """Name the files of what goes, but for those that a version needs which stays."""
    stay = {(o.sha256, o.kind) for o in pointers.artifacts_named(conn) if o not in going}
    files = {directory / f"{o.sha256}.{o.kind}" for o in going if (o.sha256, o.kind) not in stay}
    return tuple(sorted(path for path in files if retention.is_old(path)))


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


def _horizon(conn: Connection, model: Model, state: decide.Standing) -> int:
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


def _added(gone: Gone, rows: retention.Old, files: int, size_bytes: int) -> Gone:
    return Gone(
        model=gone.model,
        observations=gone.observations + len(rows.seqs),
        labels=gone.labels + len(rows.labels),
        files=gone.files + files,
        size_bytes=gone.size_bytes + rows.size_bytes + size_bytes,
    )


def _size(files: tuple[Path, ...]) -> int:
    sizes = 0
    for path in files:
        with suppress(FileNotFoundError):  # it was removed meanwhile
            sizes += path.stat().st_size
    return sizes
