"""When labels came: the newest one of a model, and how late it was."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from continualml.store.tables import labels, observations


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestLabel:
    """When it was recorded, in seconds since 1970, and how long after its observation."""

    recorded_at: float
    lag_s: float


def newest_label(conn: Connection, model: str) -> NewestLabel | None:
    """Find the newest first label that came after its observation; None without any."""
    asked = (
        select(labels.c.recorded_at, observations.c.recorded_at.label("observed_at"))
        .join(
            observations,
            (observations.c.model == labels.c.model)
            & (observations.c.observation_id == labels.c.observation_id),
        )
        .where(labels.c.model == model, labels.c.first.is_(True), labels.c.early.is_(False))
        .order_by(labels.c.seq.desc())
        .limit(1)
    )
    row = conn.execute(asked).one_or_none()
    if row is None:
        return None
    return NewestLabel(recorded_at=row.recorded_at, lag_s=row.recorded_at - row.observed_at)
