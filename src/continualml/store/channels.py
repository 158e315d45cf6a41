"""Channels: where people are told, how far each is, and which take nothing until somebody acts."""

import json
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update

from continualml import clock
from continualml.records import Json
from continualml.store import outbox
from continualml.store.tables import channels, ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel as it stands.

    Parameters
    ----------
    key
        Tells whether the address is still the same one, without holding it.
    told
        Number of the last entry of the ledger that was looked at for it.
    digested_at
        When its last digest was written, in seconds since 1970.
    living
        Id, there, of the one message that is edited in place.
    parked
        Why it takes nothing any more; None while it does.
    watched
        What was said last of each component.
    """

    name: str
    key: str
    told: int
    digested_at: float
    living: str | None
    parked: str | None
    watched: Json


def opened(conn: Connection, name: str, key: str) -> Channel:
    """Begin a channel at the end of the ledger, or go on where it is.

    Another address than before is another place: it is not parked, and has no living message.
    """
    there = get(conn, name)
    if there is None:
        last = conn.execute(select(func.max(ledger.c.n))).scalar() or 0
        now = clock.now().timestamp()
        new = Channel(
            name=name, key=key, told=last, digested_at=now, living=None, parked=None, watched={}
        )
        conn.execute(
            insert(channels).values(
                name=name, key=key, told=last, digested_at=now, watched=json.dumps({})
            )
        )
        return new
    if there.key != key:
        _set(conn, name, key=key, living=None, parked=None)
        outbox.make_due(conn, name)
    return get(conn, name) or there


def get(conn: Connection, name: str) -> Channel | None:
    """Read one; None before a courier has opened it."""
    row = conn.execute(select(channels).where(channels.c.name == name)).one_or_none()
    if row is None:
        return None
    return Channel(
        name=row.name,
        key=row.key,
        told=row.told,
        digested_at=row.digested_at,
        living=row.living,
        parked=row.parked,
        watched=json.loads(row.watched),
    )


def told(conn: Connection, name: str, n: int) -> None:
    """Note that the ledger was looked at up to entry ``n``."""
    _set(conn, name, told=n)


def digested(conn: Connection, name: str, at: float) -> None:
    """Note that a digest was written."""
    _set(conn, name, digested_at=at)


def watched(conn: Connection, name: str, what: Json) -> None:
    """Note what was said of each component."""
    _set(conn, name, watched=json.dumps(what))


def living(conn: Connection, name: str, message: str | None) -> None:
    """Note which message is edited in place; None: the next one is."""
    _set(conn, name, living=message)


def park(conn: Connection, name: str, because: str) -> None:
    """Send nothing more until somebody acts; messages wait meanwhile."""
    _set(conn, name, parked=because)


def unpark(conn: Connection, name: str) -> bool:
    """Send again what waits; False when it was not parked."""
    there = get(conn, name)
    if there is None or there.parked is None:
        return False
    _set(conn, name, parked=None)
    outbox.make_due(conn, name)
    return True


def _set(conn: Connection, name: str, **values: object) -> None:
    conn.execute(update(channels).where(channels.c.name == name).values(**values))
