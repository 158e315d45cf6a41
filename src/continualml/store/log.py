"""The append-only log: observations with their answers, labels, outcomes."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, Row, func, insert, select

from continualml.errors import InputError
from continualml.model import Model
from continualml.records import (
    Accepted,
    Arrived,
    Built,
    Collected,
    Commanded,
    Declared,
    DelaysDescribed,
    Described,
    Intake,
    LabelVerdict,
    Merged,
    Outcome,
    Scored,
    Trained,
    TrainingFailed,
    Unfit,
    Watched,
)
from continualml.store.engine import insert_rows, take_numbers
from continualml.store.tables import intake, labels, observations, outcomes

_KINDS: dict[str, type[Outcome]] = {
    "scored": Scored,
    "trained": Trained,
    "merged": Merged,
    "training_failed": TrainingFailed,
    "declared": Declared,
    "described": Described,
    "watched": Watched,
    "delays_described": DelaysDescribed,
    "arrived": Arrived,
    "intake": Intake,
    "built": Built,
    "commanded": Commanded,
    "accepted": Accepted,
    "unfit": Unfit,
    "collected": Collected,
}
# What other processes than the loop append.
_FOREIGN = ("unfit",)
_MOST_IDS = 500


class Observed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row of features, with what a version answered for it if one did.

    ``numeric`` and ``answer`` are little-endian float64, ``categorical`` a JSON list of strings,
    ``recorded_at`` seconds since 1970 (UTC), ``revision`` that of a blend's weights,
    ``trace`` the W3C trace-id of the request, 32 hexadecimal digits.
    """

    model: str
    observation_id: str
    numeric: bytes
    categorical: str | None
    version: int | None
    answer: bytes | None
    recorded_at: float
    revision: int | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """The truth for one observation, as its sender says it."""

    observation_id: str
    label: object
    revision: int = 0
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelAnswer:
    """What became of one label, and why if it was rejected."""

    observation_id: str
    verdict: LabelVerdict
    reason: str | None = None


def append_observations(conn: Connection, rows: Sequence[Observed]) -> list[Observed | None]:
    """Append rows whose id is new; the log never changes a row.

    Returns
    -------
    For each row None where it was written, or the row that already stands under its id.
    """
    if not rows:
        return []
    there = recorded(conn, ((r.model, r.observation_id) for r in rows))
    result: list[Observed | None] = []
    fresh: list[Observed] = []
    for r in rows:
        key = (r.model, r.observation_id)
        result.append(there.get(key))
        if key not in there:
            there[key] = r
            fresh.append(r)
    append_new(conn, fresh)
    return result


def append_new(conn: Connection, rows: Sequence[Observed]) -> None:
    """Append rows that are believed to be new.

    Raises
    ------
    IntegrityError
        If one is not; the transaction is of no use then.
    """
    if rows:
        first = take_numbers(conn, len(rows))
        insert_rows(conn, observations, [_row(r, first + i) for i, r in enumerate(rows)])


def recorded(conn: Connection, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Observed]:
    """Look up rows by (model, observation_id)."""
    by_model: dict[str, list[str]] = {}
    for model, observation_id in keys:
        by_model.setdefault(model, []).append(observation_id)
    found: dict[tuple[str, str], Observed] = {}
    columns = [c for c in observations.c if c.name != "seq"]
    for model, ids in by_model.items():
        for start in range(0, len(ids), _MOST_IDS):
            asked = select(*columns).where(
                observations.c.model == model,
                observations.c.observation_id.in_(ids[start : start + _MOST_IDS]),
            )
            for row in conn.execute(asked):
                one = Observed(**row._mapping)  # noqa: SLF001  SQLAlchemy's public name for it
                found[model, one.observation_id] = one
    return found


