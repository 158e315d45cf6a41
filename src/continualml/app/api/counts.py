"""What serving processes count: each in memory of its own, which all of one server can read.

Every worker has a file, mapped into its memory, in a directory that the server's start makes
anew. So whichever worker is asked adds up all of them as they are at that moment, what a killed one
counted stays counted, and one that is started in its place goes on in its file.
"""

import fcntl
import mmap
import os
import shutil
import socket
import threading
import uuid
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from loguru import logger

from continualml.settings import Settings

# Upper edges in seconds; what is slower than all of them has a place of its own.
BOUNDS = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
DIRECTORY = "CONTINUAL_COUNTS"  # in the environment of the workers of one server
REQUESTS, PREDICTIONS, LABELS, SWAPS = "requests", "predictions", "labels", "swaps"
ANSWERS, QUEUED = "answers", "queued"
_WORD = 8
_SUM = len(BOUNDS) + 1
_KEY_WORDS = 32  # the key's length in bytes, then the key
_SLOT_WORDS = _KEY_WORDS + _SUM + 1
_LONGEST_KEY = (_KEY_WORDS - 1) * _WORD
_SLOTS = 512
_BYTES = _SLOTS * _SLOT_WORDS * _WORD
_APART = "\x1f"

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One thing that was counted: once, or by bucket of ``BOUNDS`` with the sum of seconds."""

    counts: tuple[int, ...]
    seconds: float

    def plus(self, other: "Cell") -> "Cell":
        """Add up what two workers counted."""
        both = zip(self.counts, other.counts, strict=True)
        return Cell(counts=tuple(a + b for a, b in both), seconds=self.seconds + other.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What one worker counted, and whether it still runs."""

    alive: bool
    cells: Mapping[Key, Cell]


class Counts:
    """The counts of one serving process; only its event loop may call ``observe`` and ``add``.

    Parameters
    ----------
    directory
        Where the workers of this server keep theirs; None for a server of one process.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._file = -1 if directory is None else _taken(directory)
        self._memory = mmap.mmap(self._file, _BYTES)
        self._words = memoryview(self._memory).cast("Q")
        self._reals = memoryview(self._memory).cast("d")
        self._places = {key: place for key, place in _slots(self._words)}  # noqa: C416  typed
        self._timed: dict[tuple[str, int], int] = {}
        self._making = threading.Lock()
        self._full = False

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered.

        Parameters
        ----------
        route
            As it is declared (``/models/{model}/predict``), so that there are few of them.
        """
        at = self._timed.get((route, status))
        if at is None:
            at = self._timed[route, status] = self._place((REQUESTS, route, str(status)))
        self._words[at + bisect_left(BOUNDS, seconds)] += 1
        self._reals[at + _SUM] += seconds

    def answered(self, model: str, rows: int) -> None:
        """Count rows for which a prediction was answered and logged."""
        self.add((PREDICTIONS, model), rows)

    def add(self, key: Key, n: int = 1) -> None:
        """Count ``n`` more of something."""
        at = self._places.get(key)
        self._words[self._place(key) if at is None else at] += n

    def put(self, key: Key, n: int) -> None:
        """Say how many of something there are now, at least 0; of each key by one thread."""
        at = self._places.get(key)
        self._words[self._place(key) if at is None else at] = n

    def value(self, key: Key) -> int:
        """Read what this process has counted of something; any thread may ask."""
        at = self._places.get(key)
        return 0 if at is None else int(self._words[at])

    def workers(self) -> list[Worker]:
        """Read the counts of every worker of this server, also of those that ended."""
        if self._directory is None:
            return [Worker(alive=True, cells=_cells(self._words))]
        return [_worker(path) for path in sorted(self._directory.glob("*.counts"))]

    def close(self) -> None:
        """Give the file to whoever comes next."""
        self._words.release()
        self._reals.release()
        self._memory.close()
        if self._file >= 0:
            os.close(self._file)

    def _place(self, key: Key) -> int:
        """Find the words of a key, or give it some; the last ones belong to all that find none."""
        with self._making:
            if key in self._places:
                return self._places[key]
            slot = len(self._places)
            if slot >= _SLOTS - 1:
                if not self._full:
                    logger.warning("more than {} things to count; {} is left out", _SLOTS - 1, key)
                self._full = True
                return (_SLOTS - 1) * _SLOT_WORDS + _KEY_WORDS
            start = slot * _SLOT_WORDS
            written = _APART.join(key).encode()[:_LONGEST_KEY]
            at = (start + 1) * _WORD
            self._memory[at : at + len(written)] = written
            self._words[start] = len(written)  # last: a reader takes no key that is half written
            self._places[key] = start + _KEY_WORDS
            return start + _KEY_WORDS


def begin(settings: Settings) -> Path:
    """Make the directory of a server's workers, empty; one address has one server.

    What the workers of a server before counted is gone with it, as Prometheus expects it.
    """
    here = settings.data / "counts" / f"{socket.gethostname()}-{settings.port}"
    if here.exists():
        shutil.rmtree(here)
    here.mkdir(parents=True)
    return here.absolute()


def _taken(directory: Path) -> int:
    """Open a file that no other process holds, one of a worker that ended if there is any."""
    fresh = (directory / f"{uuid.uuid4().hex}.counts" for _ in count())
    for path in chain(sorted(directory.glob("*.counts")), fresh):
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            continue
        # Without its blocks a full disk would end the process at the first count.
        os.posix_fallocate(file, 0, _BYTES)
        return file
    raise AssertionError  # ``fresh`` has no end


def _worker(path: Path) -> Worker:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            alive = True
        else:
            alive = False
            fcntl.flock(file, fcntl.LOCK_UN)
        data = file.read()
    whole = len(data) == _BYTES  # else it is being made
    return Worker(alive=alive, cells=_cells(memoryview(data).cast("Q")) if whole else {})


def _cells(words: memoryview) -> dict[Key, Cell]:
    found: dict[Key, Cell] = {}
    reals = words.cast("B").cast("d")
    for key, at in _slots(words):
        counts = tuple(words[at : at + _SUM].tolist())
        found[key] = Cell(counts=counts, seconds=reals[at + _SUM])
    return found


def _slots(words: memoryview) -> Iterator[tuple[Key, int]]:
    raw = words.cast("B")
    for start in range(0, (_SLOTS - 1) * _SLOT_WORDS, _SLOT_WORDS):
        size = words[start]
        if not size:
            return
        at = (start + 1) * _WORD
        key = bytes(raw[at : at + size]).decode("utf-8", "replace")
        yield tuple(key.split(_APART)), start + _KEY_WORDS
