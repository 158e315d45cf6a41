"""What serving processes answered and refused: rows of the log that the loop reads in order."""

from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection, insert, select

from continualml.records import Counted
from continualml.store.engine import take_numbers
from continualml.store.tables import intake


def append(
    conn: Connection,
    model: str,
    *,
    answered: int,
    refused: int,
    fields: Mapping[str, int],
    recorded_at: float,
) -> int:
    """Append what one process answered and refused since its row before; return its number."""
    seq = take_numbers(conn, 1)
    row = {
        "seq": seq,
        "model": model,
        "answered": answered,
        "refused": refused,
        "fields": msgspec.json.encode(fields).decode(),
        "recorded_at": recorded_at,
    }
    conn.execute(insert(intake).values(**row))
    return seq


def counted(conn: Connection, model: str, after: int, *, upto: int, limit: int) -> list[Counted]:
    """Read the next rows of a model after one number and up to another."""
    asked = (
        select(intake.c.seq, intake.c.answered, intake.c.refused, intake.c.fields)
        .where(intake.c.model == model, intake.c.seq > after, intake.c.seq <= upto)
        .order_by(intake.c.seq)
        .limit(limit)
    )
    return [
        Counted(
            seq=seq,
            answered=answered,
            refused=refused,
            fields=msgspec.json.decode(fields, type=dict[str, int]),
        )
        for seq, answered, refused, fields in conn.execute(asked)
    ]


def refused_after(conn: Connection, model: str, after: int) -> bool:
    """Tell whether any row after the number has refusals."""
    asked = (
        select(intake.c.seq)
        .where(intake.c.model == model, intake.c.seq > after, intake.c.refused > 0)
        .limit(1)
    )
    return conn.execute(asked).first() is not None
