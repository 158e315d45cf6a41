"""What the log says of one observation, and of the rows that a decision was made from."""

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select

from continualml.records import Json, LedgerEntry
from continualml.store import ledger, snapshots
from continualml.store.engine import Unindexed
from continualml.store.tables import labels, observations

# Numbers; looking at so many observations takes a tenth of a second.
_NEAR = 100_000
_KEPT = 4_096


class RowsRead:
    """How many labelled rows there were up to numbers of the log, of those counted lately.

    It never changes, so whoever looks again counts what is new. A collection makes all of it new.
    """

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._of: dict[str, OrderedDict[int, int]] = {}
        self._horizon: dict[str, tuple[int, int]] = {}

    def of(self, model: str, horizon: tuple[int, int]) -> dict[int, int]:
        """Give what is known of a model, by number; nothing of before its last collection."""
        with self._one_at_a_time:
            if self._horizon.get(model) != horizon:
                self._horizon[model], self._of[model] = horizon, OrderedDict()
            return dict(self._of[model])

    def add(self, model: str, counts: Mapping[int, int]) -> None:
        """Keep what was counted; the oldest go."""
        with self._one_at_a_time:
            self._of[model].update(counts)
            while len(self._of[model]) > _KEPT:
                self._of[model].popitem(last=False)


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


def shown(
    conn: Connection, entries: Iterable[LedgerEntry], known: RowsRead | None = None
) -> dict[int, Json]:
    """Tell of each entry what its numbers mean to people.

    Parameters
    ----------
    known
        What was counted for those who looked before; without it all is counted anew.

    Returns
    -------
    For each entry's ``n``: ``rows``, the labelled rows that its loop had read since the first
    champion, None where these were collected since; and, where a change began, ``began``: the
    observation, its time, and its trace if it has one.
    """
    told: dict[int, Json] = {}
    by_model: dict[str, list[LedgerEntry]] = {}
    for entry in entries:
        by_model.setdefault(entry.decision.model, []).append(entry)
    known = RowsRead() if known is None else known
    for model, some in by_model.items():
        counts = _rows_read(conn, model, {e.decision.seq for e in some}, known)
        for entry in some:
            told[entry.n] = {"rows": counts.get(entry.decision.seq)}
            began = entry.decision.basis.get("began")
            if began is not None and (what := _at(conn, model, began)):
                told[entry.n]["began"] = what
    return told


def _rows_read(conn: Connection, model: str, seqs: set[int], known: RowsRead) -> dict[int, int]:
    """Count the labelled rows up to each number, from whichever number is known nearby."""
    first = next(iter(ledger.entries(conn, model=model, kinds=("first",), limit=1)), None)
    if first is None:
        return {}
    below, n = ledger.horizon(conn, model)
    seqs = {s for s in seqs if s >= below}  # nobody can tell of those before
    began = first.decision.seq
    counts = {s: 0 for s in seqs if s <= began} | known.of(model, (below, n))
    wanted = sorted(seqs - counts.keys())
    if not wanted:
        return counts
    ends = {began: n} | {s: k for s, k in counts.items() if s > began}
    if report := snapshots.report(conn, model):
        ends.setdefault(report["read"], report["rows"])
    at = max(s for s in ends if s <= wanted[0])
    later = min((s for s in ends if s >= wanted[-1]), default=None)
    if later is not None and later - wanted[-1] < wanted[0] - at:
        at = later
    n = ends[at]
    early = _early(conn, model, min(at, wanted[0]), max(at, wanted[-1]))

    def between(after: int, upto: int) -> int:
        before = bisect_right(early, upto) - bisect_right(early, after)
        return before + _labelled_after(conn, model, after, upto)

    n = n + between(at, wanted[0]) if at <= wanted[0] else n - between(wanted[0], at)
    at = wanted[0]
    found: dict[int, int] = {}
    for seq in wanted:
        n, at = n + between(at, seq), seq
        found[seq] = n
    known.add(model, found)
    return counts | found


def _labelled_after(conn: Connection, model: str, after: int, upto: int) -> int:
    """Count the first labels, with numbers in (after, upto], that came after their observation."""
    asked = select(func.count()).where(
        labels.c.model == model,
        labels.c.first.is_(True),
        labels.c.early.is_(False),
        labels.c.seq > after,
        labels.c.seq <= upto,
    )
    return int(conn.execute(asked).scalar_one())


def _early(conn: Connection, model: str, after: int, upto: int) -> list[int]:
    """List the numbers in (after, upto] of observations whose label was there before, ascending.

    They are looked for among these observations if those are few, else among all such labels.
    """
    near = upto - after <= _NEAR
    first, early, of = labels.c.first, labels.c.early, observations.c.model
    asked = (
        select(observations.c.seq)
        .join_from(
            observations,
            labels,
            (observations.c.model == labels.c.model)
            & (observations.c.observation_id == labels.c.observation_id),
        )
        .where(
            (Unindexed(of) if near else of) == model,
            (Unindexed(first) if near else first).is_(True),
            (Unindexed(early) if near else early).is_(True),
            observations.c.seq > after,
            observations.c.seq <= upto,
            labels.c.seq <= upto,
        )
    )
    return sorted(conn.execute(asked).scalars())


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
