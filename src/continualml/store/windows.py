"""Labelled rows in bulk, as NumPy arrays, in the order in which they became labelled."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, select, union_all

from continualml.model import Model
from continualml.records import Events, Observations, Rows, Window
from continualml.store.engine import Unindexed
from continualml.store.tables import labels, observations

# Delays are counted up to here; whoever bets on them looks no further.
LONGEST_DELAY = 100_000


def joined(
    conn: Connection,
    model: Model,
    after: int,
    *,
    upto: int | None = None,
    limit: int | None = None,
) -> Window:
    """Read what became labelled after the number ``after``, each row once, by its first label.

    A row becomes labelled at the larger of its observation's and its first label's number, so
    what was read below a watermark never changes.
    """
    each = _joins(model.name, after, upto)
    rows = union_all(*each).subquery()
    asked = select(rows).order_by(rows.c.joined)
    return _window(model, conn.execute(asked.limit(limit) if limit is not None else asked).all())


def training(conn: Connection, model: Model, *, through: int, newest: int) -> Window:
    """Read the newest rows labelled at or below ``through``, each with its latest correction.

    A correction counts when its own number is at most ``through``: what a version was trained on
    can be read again later.
    """
    usual, _ = _joins(model.name, 0, through)
    found = list(_newest(conn, usual, newest))
    # What is older than the oldest of enough others is not among the newest.
    after = found[-1].joined if len(found) == newest else 0
    if _any_early(conn, model.name):
        _, early = _joins(model.name, after, through)
        found = [*found, *_newest(conn, early, newest)]
        found = sorted(found, key=lambda r: r.joined, reverse=True)[:newest]
    found.reverse()
    if not found:
        return _window(model, found)
    highest = {r.observation_seq: r.revision for r in found}
    oldest = min(highest)
    later = (
        select(observations.c.seq, labels.c.label, labels.c.revision)
        .join_from(labels, observations, _same_observation())
        .where(
            labels.c.model == model.name,
            labels.c.first.is_(False),
            labels.c.seq <= through,
            observations.c.seq >= oldest,
        )
    )
    # One that came after its observation has a number above it: no older one is looked at.
    came_after = later.where(labels.c.early.is_(False), labels.c.seq > oldest)
    came_before = later.where(labels.c.early.is_(True))
    corrections = [r for asked in (came_after, came_before) for r in conn.execute(asked)]
    corrected = {
        seq: label
        for seq, label, revision in sorted(corrections, key=lambda r: r.revision)
        if revision > highest.get(seq, revision)  # in the order of revisions: the last one stays
    }
    return _window(model, found, corrected)


def _newest(conn: Connection, asked: Select[Any], n: int) -> Sequence[Row[Any]]:
    return conn.execute(asked.order_by(asked.selected_columns.joined.desc()).limit(n)).all()


def _any_early(conn: Connection, model: str) -> bool:
    """Tell whether a label ever came before its observation: else none is looked for."""
    asked = select(labels.c.seq).where(
        labels.c.model == model, labels.c.first.is_(True), labels.c.early.is_(True)
    )
    return conn.execute(asked.limit(1)).first() is not None


def observed(conn: Connection, model: Model, after: int, *, limit: int) -> Observations:
    """Read the next observations after the number ``after`` that were answered, labelled or not.

    Rows of a file, or made ones, were never asked: they say nothing about what comes to be served.
    """
    asked = (
        select(
            observations.c.seq,
            observations.c.numeric,
            observations.c.categorical,
            observations.c.answer,
        )
        .where(_answered(model), observations.c.seq > after)
        .order_by(observations.c.seq)
        .limit(limit)
    )
    found = conn.execute(asked).all()
    return Observations(
        seq=np.array([r.seq for r in found], dtype=np.int64),
        rows=_rows(model, found),
        answer=_answers(model, found),
    )


def newest_observed(conn: Connection, model: Model, n: int) -> Observations:
    """Read the newest n observations that were answered, in the order of their numbers."""
    asked = select(observations.c.seq).where(_answered(model)).order_by(observations.c.seq.desc())
    oldest = conn.execute(asked.offset(n - 1).limit(1)).scalar()
    return observed(conn, model, 0 if oldest is None else oldest - 1, limit=n)


def nth_observed(conn: Connection, model: Model, after: int, n: int) -> int | None:
    """Find the number of the n-th answered one after ``after``; None while there are fewer."""
    asked = (
        select(observations.c.seq)
        .where(_answered(model), observations.c.seq > after)
        .order_by(observations.c.seq)
        .offset(n - 1)
        .limit(1)
    )
    found: int | None = conn.execute(asked).scalar()
    return found


def events(
    conn: Connection, model: Model, after: int, *, upto: int, limit: int | None = None
) -> Events:
    """Read observations and first labels after one number and up to another, as they came.

    Only rows that were answered count, as in ``observed``: a file's are labelled at once. A delay
    of more than 100,000 observations is given as that, so that what is read is bounded.
    """
    seen = (
        select(
            observations.c.seq.label("at"),
            observations.c.seq.label("observation_seq"),
            (labels.c.seq.is_not(None)).label("labelled"),
        )
        .join_from(
            observations,
            labels,
            and_(_same_observation(), *_came_early()),
            isouter=True,
        )
        .where(_answered(model), observations.c.seq > after, observations.c.seq <= upto)
        .order_by(observations.c.seq)
        .limit(limit)
    )
    told = (
        select(
            labels.c.seq.label("at"),
            observations.c.seq.label("observation_seq"),
            (labels.c.seq.is_not(None)).label("labelled"),
        )
        .join_from(labels, observations, _same_observation())
        .where(
            labels.c.model == model.name,
            labels.c.first.is_(True),
            labels.c.early.is_(False),
            _answered(model),
            labels.c.seq > after,
            labels.c.seq <= upto,
        )
        .order_by(labels.c.seq)
        .limit(limit)
    )
    both = union_all(*(select(s.subquery()) for s in (seen, told))).subquery()
    found = conn.execute(select(both).order_by(both.c.at).limit(limit)).all()
    seq = np.array([r.at for r in found], dtype=np.int64)
    of = np.array([r.observation_seq for r in found], dtype=np.int64)
    labelled = np.array([r.labelled for r in found], dtype=np.bool_)
    delay = np.where(labelled, _observed_between(conn, model, of, seq), np.nan)
    return Events(seq=seq, observed=of == seq, delay=delay)


def _observed_between(
    conn: Connection, model: Model, of: NDArray[np.int64], seq: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(n,) observations after each number ``of`` and before ``seq``, at most 100,000."""
    if not len(seq):
        return seq
    asked = (
        select(observations.c.seq)
        .where(
            _answered(model),
            observations.c.seq > int(of.min()),
            observations.c.seq < int(seq[-1]),
        )
        .order_by(observations.c.seq.desc())
        .limit(LONGEST_DELAY + len(seq))
    )
    logged = np.array(conn.execute(asked).scalars().all(), dtype=np.int64)[::-1]
    between = np.searchsorted(logged, seq) - np.searchsorted(logged, of, side="right")
    found: NDArray[np.int64] = np.clip(between, 0, LONGEST_DELAY)
    return found


