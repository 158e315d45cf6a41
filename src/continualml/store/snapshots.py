"""Snapshots of the loop's standing: a cache, which a fold over the outcomes replaces."""

import msgspec
from sqlalchemy import Connection, delete, insert, select

from continualml.records import Json
from continualml.store.tables import snapshots


class _Report(msgspec.Struct, frozen=True):
    """The part of a snapshot that is for those who only look."""

    report: Json


def get(conn: Connection, model: str) -> tuple[int, bytes] | None:
    """Read the number of the last outcome taken in, and the snapshot after it."""
    row = conn.execute(
        select(snapshots.c.seq, snapshots.c.body).where(snapshots.c.model == model)
    ).one_or_none()
    return None if row is None else (row.seq, row.body)


def report(conn: Connection, model: str) -> Json | None:
    """Read what the last turn left for those who only look; None without a first champion."""
    there = get(conn, model)
    return None if there is None else msgspec.json.decode(there[1], type=_Report).report


def put(conn: Connection, model: str, seq: int, body: bytes) -> None:
    """Replace the snapshot."""
    conn.execute(delete(snapshots).where(snapshots.c.model == model))
    conn.execute(insert(snapshots).values(model=model, seq=seq, body=body))
