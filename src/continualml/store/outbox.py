"""The outbox: messages to the outside world, written with the decision that causes them."""

import json
from dataclasses import dataclass

from sqlalchemy import Connection, case, delete, func, insert, select, update

from continualml import clock
from continualml.records import Json
from continualml.store.tables import outbox

WAITING, DELIVERED, REFUSED = "waiting", "delivered", "refused"
# No message is put off for longer: one that is due later was put off by a clock that has been set
# back since.
_LONGEST_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message; ``attempts`` of its deliveries failed in a row, all as ``last_error`` says."""

    id: int
    destination: str
    body: Json
    attempts: int
    last_error: str | None = None


def enqueue(conn: Connection, destination: str, body: Json) -> None:
    """Leave a message for the courier."""
    conn.execute(
        insert(outbox).values(
            destination=destination,
            body=json.dumps(body),
            state=WAITING,
            attempts=0,
            due_at=0.0,
            recorded_at=clock.now().timestamp(),
        )
    )


def enqueue_once(conn: Connection, destination: str, body: Json) -> None:
    """Leave a message unless an equal one waits already."""
    asked = select(func.count()).where(
        outbox.c.destination == destination,
        outbox.c.state == WAITING,
        outbox.c.body == json.dumps(body),
    )
    if not conn.execute(asked).scalar_one():
        enqueue(conn, destination, body)


def due(conn: Connection, destination: str, limit: int = 100) -> list[Message]:
    """Read what waits, the oldest first; nothing until the oldest may be tried again.

    A later message never overtakes one that failed: an alias would end where it pointed before.
    A clock that is set back by hours does not hold messages up for hours.
    """
    now = clock.now().timestamp()
    asked = (
        select(outbox)
        .where(outbox.c.destination == destination, outbox.c.state == WAITING)
        .order_by(outbox.c.id)
        .limit(limit)
    )
    found = conn.execute(asked).all()
    if not found or now < found[0].due_at <= now + _LONGEST_S:
        return []
    return [
        Message(
            id=r.id,
            destination=r.destination,
            body=json.loads(r.body),
            attempts=r.attempts,
            last_error=r.last_error,
        )
        for r in found
    ]


def failing(conn: Connection, destination: str) -> str | None:
    """Say why the oldest waiting message could not be delivered; None when it was not tried."""
    asked = (
        select(outbox.c.last_error)
        .where(outbox.c.destination == destination, outbox.c.state == WAITING)
        .order_by(outbox.c.id)
        .limit(1)
    )
    return conn.execute(asked).scalar()


def waits_s(conn: Connection, destination: str) -> float | None:
    """Return how many seconds the oldest message has waited; None when none waits."""
    oldest = conn.execute(
        select(func.min(outbox.c.recorded_at)).where(
            outbox.c.destination == destination, outbox.c.state == WAITING
        )
    ).scalar()
    return None if oldest is None else clock.now().timestamp() - float(oldest)


def last_refusal(conn: Connection, destination: str) -> str | None:
    """Return why the newest message that was refused was; None when none was."""
    asked = (
        select(outbox.c.last_error)
        .where(outbox.c.destination == destination, outbox.c.state == REFUSED)
        .order_by(outbox.c.id.desc())
        .limit(1)
    )
    return conn.execute(asked).scalar()


def delivered(conn: Connection, message_id: int) -> None:
    """Mark a message as arrived."""
    conn.execute(update(outbox).where(outbox.c.id == message_id).values(state=DELIVERED))


def gone(conn: Connection, message_id: int) -> None:
    """Forget a message that arrived and that nobody will ask for again."""
    conn.execute(delete(outbox).where(outbox.c.id == message_id))


def refused(conn: Connection, message_id: int, because: str) -> None:
    """Park a message that no retry will heal."""
    conn.execute(
        update(outbox).where(outbox.c.id == message_id).values(state=REFUSED, last_error=because)
    )


def retry(conn: Connection, message_id: int, because: str, after_s: float) -> None:
    """Try a message again later, within ten minutes."""
    due_at = clock.now().timestamp() + min(after_s, _LONGEST_S)
    again = case((outbox.c.last_error == because, outbox.c.attempts + 1), else_=1)
    conn.execute(
        update(outbox)
        .where(outbox.c.id == message_id)
        .values(attempts=again, due_at=due_at, last_error=because)
    )


def postpone(conn: Connection, message_id: int, after_s: float) -> None:
    """Try a message later, within ten minutes, that nothing is wrong with."""
    due_at = clock.now().timestamp() + min(after_s, _LONGEST_S)
    conn.execute(update(outbox).where(outbox.c.id == message_id).values(due_at=due_at))


def counts(conn: Connection, destination: str) -> dict[str, int]:
    """Count a destination's messages by state."""
    asked = (
        select(outbox.c.state, func.count())
        .where(outbox.c.destination == destination)
        .group_by(outbox.c.state)
    )
    return {state: n for state, n in conn.execute(asked)}  # noqa: C416  rows, not pairs


def destinations(conn: Connection) -> list[str]:
    """Name those to whom there was ever a message."""
    asked = select(outbox.c.destination).distinct().order_by(outbox.c.destination)
    return list(conn.execute(asked).scalars())


def make_due(conn: Connection, destination: str) -> None:
    """Let what waits be tried at once."""
    conn.execute(
        update(outbox)
        .where(outbox.c.destination == destination, outbox.c.state == WAITING)
        .values(due_at=0.0)
    )
