"""What the log says of one observation, and of the rows that a decision was made from."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, func, select

from continualml.records import Json, LedgerEntry
from continualml.store import ledger
from continualml.store.tables import labels, observations


def observed_seq(conn: Connection, model: str, observation_id: str) -> int | None:
    """Look up the number of an observation; None if it is not in the log."""
    asked = select(observations.c.seq).where(
        observations.c.model == model, observations.c.observation_id == observation_id
    )
    found = conn.execute(asked).scalar()
    return None if found is None else int(found)


def labels_of(conn: Connection, model: str, observation_id: str) -> list[dict[str, object]]:
    """Read every label of an observation, the lowest revision first."""
    asked = (
        select(labels.c.revision, labels.c.label, labels.c.recorded_at, labels.c.trace)
        .where(labels.c.model == model, labels.c.observation_id == observation_id)
        .order_by(labels.c.revision)
    )
    return [
        {"revision": revision, "label": label, "recorded_at": recorded_at, "trace": trace}
        for revision, label, recorded_at, trace in conn.execute(asked)
    ]


def shown(conn: Connection, entries: Iterable[LedgerEntry]) -> dict[int, Json]:
    """Tell of each entry what its numbers mean to people.

    Returns
    -------
    For each entry's ``n``: ``rows``, the labelled rows that its loop had read since the first
    champion; and, where a change began, ``began``: the observation, its time, and its trace
    if it has one.
    """
    told: dict[int, Json] = {}
    by_model: dict[str, list[LedgerEntry]] = {}
    for entry in entries:
        by_model.setdefault(entry.decision.model, []).append(entry)
    for model, some in by_model.items():
        counts = _rows_read(conn, model, {e.decision.seq for e in some})
        for entry in some:
            told[entry.n] = {"rows": counts.get(entry.decision.seq)}
            began = entry.decision.basis.get("began")
            if began is not None and (what := _at(conn, model, began)):
                told[entry.n]["began"] = what
    return told


def _rows_read(conn: Connection, model: str, seqs: set[int]) -> Mapping[int, int]:
    first = next(iter(ledger.entries(conn, model=model, kinds=("first",), limit=1)), None)
    if first is None:
        return {}
    counts, n, after = dict[int, int](), 0, first.decision.seq
    for seq in sorted(seqs):
        if seq > after:
            n, after = n + _labelled(conn, model, after, seq), seq
        counts[seq] = n
    return counts


def _labelled(conn: Connection, model: str, after: int, upto: int) -> int:
    """Count the rows that became labelled at a number in (after, upto]."""

    def between(seq: ColumnElement[int]) -> ColumnElement[bool]:
        return (seq > after) & (seq <= upto)

    of_model = (labels.c.model == model) & labels.c.first.is_(True)
    usual = select(func.count()).where(of_model, labels.c.early.is_(False), between(labels.c.seq))
    # Labels that came before their observation: its coming made the row.
    early = (
        select(func.count())
        .select_from(labels)
        .join(
            observations,
            (observations.c.model == labels.c.model)
            & (observations.c.observation_id == labels.c.observation_id),
        )
        .where(of_model, labels.c.early.is_(True), between(observations.c.seq))
    )
    return sum(int(conn.execute(asked).scalar_one()) for asked in (usual, early))


def _at(conn: Connection, model: str, seq: int) -> Json | None:
    """Say which observation the number of an observation or of a label belongs to."""
    for table in (observations, labels):
        asked = select(table.c.observation_id, table.c.recorded_at, table.c.trace).where(
            table.c.seq == seq, table.c.model == model
        )
        if found := conn.execute(asked).one_or_none():
            at = datetime.fromtimestamp(found.recorded_at, UTC).isoformat(timespec="seconds")
            told: Json = {"observation_id": found.observation_id, "at": at, "number": seq}
            return told if found.trace is None else {**told, "trace": found.trace}
    return None
