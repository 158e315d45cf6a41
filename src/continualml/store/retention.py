"""What of the log and of the artifacts nothing needs any more, as far as the store can tell."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, delete, func, not_, select

from continualml import clock
from continualml.store import artifacts, ledger, pointers
from continualml.store.engine import Unindexed
from continualml.store.tables import labels, observations, outbox
from continualml.store.tables import versions as registered

T = TypeVar("T")
# What is younger may belong to a version that is being made.
YOUNG_S = 3_600.0
_MOST_IDS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Old:
    """Observations that may go, with all their labels, by their numbers.

    ``labelled`` counts those that became labelled after the number asked for.
    """

    seqs: tuple[int, ...] = ()
    ids: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    labelled: int = 0
    size_bytes: int = 0


def before(conn: Connection, model: str, at: float) -> int:
    """Find the number below which every observation was recorded before ``at`` (since 1970)."""
    asked = select(func.min(observations.c.seq)).where(
        observations.c.model == model, observations.c.recorded_at >= at
    )
    younger = conn.execute(asked).scalar()
    if younger is not None:
        return int(younger)
    last = select(func.max(observations.c.seq)).where(observations.c.model == model)
    return int(conn.execute(last).scalar() or 0) + 1


def old(
    conn: Connection,
    model: str,
    *,
    below: int,
    spared: set[int],
    kept: tuple[tuple[int, int], ...],
    counted_after: int,
    most: int,
) -> Old:
    """Find the oldest rows whose every number, that of each label too, lies below ``below``.

    Parameters
    ----------
    spared
        Numbers of observations, or of labels, whose rows stay.
    kept
        Observations numbered within one of these, inclusive, stay.
    """
    later = (
        select(labels.c.seq)
        .where(
            labels.c.model == observations.c.model,
            labels.c.observation_id == observations.c.observation_id,
            labels.c.seq.in_(spared) | (labels.c.seq >= below),
        )
        .exists()
    )
    size = (
        func.length(observations.c.numeric)
        + func.coalesce(func.length(observations.c.answer), 0)
        + func.coalesce(func.length(observations.c.categorical), 0)
        + func.length(observations.c.observation_id)
    )
    asked = (
        select(observations.c.seq, observations.c.observation_id, size)
        .where(
            Unindexed(observations.c.model) == model,
            observations.c.seq < below,
            observations.c.seq.not_in(spared),
            ~later,
            *(not_(observations.c.seq.between(a, b)) for a, b in kept),
        )
        .order_by(observations.c.seq)
        .limit(most)
    )
    found = conn.execute(asked).all()
    labelled, own_labels = 0, []
    own = {one.observation_id: one.seq for one in found}
    for some in _parts(list(own)):
        of = select(labels.c.observation_id, labels.c.seq, labels.c.first)
        mine = (labels.c.model == model) & labels.c.observation_id.in_(some)
        for observation_id, seq, first in conn.execute(of.where(mine)):
            own_labels.append(seq)
            labelled += bool(first) and max(seq, own[observation_id]) > counted_after
    return Old(
        seqs=tuple(own.values()),
        ids=tuple(own),
        labels=tuple(own_labels),
        labelled=labelled,
        size_bytes=sum(int(one[2]) for one in found),
    )


def labelled_since(conn: Connection, model: str, rows: Old, *, after: int) -> bool:
    """Tell whether one of the rows got a label after a number."""
    asked = select(labels.c.observation_id).where(
        labels.c.seq > after, Unindexed(labels.c.model) == model
    )
    return not set(rows.ids).isdisjoint(conn.execute(asked).scalars())


def forget(conn: Connection, rows: Old) -> None:
    """Delete rows and all their labels."""
    for table, numbers in ((labels, rows.labels), (observations, rows.seqs)):
        for some in _parts(numbers):
            conn.execute(delete(table).where(table.c.seq.in_(some)))


def in_use(conn: Connection, model: str) -> set[int]:
    """Name the versions that aliases, answered rows and waiting messages need, and the young."""
    answered = select(observations.c.version).where(
        observations.c.model == model, observations.c.version.is_not(None)
    )
    waiting = select(outbox.c.body).where(outbox.c.state != "delivered")
    told = (pointers.named_in(body, model) for body in conn.execute(waiting).scalars())
    return {
        *pointers.pointed(conn, model).values(),
        *young(conn, model),
        *conn.execute(answered.distinct()).scalars(),
        *(version for version in told if version is not None),
    }


def young(conn: Connection, model: str) -> set[int]:
    """Name the versions that were registered lately."""
    since = (clock.now() - timedelta(seconds=YOUNG_S)).isoformat()
    asked = select(registered.c.version).where(
        registered.c.model == model, registered.c.recorded_at >= since
    )
    return set(conn.execute(asked).scalars())


def strays(conn: Connection, directory: Path) -> list[Path]:
    """List the files that no version needs, but for those that may just be written."""
    needed = {f"{one.sha256}.{one.kind}" for one in pointers.artifacts_named(conn)}
    if not directory.is_dir():
        return []
    suffixes = (f".{artifacts.GRAPH}", f".{artifacts.LEARNER}", ".part")
    others = (p for p in directory.iterdir() if p.suffix in suffixes and p.name not in needed)
    return sorted(path for path in others if is_old(path))


def is_old(path: Path) -> bool:
    """Tell whether a file is there, and was not made, or made again, lately."""
    oldest = clock.now().timestamp() - YOUNG_S
    try:
        return path.stat().st_mtime < oldest
    except FileNotFoundError:  # it was renamed, or removed, meanwhile
        return False


def remove(files: Sequence[Path]) -> tuple[int, int]:
    """Remove those of the files that are still old; how many, and their size in bytes, that were.

    What is made again meanwhile is young, and so stays.
    """
    n = size_bytes = 0
    for path in files:
        with artifacts.alone(path.parent):
            if is_old(path):
                n, size_bytes = n + 1, size_bytes + path.stat().st_size
                path.unlink()
    return n, size_bytes


def began(conn: Connection, model: str) -> set[int]:
    """Name the rows at which a decision says that a change began: people are shown those."""
    entries = ledger.in_order(conn, model)
    return {int(b) for e in entries if (b := e.decision.basis.get("began")) is not None}


def _parts(several: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(several), _MOST_IDS):
        yield several[start : start + _MOST_IDS]
