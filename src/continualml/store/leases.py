"""Leases: who may turn a loop, or send a message, now."""

from sqlalchemy import Connection, Engine, delete, insert, select

from continualml import clock
from continualml.store.engine import read, write
from continualml.store.tables import leases

# What is noted by ``beat``: a scheduled turn went well, a late run skipped itself, the timer looks.
TURNED, SKIPPED, TIMER = "scheduled-cycle", "scheduled-skip", "timer"


def acquire(engine: Engine, name: str, holder: str, ttl_s: float) -> bool:
    """Take or renew a lease for ``ttl_s`` seconds; False while another holds it.

    A lease that was taken in the future has been taken by a clock that was set back since: it
    counts as run out, so that nobody waits for the clock.
    """
    with write(engine) as conn:
        return acquire_in(conn, name, holder, ttl_s)


def acquire_in(conn: Connection, name: str, holder: str, ttl_s: float) -> bool:
    """Take a lease as ``acquire`` does, inside a transaction that writes."""
    # Not before: a lease that was taken while this one waited to write is not of the future.
    now = clock.now().timestamp()
    row = conn.execute(select(leases).where(leases.c.name == name)).one_or_none()
    if row and row.holder != holder and row.taken_at <= now < row.expires_at:
        return False
    conn.execute(delete(leases).where(leases.c.name == name))
    conn.execute(
        insert(leases).values(name=name, holder=holder, taken_at=now, expires_at=now + ttl_s)
    )
    return True


def release(engine: Engine, name: str, holder: str) -> None:
    """Give a lease back; nothing happens when another holds it by now."""
    with write(engine) as conn:
        conn.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))


def beat(engine: Engine, name: str) -> None:
    """Note that something happened now, for ``last_beat``."""
    now = clock.now().timestamp()
    with write(engine) as conn:
        conn.execute(delete(leases).where(leases.c.name == name))
        conn.execute(insert(leases).values(name=name, holder="", taken_at=now, expires_at=now))


def last_beat(engine: Engine, name: str) -> float | None:
    """Return when it last happened, in seconds since 1970; None when it never did."""
    with read(engine) as conn:
        return last_beat_in(conn, name)


def last_beat_in(conn: Connection, name: str) -> float | None:
    """Return the same as ``last_beat``, inside a transaction."""
    return conn.execute(select(leases.c.taken_at).where(leases.c.name == name)).scalar()
