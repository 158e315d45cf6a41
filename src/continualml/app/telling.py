"""What ``up`` says of the loop while it runs: decisions that matter, and how the replay goes."""

import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from continualml.records import LedgerEntry
from continualml.store import ledger, lineage
from continualml.store.engine import StoreUnavailableError, read

KINDS = ("first", "promote", "rollback", "alarm", "recover", "policy")
_LOOK_S = 1.0
_PROGRESS_S = 30.0
_MOST = 500


class Telling:
    """Looks now and then at the ledger and the replay's log, and says what is new.

    Parameters
    ----------
    stream
        Log file of the replay; only what is written to it from now on is read.
    say
        Prints one line for people.
    """

    def __init__(self, engine: Engine, stream: Path, say: Callable[[str], None]) -> None:
        self._engine = engine
        self._stream = stream
        self._say = say
        self._read_to = stream.stat().st_size if stream.exists() else 0
        self._part = ""
        self._progress = ""
        self._due = self._progress_due = 0.0
        with read(engine) as conn:
            newest = ledger.entries(conn, limit=1)
        self._n = newest[0].n if newest else 0

    def look(self) -> None:
        """Say what has happened since the last look; asking often costs nothing."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _LOOK_S
        self._ledger()
        for line in self._new_lines():
            if " rows, accuracy " in line:
                self._progress = line
            elif line.startswith("written:"):
                self._progress = ""
                self._say(f"stream     {line}")
        if self._progress and now >= self._progress_due:
            self._say(f"stream     {self._progress}")
            self._progress, self._progress_due = "", now + _PROGRESS_S

    def _ledger(self) -> None:
        try:
            with read(self._engine) as conn:
                new = ledger.entries(conn, kinds=KINDS, after=self._n, limit=_MOST)
                shown = lineage.shown(conn, new)
        except (SQLAlchemyError, StoreUnavailableError):
            return  # the store is busy or down, which others say; the next look reads on
        for entry in reversed(new):
            self._say(_line(entry, shown[entry.n]["rows"]))
            self._n = entry.n

    def _new_lines(self) -> list[str]:
        if not self._stream.exists():
            return []
        if self._stream.stat().st_size < self._read_to:  # it was cut
            self._read_to = 0
        with self._stream.open("rb") as file:
            file.seek(self._read_to)
            data = file.read()
        self._read_to += len(data)
        *whole, self._part = (self._part + data.decode("utf-8", "replace")).split("\n")
        return whole


def _line(entry: LedgerEntry, rows: int | None) -> str:
    d = entry.decision
    version = f"version {d.version}, " if d.version is not None else ""
    return f"{d.model}: {d.kind} ({version}{rows or 0} rows read): {d.because}"
