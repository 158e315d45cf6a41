"""Turns of the loop that failed, one row a model: they stay until its next turn goes well."""

from sqlalchemy import Connection, Engine, delete, insert, select

from continualml import clock
from continualml.store.engine import read, write
from continualml.store.tables import failed_turns

_LONGEST = 300


def note(engine: Engine, model: str, error: Exception) -> None:
    """Note why a model's turn failed, for those who look from other processes."""
    because = f"{type(error).__name__}: {error}"[:_LONGEST]
    now = clock.now().timestamp()
    with write(engine) as conn:
        conn.execute(delete(failed_turns).where(failed_turns.c.model == model))
        conn.execute(insert(failed_turns).values(model=model, because=because, recorded_at=now))


def clear(engine: Engine, model: str) -> None:
    """Forget it, as a turn went well."""
    with read(engine) as conn:
        if model not in listed(conn):
            return
    with write(engine) as conn:
        conn.execute(delete(failed_turns).where(failed_turns.c.model == model))


def listed(conn: Connection) -> dict[str, str]:
    """Read which models' last turns failed, and why."""
    asked = select(failed_turns.c.model, failed_turns.c.because).order_by(failed_turns.c.model)
    return {model: because for model, because in conn.execute(asked)}  # noqa: C416  rows, not pairs