def append_labels(
    conn: Connection, model: Model, items: Sequence[Labelled], recorded_at: float
) -> list[LabelAnswer]:
    """Append labels; each gets its verdict, whatever order they come in.

    ``accepted``: the highest revision so far. ``duplicate``: this revision says the same already.
    ``superseded``: kept, but a higher revision is there. ``pending``: kept until its observation
    comes. ``rejected``: not kept, with the reason.
    """
    ids = [i.observation_id for i in items]
    seen = {key[1] for key in recorded(conn, ((model.name, i) for i in ids))}
    standing = _standing(conn, model.name, ids)
    answers: list[LabelAnswer] = []
    fresh: list[dict[str, object]] = []
    for item in items:
        before = standing.setdefault(item.observation_id, {})
        label, reason = canonical(model, item.label)
        verdict: LabelVerdict
        if label is None:
            verdict = "rejected"
        elif item.revision in before:
            same = before[item.revision] == label
            verdict = "duplicate" if same else "rejected"
            reason = (
                None
                if same
                else (
                    f"revision {item.revision} says {before[item.revision]!r} already; "
                    "send a correction with a higher revision"
                )
            )
        else:
            early = item.observation_id not in seen
            behind = bool(before) and max(before) > item.revision
            verdict = "superseded" if behind else "pending" if early else "accepted"
            fresh.append(
                {
                    "model": model.name,
                    "observation_id": item.observation_id,
                    "revision": item.revision,
                    "label": label,
                    "first": not before,
                    "early": early,
                    "recorded_at": recorded_at,
                    "trace": item.trace,
                }
            )
            before[item.revision] = label
        answers.append(
            LabelAnswer(observation_id=item.observation_id, verdict=verdict, reason=reason)
        )
    if fresh:
        first = take_numbers(conn, len(fresh))
        conn.execute(insert(labels), [{"seq": first + i, **f} for i, f in enumerate(fresh)])
    return answers


def canonical(model: Model, label: object) -> tuple[str | None, str | None]:
    """Write a label the one way in which it is stored, or say why it cannot be."""
    if model.kind == "regression":
        if isinstance(label, int | float) and not isinstance(label, bool):
            value = float(label)
            if math.isfinite(value):
                return repr(value), None
        return None, f"expected a finite number, got {label!r}"
    named = model.class_of(label) if isinstance(label, str | int | float) else None
    if named is None:
        return None, f"expected one of {list(model.classes)}, got {label!r}"
    return named, None


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """An outcome as it stands in the log; ``sha256`` is that of its bytes."""

    seq: int
    outcome: Outcome
    sha256: str


def append_outcome(conn: Connection, model: str, outcome: Outcome, recorded_at: float) -> Numbered:
    """Append what an effect brought back."""
    seq = take_numbers(conn, 1)
    kind = next(k for k, t in _KINDS.items() if isinstance(outcome, t))
    body = msgspec.msgpack.encode(outcome)
    values = {"seq": seq, "model": model, "kind": kind, "body": body, "recorded_at": recorded_at}
    conn.execute(insert(outcomes).values(**values))
    return Numbered(seq=seq, outcome=outcome, sha256=hashlib.sha256(body).hexdigest())


def outcomes_after(
    conn: Connection, model: str, after: int, limit: int
) -> list[tuple[int, Outcome]]:
    """Read the next outcomes of a model in the order of their numbers."""
    return [(one.seq, one.outcome) for one in numbered_after(conn, model, after, limit)]


def numbered_after(conn: Connection, model: str, after: int, limit: int) -> list[Numbered]:
    """Read the next outcomes of a model as they stand in the log.

    Raises
    ------
    InputError
        If one cannot be read.
    """
    asked = (
        select(outcomes.c.seq, outcomes.c.kind, outcomes.c.body)
        .where(outcomes.c.model == model, outcomes.c.seq > after)
        .order_by(outcomes.c.seq)
        .limit(limit)
    )
    return [_numbered(row) for row in conn.execute(asked)]


def scored_between(
    conn: Connection, model: str, first: int, last: int, *, limit: int, most_rows: int | None = None
) -> dict[int, Scored]:
    """Read what versions answered on labelled rows, by the outcome's number, ascending.

    Of more than ``limit``, or more than have ``most_rows`` rows, the newest ones.
    """
    asked = (
        select(outcomes.c.seq, outcomes.c.kind, outcomes.c.body)
        .where(outcomes.c.model == model, outcomes.c.kind == "scored")
        .where(outcomes.c.seq >= first, outcomes.c.seq <= last)
        .order_by(outcomes.c.seq.desc())
        .limit(limit)
    )
    found: dict[int, Scored] = {}
    rows = 0
    for seq, kind, body in conn.execute(asked.execution_options(yield_per=10)):
        outcome = _decoded(seq, kind, body)
        if isinstance(outcome, Scored):
            found[seq] = outcome
            rows += len(outcome.seq) // 8
        if most_rows is not None and rows >= most_rows:
            break
    return dict(reversed(found.items()))


