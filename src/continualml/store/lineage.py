"""What the log says of one observation: its number, its labels."""

from sqlalchemy import Connection, select

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
        select(labels.c.revision, labels.c.label, labels.c.recorded_at)
        .where(labels.c.model == model, labels.c.observation_id == observation_id)
        .order_by(labels.c.revision)
    )
    return [
        {"revision": revision, "label": label, "recorded_at": recorded_at}
        for revision, label, recorded_at in conn.execute(asked)
    ]
