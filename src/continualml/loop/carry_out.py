"""What the loop does to the world: versions registered, decisions written down, pointers moved."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import msgspec
from loguru import logger
from sqlalchemy import Connection, Engine

from continualml import decide
from continualml.errors import InputError
from continualml.loop.making import Made
from continualml.model import Model
from continualml.records import (
    Built,
    Counted,
    Decision,
    Declared,
    Events,
    Json,
    LedgerEntry,
    Merged,
    Observations,
    Outcome,
    Trained,
    Window,
)
from continualml.scoring.session import Session
from continualml.store import (
    artifacts,
    intake,
    ledger,
    log,
    outbox,
    pointers,
    snapshots,
    windows,
)
from continualml.store.artifacts import Place
from continualml.store.engine import read

Advanced = tuple[decide.Known, tuple[Decision, ...]]
_SESSIONS = 64


class OvertakenError(RuntimeError):
    """Another turn has written first; this one's work is dropped, nothing is lost."""


@dataclass(slots=True)
class Shelf:
    """The past of one model in the store; of its versions those lately asked stay loaded."""

    engine: Engine
    place: Place
    model: Model
    sessions: OrderedDict[int, Session] = field(default_factory=OrderedDict)

    def joined(self, after: int, limit: int) -> Window:
        """Read the next rows that became labelled after the number ``after``."""
        with read(self.engine) as conn:
            return windows.joined(conn, self.model, after, limit=limit)

    def training(
        self, through: int, newest: int, without: tuple[tuple[int, int], ...] = ()
    ) -> Window:
        """Read the newest rows labelled at or below ``through``, with corrections up to there."""
        with read(self.engine) as conn:
            more = windows.n_without(conn, self.model, without, upto=through)
            found = windows.training(conn, self.model, through=through, newest=newest + more)
        kept = found.without(without)
        return kept.part(max(0, len(kept) - newest), len(kept))

    def observed(self, after: int, limit: int) -> Observations:
        """Read the next observations after the number ``after``, labelled or not."""
        with read(self.engine) as conn:
            return windows.observed(conn, self.model, after, limit=limit)

    def nth_observed(self, after: int, n: int) -> int | None:
        """Find the number of the n-th answered one after ``after``; None while there are fewer."""
        with read(self.engine) as conn:
            return windows.nth_observed(conn, self.model, after, n)

    def events(self, after: int, upto: int, limit: int | None = None) -> Events:
        """Read the next observations and first labels after one number and up to another."""
        with read(self.engine) as conn:
            return windows.events(conn, self.model, after, upto=upto, limit=limit)

    def counted(self, after: int, upto: int, limit: int) -> list[Counted]:
        """Read what was answered and refused after one number and up to another."""
        with read(self.engine) as conn:
            return intake.counted(conn, self.model.name, after, upto=upto, limit=limit)

    def n_joined(self, after: int, upto: int) -> int:
        """Count the rows that became labelled after ``after``, and at or below ``upto``."""
        with read(self.engine) as conn:
            return windows.n_joined(conn, self.model, after, upto=upto)

    def artifact(self, version: int) -> bytes:
        """Read the bytes of a version, checked by its hash."""
        with read(self.engine) as conn:
            known = pointers.version(conn, self.model.name, version)
        if known is None:
            raise InputError("version", expected=f"a version of {self.model.name}", got=version)
        return artifacts.read(self.place, known.sha256)

    def state(self, version: int) -> bytes:
        """Read what the learner of a version needs to go on learning, checked by its hash."""
        with read(self.engine) as conn:
            known = pointers.version(conn, self.model.name, version)
        sha256 = known.manifest.get("state") if known else None
        if sha256 is None:
            raise InputError("version", expected="one whose learner was kept", got=version)
        return artifacts.read(self.place, sha256, kind=artifacts.LEARNER)

    def session(self, version: int) -> Session:
        """Load one version by its hash, or take the one that is there."""
        if version not in self.sessions:
            self.sessions[version] = Session(self.artifact(version))
        self.sessions.move_to_end(version)
        while len(self.sessions) > _SESSIONS:
            self.sessions.popitem(last=False)
        return self.sessions[version]

    def keep(self, versions: Iterable[int]) -> None:
        """Let go of all other sessions: who was replaced by a refit is seldom asked again."""
        for version in self.sessions.keys() - set(versions):
            del self.sessions[version]


