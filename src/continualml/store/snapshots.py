"""Snapshots of the loop's standing: a cache, which a fold over the outcomes replaces."""

from sqlalchemy import Connection, delete, insert, select

from continualml.store.tables import snapshots


def get(conn: Connection, model: str) -> tuple[int, bytes] | None:
    """Read the number of the last outcome taken in, and the snapshot after it."""
    row = conn.execute(
        select(snapshots.c.seq, snapshots.c.body).where(snapshots.c.model == model)
    ).one_or_none()
    return None if row is None else (row.seq, row.body)


def put(conn: Connection, model: str, seq: int, body: bytes) -> None:
    """Replace the snapshot."""
    conn.execute(delete(snapshots).where(snapshots.c.model == model))
    conn.execute(insert(snapshots).values(model=model, seq=seq, body=body))