def corrections(conn: Connection, model: Model) -> tuple[tuple[int, int, float], ...]:
    """Read every later revision: (its number, its observation's number, target), ascending.

    A revision below one that came before it corrects nothing and is left out.
    """
    asked = (
        select(labels.c.seq, observations.c.seq, labels.c.revision, labels.c.label, labels.c.first)
        .join_from(labels, observations, _same_observation())
        .where(labels.c.model == model.name)
        .order_by(labels.c.seq)
    )
    index = {c: float(i) for i, c in enumerate(model.classes)}
    highest: dict[int, int] = {}
    found = []
    for seq, observation, revision, label, first in conn.execute(asked):
        if not first and revision > highest.get(observation, -1):
            found.append((seq, observation, index[label] if index else float(label)))
        highest[observation] = max(revision, highest.get(observation, -1))
    return tuple(found)


def n_joined(conn: Connection, model: Model, after: int, *, upto: int | None = None) -> int:
    """Count the rows that became labelled after ``after``, and at or below ``upto``."""
    counts = (
        select(func.count()).select_from(s.subquery()) for s in _joins(model.name, after, upto)
    )
    return sum(int(conn.execute(c).scalar_one()) for c in counts)


def n_labelled(conn: Connection, model: Model, after: int, *, upto: int) -> int:
    """Count the rows observed after ``after`` that became labelled at or below ``upto``."""
    counts = (
        select(func.count()).select_from(s.where(observations.c.seq > after).subquery())
        for s in _joins(model.name, after, upto)
    )
    return sum(int(conn.execute(c).scalar_one()) for c in counts)