def register(conn: Connection, name: str, new: Made, recorded_at: str) -> Trained | Merged:
    """Give a version whose artifact is kept the next number, and queue it for the mirror."""
    known = pointers.register(
        conn,
        name,
        new.sha256,
        strategy=new.outcome.strategy,
        manifest=new.manifest,
        recorded_at=recorded_at,
    )
    body = {"event": "version", "model": name, "version": known.version}
    outbox.enqueue(conn, "mlflow", body)
    return replace(new.outcome, version=known.version)


def decide_ahead(known: decide.Known, outcome: Outcome) -> Advanced:
    """Decide before the store is locked for writing; the number is given when it is known."""
    last = known.standing.seq if known.standing else 0
    return decide.advance(known, last + 1, outcome)


def _numbered(ahead: Advanced, seq: int) -> Advanced:
    after, decisions = ahead
    standing = after.standing and replace(after.standing, seq=seq)
    return replace(after, standing=standing), decisions


def take_in(
    conn: Connection,
    known: decide.Known,
    name: str,
    outcome: Outcome,
    *,
    at: float,
    recorded_at: str,
    ahead: Advanced | None = None,
) -> tuple[decide.Known, tuple[LedgerEntry, ...]]:
    """Log an outcome, decide, and write down decision, pointers and messages: one transaction.

    ``ahead`` is what ``decide_ahead`` made of the same outcome before the transaction began.

    Raises
    ------
    OvertakenError
        If the log has an outcome that this turn has not taken in.
    """
    seen = known.standing.seq if known.standing else 0
    if log.last_outcome(conn, name) != seen:
        raise OvertakenError(f"another turn of {name} has written first")
    numbered = log.append_outcome(conn, name, outcome, at)
    ahead = ahead and _numbered(ahead, numbered.seq)
    return _settled(conn, known, numbered, recorded_at=recorded_at, ahead=ahead)


def begin(
    conn: Connection,
    model: Model,
    build: dict[str, str],
    new: Made,
    *,
    at: float,
    recorded_at: str,
) -> LedgerEntry:
    """Let the first champion answer: policy, build and version, in one transaction.

    Raises
    ------
    OvertakenError
        If the model has a champion by now: who trained may have trained beside another process.
    """
    before = known(conn, model.name)
    if before.standing is not None:
        raise OvertakenError(f"{model.name} has got its first champion meanwhile")
    outcomes: list[Outcome] = [
        Declared(model=model),
        register(conn, model.name, new, recorded_at),
    ]
    if before.build != build:
        outcomes.insert(1, Built(build=build))
    entries: tuple[LedgerEntry, ...] = ()
    for outcome in outcomes:
        numbered = log.append_outcome(conn, model.name, outcome, at)
        before, entries = _settled(conn, before, numbered, recorded_at=recorded_at)
    return entries[-1]


def foreign(conn: Connection, name: str) -> log.Numbered | None:
    """Find the first outcome that another process logged and that nobody has taken in.

    Each of them leads to an entry of the ledger, and the loop logs nothing before it has taken it
    in: so what the last entry was decided from tells them apart, whatever became of the snapshot.
    """
    last = ledger.entries(conn, model=name, limit=1)
    if not last:  # the loop has not begun
        return None
    seen = last[0].decision.basis.get("decided_from", {}).get("outcome", 0)
    return next(iter(log.foreign_after(conn, name, seen)), None)


def take_in_foreign(conn: Connection, name: str, *, recorded_at: str) -> tuple[LedgerEntry, ...]:
    """Take in the first outcome that another process logged, if there is one: one transaction."""
    numbered = foreign(conn, name)
    if numbered is None:
        return ()
    before = known(conn, name)
    _, entries = _settled(conn, before, numbered, recorded_at=recorded_at)
    return entries


