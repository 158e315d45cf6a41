"""Sessions that people ended before their time: a file that all of a data directory share.

Only names are in it, nothing that would open a session. It stays small: whose time is over anyway
is dropped, and of too many the ones with the least time left, together with all that have no more.
"""

import fcntl
import os
import tempfile
import threading
from pathlib import Path
from typing import Final

from continualml.errors import InputError, Said

_ALL: Final = "*"


class Ended:
    """Remembers which sessions were ended; ``look`` reads what other processes ended.

    Parameters
    ----------
    path
        The file; none is there until a session is ended.
    lock
        A file that is there and stays, which whoever changes the other one holds.
    most
        How many are remembered, at least 1.
    """

    def __init__(self, path: Path, lock: Path, *, most: int = 10_000) -> None:
        self._path, self._lock, self._most = path, lock, most
        self._ended: dict[str, int] = {}
        self._seen: tuple[int, int] | None = None
        self._changing = threading.Lock()

    def has(self, name: str, ends: int) -> bool:
        """Say whether this session, which would last until ``ends``, was ended."""
        return name in self._ended or ends <= self._ended.get(_ALL, 0)

    def add(self, name: str, ends: int, now: float) -> None:
        """End a session, for every process and for those that start later.

        Parameters
        ----------
        ends, now
            Seconds since 1970.

        Raises
        ------
        OSError
            If the file cannot be written; the session goes on then.
        """
        with self._changing, self._lock.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            ended = {n: e for n, e in (*self._read().items(), (name, ends)) if e > now}
            if len(ended) > self._most:
                kept = sorted(ended.items(), key=lambda one: one[1], reverse=True)
                dropped = kept[self._most - 1 :]
                over = max(dropped[0][1], ended.get(_ALL, 0))
                ended = dict(kept[: self._most - 1]) | {_ALL: over}
            self._write(ended)
            self._ended = ended

    def look(self) -> None:
        """Read the file if it changed.

        Raises
        ------
        InputError
            If it was written by something else.
        """
        with self._changing:
            try:
                there = self._path.stat()
            except FileNotFoundError:
                return
            seen = (there.st_mtime_ns, there.st_ino)
            if seen != self._seen:
                self._ended = self._read()
                self._seen = seen

    def _read(self) -> dict[str, int]:
        try:
            lines = self._path.read_text("ascii").splitlines()
            return {name: int(ends) for name, ends in (line.split(" ") for line in lines)}
        except FileNotFoundError:
            return {}
        except ValueError:
            raise InputError(
                str(self._path),
                expected="a session and its end on each line",
                got=Said("something else"),
                remedy="remove it, and session.key too: then all sessions end",
            ) from None

    def _write(self, ended: dict[str, int]) -> None:
        fresh, name = tempfile.mkstemp(dir=self._path.parent, prefix=f"{self._path.name}.")
        with os.fdopen(fresh, "w", encoding="ascii") as out:
            out.writelines(f"{name} {ends}\n" for name, ends in ended.items())
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(self._path)
