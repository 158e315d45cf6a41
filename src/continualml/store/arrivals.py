"""When rows came, how late their labels were, and which still wait for one."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, select

from continualml.store.engine import Unindexed
from continualml.store.tables import labels, observations

_SAME = and_(
    observations.c.model == labels.c.model,
    observations.c.observation_id == labels.c.observation_id,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestLabel:
    """When it was recorded, in seconds since 1970, and how long after its observation."""

    recorded_at: float
    lag_s: float


def newest_label(conn: Connection, model: str) -> NewestLabel | None:
    """Find the newest first label that came after its observation; None without any."""
    asked = (
        select(labels.c.recorded_at, observations.c.recorded_at.label("observed_at"))
        .join_from(labels, observations, _SAME)
        .where(labels.c.model == model, labels.c.first.is_(True), labels.c.early.is_(False))
        .order_by(labels.c.seq.desc())
        .limit(1)
    )
    row = conn.execute(asked).one_or_none()
    if row is None:
        return None
    return NewestLabel(recorded_at=row.recorded_at, lag_s=row.recorded_at - row.observed_at)


def lags(conn: Connection, model: str, newest: int) -> list[tuple[int, float]]:
    """Read of the newest first labels of answered observations their number and seconds late.

    Returns
    -------
    At most ``newest``, the newest first; those that came before their observation are left out.
    """
    asked = (
        select(labels.c.seq, labels.c.recorded_at - observations.c.recorded_at)
        .join_from(labels, observations, _SAME)
        .where(
            labels.c.model == model,
            labels.c.first.is_(True),
            labels.c.early.is_(False),
            observations.c.answer.is_not(None),
        )
        .order_by(labels.c.seq.desc())
        .limit(newest)
    )
    return [(int(seq), max(float(s), 0.0)) for seq, s in conn.execute(asked)]


def unlabelled(conn: Connection, model: str, newest: int) -> tuple[int, list[float]]:
    """Count the newest answered observations, and say when those without a label were recorded.

    Parameters
    ----------
    newest
        How many are looked at, at most.
    """
    seen = (
        select(observations.c.observation_id, observations.c.recorded_at, observations.c.model)
        .where(Unindexed(observations.c.model) == model, observations.c.answer.is_not(None))
        .order_by(observations.c.seq.desc())
        .limit(newest)
        .subquery()
    )
    # Not by ``first``: its index would be taken for each row. Revisions only make a row come twice.
    there = and_(labels.c.model == seen.c.model, labels.c.observation_id == seen.c.observation_id)
    asked = select(seen, labels.c.seq).join_from(seen, labels, there, isouter=True)
    each = conn.execute(asked).all()
    without = [row.recorded_at for row in each if row.seq is None]
    return len({row.observation_id for row in each}), without


def recorded_at(conn: Connection, seqs: Sequence[int]) -> dict[int, float]:
    """Read when the observations and labels with these numbers came, in seconds since 1970."""
    found: dict[int, float] = {}
    for table in (observations, labels):
        asked = select(table.c.seq, table.c.recorded_at).where(table.c.seq.in_(seqs))
        found |= {seq: at for seq, at in conn.execute(asked)}  # noqa: C416  rows, not pairs
    return found