def n_without(
    conn: Connection, model: Model, spans: tuple[tuple[int, int], ...], *, upto: int
) -> int:
    """Count rows labelled at or below ``upto`` that were observed or labelled within the spans.

    Who was both counts twice: as many rows are to be read more, at most.
    """
    n = 0
    for first, last in spans:
        n += n_joined(conn, model, first - 1, upto=min(last, upto))
        for s in _joins(model.name, 0, upto):
            inside = s.where(observations.c.seq.between(first, last)).subquery()
            n += int(conn.execute(select(func.count()).select_from(inside)).scalar_one())
    return n


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """When the first and the last observation got their first labels (seconds since 1970).

    ``later`` counts those that came after the first instant.
    """

    first_at: float
    last_at: float
    later: int


def first_labels(conn: Connection, model: str) -> Span | None:
    """Measure in what time how many observations got their first label; None without any."""
    first = (labels.c.model == model) & labels.c.first.is_(True)
    # Each end of each part stands at an end of its index.
    ends = [
        row
        for early in (False, True)
        for order in (labels.c.seq, labels.c.seq.desc())
        for row in conn.execute(
            select(labels.c.seq, labels.c.recorded_at)
            .where(first, labels.c.early.is_(early))
            .order_by(order)
            .limit(1)
        )
    ]
    if not ends:
        return None
    first_at, last_at = min(ends).recorded_at, max(ends).recorded_at
    asked = select(func.count()).where(first, labels.c.recorded_at > first_at)
    later = int(conn.execute(asked).scalar_one())
    return Span(first_at=first_at, last_at=last_at, later=later)


def _answered(model: Model) -> ColumnElement[bool]:
    return (Unindexed(observations.c.model) == model.name) & observations.c.answer.is_not(None)


def _same_observation() -> ColumnElement[bool]:
    return (observations.c.model == labels.c.model) & (
        observations.c.observation_id == labels.c.observation_id
    )


def _came_early() -> tuple[ColumnElement[bool], ...]:
    """Ask of a label whether it came first, and before its observation.

    Its observation is there: by the index of such labels all that ever came would be read for each.
    """
    return Unindexed(labels.c.first).is_(True), Unindexed(labels.c.early).is_(True)


def _joins(model: str, after: int, upto: int | None) -> tuple[Select[Any], Select[Any]]:
    """Select the rows joined by their label's coming, and those joined by their observation's.

    Each is looked for among what has such numbers, so that it costs what is new, not what is there.
    """
    usual = (
        _joined(labels.c.seq, after, upto)
        .join_from(labels, observations, _same_observation())
        .where(labels.c.model == model, labels.c.first.is_(True), labels.c.early.is_(False))
    )
    early = (
        _joined(observations.c.seq, after, upto)
        .join_from(observations, labels, _same_observation())
        .where(Unindexed(observations.c.model) == model, *_came_early())
    )
    return usual, early


def _joined(at: ColumnElement[int], after: int, upto: int | None) -> Select[Any]:
    asked = select(
        at.label("joined"),
        observations.c.seq.label("observation_seq"),
        observations.c.numeric,
        observations.c.categorical,
        observations.c.version,
        observations.c.answer,
        labels.c.label,
        labels.c.revision,
    ).where(at > after)
    return asked if upto is None else asked.where(at <= upto)


def _window(
    model: Model, found: Sequence[Row[Any]], corrected: dict[int, str] | None = None
) -> Window:
    fixed = corrected or {}
    texts = [fixed.get(r.observation_seq, r.label) for r in found]
    index = {c: float(i) for i, c in enumerate(model.classes)}
    target = [index[t] if index else float(t) for t in texts]
    return Window(
        seq=np.array([r.joined for r in found], dtype=np.int64),
        observation_seq=np.array([r.observation_seq for r in found], dtype=np.int64),
        rows=_rows(model, found),
        target=np.array(target, dtype=np.float64),
        version=np.array([r.version or 0 for r in found], dtype=np.int64),
        answer=_answers(model, found),
    )


def _rows(model: Model, found: Sequence[Row[Any]]) -> Rows:
    n = len(found)
    numeric = np.frombuffer(b"".join(r.numeric for r in found), "<f8")
    categorical = np.empty((n, len(model.categorical)), dtype=object)
    if categorical.size:
        categorical[:] = [json.loads(r.categorical) for r in found]
    return Rows(numeric=numeric.reshape(n, len(model.numeric)), categorical=categorical)


def _answers(model: Model, found: Sequence[Row[Any]]) -> NDArray[np.float64]:
    missing = np.full(model.width, np.nan, "<f8").tobytes()
    packed = b"".join(r.answer or missing for r in found)
    return np.frombuffer(packed, "<f8").reshape(len(found), model.width)
