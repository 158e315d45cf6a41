"""A process that commits for an event loop: a thread would wait for the interpreter's lock.

A thread that commits eight rows needs the lock three times, and beside a busy event loop it waits
each time: 400 us instead of 220, and the loop waits for it in turn. The process runs this file as
a script and imports nothing but what is here. It has no say: what it did not commit, whatever the
reason, is left to the thread, which finds the reason out. So it may be killed at any time.
"""

import marshal
import socket
import sqlite3
import sys
import time

Value = str | bytes | float | None
_BUSY_S = 10.0
_BETWEEN_S = 0.0003
LARGEST = 128 * 1024  # bytes of one message, which a socket of this kind takes whole
COMMITTED, LEFT = b"\x01", b"\x00"


def message(sql: str, values: tuple[Value, ...]) -> bytes:
    """Make what ``serve`` reads: a statement and its values, of Python's plain types."""
    return marshal.dumps((sql, values))


def serve(asked: socket.socket, database: str, script: str) -> None:
    """Execute each statement in a transaction of its own and answer, until nobody asks any more.

    Parameters
    ----------
    asked
        Of the kind SEQPACKET.
    script
        SQL that sets the connection up.
    """
    connection = sqlite3.connect(database, isolation_level=None)
    connection.executescript(script)
    # SQLite waits longer each time, up to 100 ms: of two busy processes one would starve.
    connection.execute("PRAGMA busy_timeout=0")
    while said := asked.recv(LARGEST):
        # From the process that started this one, and nobody else has the other end.
        sql, values = marshal.loads(said)  # noqa: S302  # nosec B302
        asked.send(COMMITTED if _executes(connection, sql, values) else LEFT)
    connection.close()


def _executes(connection: sqlite3.Connection, sql: str, values: tuple[Value, ...]) -> bool:
    """Execute a statement as soon as no other process writes."""
    until = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute(sql, values)
        except sqlite3.Error as error:
            if "locked" not in str(error) or time.monotonic() > until:
                return False
            time.sleep(_BETWEEN_S)
        else:
            return True


if __name__ == "__main__":
    import signal

    # It ends when the process that started it does: a Ctrl-C must not take it away before.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], sys.argv[3])
