"""Seals: each stretch of the log by a hash of its rows, chained to the stretch before.

A database finds pages that do not hang together, not bytes that changed inside a row. What the loop
reads was put there once and never changes; so its hash tells whether it still is what it was.
"""

import hashlib
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, func, insert, select

from continualml.store import log
from continualml.store.engine import StoreDamagedError, read, write
from continualml.store.tables import intake, labels, observations, outcomes, seals

ROWS = 1_000
_GENESIS = "0" * 64
_LOGGED = (observations, labels, outcomes, intake)
# The rows of a stretch, by the name of their table; a row's number stands first.
_Rows = list[tuple[str, list[tuple[Any, ...]]]]


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
        new = Seal(first=first, last=last, hash=_digest(_rows(conn, first, last), before))
    with write(engine) as conn:
        if _newest(conn) != before:
            return False
        conn.execute(insert(seals).values(first=new.first, last=new.last, hash=new.hash))
    return True


def reach(conn: Connection) -> int:
    """Return the last number that is sealed, or will be as soon as somebody seals."""
    last = newest(conn)
    return last + max(log.last_seq(conn) - last, 0) // ROWS * ROWS


def newest(conn: Connection) -> int:
    """Return the last number that is sealed; 0 before there is a seal."""
    found = _newest(conn)
    return found.last if found else 0


def without(
    conn: Connection, numbers: AbstractSet[int], left: Mapping[int, str]
) -> tuple[tuple[int, str], ...]:
    """Hash what will be left of the sealed stretches when rows of these numbers are gone.

    Parameters
    ----------
    left
        Hashes of the stretches, by their last number, in which rows were collected before.

    Returns
    -------
    The last number of each stretch that has such rows, and the hash of what will be left.

    Raises
    ------
    StoreDamagedError
        If one of them is not what it was when sealed: nobody would find that afterwards.
    """
    found = []
    stretches = {(n - 1) // ROWS for n in numbers}
    for one, before in _stretches(conn, min(numbers, default=1), max(numbers, default=0)):
        if stretches.isdisjoint(range((one.first - 1) // ROWS, (one.last - 1) // ROWS + 1)):
            continue
        rows = _rows(conn, one.first, one.last)
        if _digest(rows, before) != left.get(one.last, one.hash):
            raise StoreDamagedError(f"rows {one.first} to {one.last}: not what they were sealed as")
        kept = [(name, [row for row in some if row[0] not in numbers]) for name, some in rows]
        found.append((one.last, _digest(kept, before)))
    return tuple(found)


def broken(conn: Connection, left: Mapping[int, str]) -> tuple[int, Seal | None]:
    """Hash every sealed stretch anew: how many were looked at, and the first that differs.

    Parameters
    ----------
    left
        Hashes of the stretches, by their last number, in which rows were collected.
    """
    expected, seen = 1, 0
    for one, before in _stretches(conn, 1, None):
        if one.first != expected:
            return seen, one
        seen += 1
        if _digest(_rows(conn, one.first, one.last), before) != left.get(one.last, one.hash):
            return seen, one
        expected = one.last + 1
    return seen, None


def _stretches(
    conn: Connection, first: int, last: int | None
) -> Iterator[tuple[Seal, Seal | None]]:
    """Read the seals over these numbers, each with the one before it."""
    below = select(func.coalesce(func.max(seals.c.last), 0)).where(seals.c.last < first)
    asked = select(seals).where(seals.c.last >= below.scalar_subquery()).order_by(seals.c.last)
    asked = asked if last is None else asked.where(seals.c.first <= last)
    before: Seal | None = None
    for row in conn.execute(asked).all():
        one = Seal(first=row.first, last=row.last, hash=row.hash)
        if one.last >= first:
            yield one, before
        before = one


def _newest(conn: Connection) -> Seal | None:
    row = conn.execute(select(seals).order_by(seals.c.last.desc()).limit(1)).one_or_none()
    return None if row is None else Seal(first=row.first, last=row.last, hash=row.hash)


def _rows(conn: Connection, first: int, last: int) -> _Rows:
    found: _Rows = []
    for table in _LOGGED:
        asked = select(table).where(table.c.seq >= first, table.c.seq <= last)
        rows = [tuple(row) for row in conn.execute(asked.order_by(table.c.seq))]
        found.append((str(table.name), rows))
    return found


def _digest(rows: _Rows, before: Seal | None) -> str:
    digest = hashlib.sha256((before.hash if before else _GENESIS).encode())
    for some in rows:
        digest.update(msgspec.msgpack.encode(some))
    return digest.hexdigest()