def _settled(
    conn: Connection,
    known: decide.Known,
    numbered: log.Numbered,
    *,
    recorded_at: str,
    ahead: Advanced | None = None,
) -> tuple[decide.Known, tuple[LedgerEntry, ...]]:
    """Decide on an outcome of the log, and write down decision, pointers and messages."""
    seq, sha256 = numbered.seq, numbered.sha256
    after, decisions = ahead or decide.advance(known, seq, numbered.outcome)
    told = [decide.with_provenance(d, after, seq, sha256) for d in decisions]
    entries = tuple(ledger.record(conn, d, recorded_at) for d in told)
    if after.model is not None and after.standing is not None:
        if entries:
            _point(conn, known, after, decided_by=entries[-1].n, revision=seq)
        _save(conn, after.model, after.standing, after.build, recorded_at)
    return after, entries


def known(conn: Connection, name: str) -> decide.Known:
    """Read what is known of a model: from the snapshot, or folded anew if that is lost or old.

    What other processes logged is known once it has been taken in: its decisions are to be
    written down.
    """
    there, waiting = snapshots.get(conn, name), foreign(conn, name)
    before = waiting.seq if waiting else None
    if there and there[0] == log.last_outcome(conn, name, before=before):
        try:
            kept = msgspec.json.decode(there[1], type=_Snapshot)
        except msgspec.DecodeError as error:  # an older build wrote it
            logger.warning("{}: the snapshot cannot be read, folding anew: {}", name, error)
        else:
            return decide.Known(model=kept.model, standing=kept.standing, build=kept.build)
    found, after = decide.Known(), 0
    while some := log.outcomes_after(conn, name, after, 1_000):
        for seq, outcome in some:
            if seq == before:
                return found
            found, _ = decide.advance(found, seq, outcome)
        after = some[-1][0]
    return found


class _Snapshot(msgspec.Struct, frozen=True):
    """What the snapshot holds: all that is known, and a report of it for those who only look."""

    model: Model
    standing: decide.Standing
    build: dict[str, str]
    report: Json


def _save(
    conn: Connection,
    model: Model,
    state: decide.Standing,
    build: dict[str, str],
    recorded_at: str,
) -> None:
    report: Json = {
        "read": state.read,
        "counted": state.refusals.seq,
        "rows": state.rows,
        "block": state.block,
        "follows": state.follows,
        "recorded_at": recorded_at,
        "strategies": {n: a.version for n, a in state.heads.items()},
        "evidence": decide.evidence_now(model, state),
    }
    body = msgspec.json.encode(_Snapshot(model=model, standing=state, build=build, report=report))
    snapshots.put(conn, model.name, state.seq, body)


def _point(
    conn: Connection,
    before: decide.Known,
    after: decide.Known,
    *,
    decided_by: int,
    revision: int,
) -> None:
    old, new = _aliases(before), _aliases(after)
    name = after.model.name if after.model else ""
    if "previous" in old.keys() - new.keys():
        pointers.lift(conn, name, "previous")
    for alias, (version, weights) in new.items():
        if old.get(alias) == (version, weights):
            continue
        at = revision if weights else None
        pointers.point(conn, name, alias, version, decided_by, revision=at, weights=weights)
        if old.get(alias, (0, ()))[0] != version:
            body = {"event": "alias", "model": name, "alias": alias, "version": version}
            outbox.enqueue(conn, "mlflow", body)


def _aliases(known: decide.Known) -> dict[str, tuple[int, tuple[float, ...]]]:
    """Say where each alias points: a version, and the weights of its members if it is a blend."""
    model, state = known.model, known.standing
    if model is None or state is None:
        return {}
    there = zip(decide.challengers(model, state), state.evidence.gates, strict=True)
    ranked = max(((g.value, a.version) for a, g in there if a is not None), default=None)
    found = {
        "champion": (state.champion.version, decide.champion_weights(state)),
        "anchor": (state.anchor.version, state.anchor.weights),
    }
    if state.previous:
        found["previous"] = (state.previous.version, state.previous.weights)
    if ranked:
        found["challenger"] = (ranked[1], ())
    return found