def foreign_after(conn: Connection, model: str, after: int) -> list[Numbered]:
    """Read the outcomes that the loop did not write itself, in the order of their numbers."""
    asked = (
        select(outcomes.c.seq, outcomes.c.kind, outcomes.c.body)
        .where(outcomes.c.model == model, outcomes.c.seq > after, outcomes.c.kind.in_(_FOREIGN))
        .order_by(outcomes.c.seq)
    )
    return [_numbered(row) for row in conn.execute(asked)]


def made(conn: Connection, model: str, version: int) -> Trained | Merged | None:
    """Find the outcome that a version came of, the newest first."""
    asked = (
        select(outcomes.c.seq, outcomes.c.kind, outcomes.c.body)
        .where(outcomes.c.model == model, outcomes.c.kind.in_(("trained", "merged")))
        .order_by(outcomes.c.seq.desc())
    )
    for row in conn.execute(asked.execution_options(yield_per=100)):
        outcome = _numbered(row).outcome
        if isinstance(outcome, Trained | Merged) and outcome.version == version:
            return outcome
    return None


def outcome_hashes(conn: Connection, model: str) -> Iterator[tuple[int, str]]:
    """Hash a model's outcomes as they stand, in the order of their numbers."""
    asked = (
        select(outcomes.c.seq, outcomes.c.body)
        .where(outcomes.c.model == model)
        .order_by(outcomes.c.seq)
    )
    for seq, body in conn.execute(asked.execution_options(yield_per=100)):
        yield seq, hashlib.sha256(body).hexdigest()


def n_outcomes(conn: Connection, model: str) -> int:
    """Count a model's outcomes."""
    asked = select(func.count()).select_from(outcomes).where(outcomes.c.model == model)
    return int(conn.execute(asked).scalar_one())


def models(conn: Connection) -> list[str]:
    """Name the models that the loop knows something of."""
    asked = select(outcomes.c.model).distinct().order_by(outcomes.c.model)
    return list(conn.execute(asked).scalars())


def observed(conn: Connection, names: Iterable[str]) -> list[str]:
    """Name those of the models that have a row in the log."""
    found = []
    for name in names:
        some = select(observations.c.seq).where(observations.c.model == name).limit(1)
        if conn.execute(some).first():
            found.append(name)
    return found


def last_outcome(conn: Connection, model: str, *, before: int | None = None) -> int:
    """Return the number of a model's last outcome, below ``before`` if given; 0 without one."""
    asked = select(func.max(outcomes.c.seq)).where(outcomes.c.model == model)
    asked = asked if before is None else asked.where(outcomes.c.seq < before)
    return int(conn.execute(asked).scalar() or 0)


def last_seq(conn: Connection) -> int:
    """Return the last number that any row of the log has; 0 in an empty log."""
    tables = (observations, labels, outcomes, intake)
    return max(int(conn.execute(select(func.max(t.c.seq))).scalar() or 0) for t in tables)


def _standing(conn: Connection, model: str, ids: list[str]) -> dict[str, dict[int, str]]:
    found: dict[str, dict[int, str]] = {}
    for start in range(0, len(ids), _MOST_IDS):
        asked = select(labels.c.observation_id, labels.c.revision, labels.c.label).where(
            labels.c.model == model, labels.c.observation_id.in_(ids[start : start + _MOST_IDS])
        )
        for observation_id, revision, label in conn.execute(asked):
            found.setdefault(observation_id, {})[revision] = label
    return found


def _numbered(row: Row[tuple[int, str, bytes]]) -> Numbered:
    seq, kind, body = row
    outcome = _decoded(seq, kind, body)
    return Numbered(seq=seq, outcome=outcome, sha256=hashlib.sha256(body).hexdigest())


def _decoded(seq: int, kind: str, body: bytes) -> Outcome:
    try:
        return msgspec.msgpack.decode(body, type=_KINDS[kind])
    except (KeyError, msgspec.DecodeError) as error:
        raise InputError(
            f"outcome {seq}", expected=f"what {kind!r} means", got=str(error)
        ) from error


def _row(r: Observed, seq: int) -> dict[str, object]:
    return {
        "seq": seq,
        "model": r.model,
        "observation_id": r.observation_id,
        "numeric": r.numeric,
        "categorical": r.categorical,
        "version": r.version,
        "revision": r.revision,
        "answer": r.answer,
        "recorded_at": r.recorded_at,
        "trace": r.trace,
    }
