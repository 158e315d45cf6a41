"""How long a PostgreSQL server is waited for: one that went without a word is given up.

The kernel tells of a machine that is gone, once it was asked to look; of a server that hangs, or a
proxy that holds a dead connection, nobody tells.
"""

import time
from collections.abc import Generator, Mapping
from typing import Any, Final, TypeVar

import psycopg

T = TypeVar("T")
# As libpq names them; what the URL says goes before. Seconds, but for the last but one.
_USUAL: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    # Of several hosts the one that takes rows: after a failover that is another one.
    "target_session_attrs": "read-write",
}
_SILENT_S: Final = 30.0


class Patient(psycopg.Connection[Any]):
    """A connection that is closed when its server says nothing for half a minute.

    ``most_s`` is another time, where a statement may well take longer than that.
    """

    most_s: float | None = None

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Wait for what the server says to a statement.

        Raises
        ------
        OperationalError
            If it says nothing at all for too long; the connection is closed then.
        """
        return super().wait(self._heard(gen), *args, **kwargs)

    def _heard(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """Pass on what psycopg's loop says ten times a second: whether the socket is ready."""
        most_s = _SILENT_S if self.most_s is None else self.most_s
        until = time.monotonic() + most_s
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                now = time.monotonic()
                if ready:
                    until = now + most_s
                elif now > until:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"it has said nothing for {most_s:.0f} s")
                wanted = gen.send(ready)
        except StopIteration as ended:
            result: T = ended.value
            return result


def connect(said: Mapping[str, Any]) -> Patient:
    """Open a connection with these parameters of libpq.

    Raises
    ------
    OperationalError
        If no server that takes rows answers in time.
    """
    return Patient.connect(**{**_USUAL, **said})
