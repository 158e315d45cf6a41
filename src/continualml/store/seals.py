"""Seals: each stretch of the log by a hash of its rows, chained to the stretch before.

A database finds pages that do not hang together, not bytes that changed inside a row. What the loop
reads was put there once and never changes; so its hash tells whether it still is what it was.
"""

import hashlib
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, Engine, insert, select

from continualml.store import log
from continualml.store.engine import read, write
from continualml.store.tables import intake, labels, observations, outcomes, seals

ROWS = 1_000
_GENESIS = "0" * 64
_LOGGED = (observations, labels, outcomes, intake)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """The rows numbered from ``first`` to ``last``, by a hash that takes in the seal before."""

    first: int
    last: int
    hash: str


def seal_next(engine: Engine) -> bool:
    """Seal the next stretch, if so many rows have come; False if not, or if another was faster."""
    with read(engine) as conn:
        before = _newest(conn)
        first = before.last + 1 if before else 1
        last = first + ROWS - 1
        if log.last_seq(conn) < last:
            return False
        new = Seal(first=first, last=last, hash=_hash(conn, first, last, before))
    with write(engine) as conn:
        if _newest(conn) != before:
            return False
        conn.execute(insert(seals).values(first=new.first, last=new.last, hash=new.hash))
    return True


def broken(conn: Connection, *, above: int = 0) -> tuple[int, Seal | None]:
    """Hash every sealed stretch anew: how many were looked at, and the first that differs.

    Parameters
    ----------
    above
        Stretches that begin at or below this number are believed: rows of theirs were collected.
    """
    before, seen = None, 0
    for row in conn.execute(select(seals).order_by(seals.c.last)).all():
        one = Seal(first=row.first, last=row.last, hash=row.hash)
        follows = one.first == (before.last + 1 if before else 1)
        if not follows:
            return seen, one
        if one.first > above:
            seen += 1
            if _hash(conn, one.first, one.last, before) != one.hash:
                return seen, one
        before = one
    return seen, None


def _newest(conn: Connection) -> Seal | None:
    row = conn.execute(select(seals).order_by(seals.c.last.desc()).limit(1)).one_or_none()
    return None if row is None else Seal(first=row.first, last=row.last, hash=row.hash)


def _hash(conn: Connection, first: int, last: int, before: Seal | None) -> str:
    digest = hashlib.sha256((before.hash if before else _GENESIS).encode())
    for table in _LOGGED:
        asked = select(table).where(table.c.seq >= first, table.c.seq <= last)
        rows = [tuple(row) for row in conn.execute(asked.order_by(table.c.seq))]
        digest.update(msgspec.msgpack.encode((str(table.name), rows)))
    return digest.hexdigest()
