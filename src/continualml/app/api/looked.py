"""What was computed for those who only look: one at a time, kept for a moment, in bounded room."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar

from continualml.app.api.problems import ProblemError

T = TypeVar("T")
_KEPT: Final = 8  # an answer may be some megabytes large
# Each who waits holds one of the 40 threads that health and metrics are read in as well.
_MOST_WAITING: Final = 8


class Looked:
    """Answers that were computed lately; while one is computed, the others wait for their turn.

    So however many pages are open, serving meets one computation at a time, and the same one at
    most once in ``keep_s`` seconds.

    Parameters
    ----------
    keep_s
        How old an answer may be, in seconds; an older one is dropped with the next call.
    """

    def __init__(self, *, keep_s: float = 2.0) -> None:
        self._keep_s = keep_s
        self._turn = threading.Lock()
        self._room = threading.Lock()  # held for a moment: of what is known, and who is here
        self._known: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
        self._here = 0

    def __len__(self) -> int:
        """Count the answers that are kept."""
        return len(self._known)

    def at(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Give what is known under the key, or compute it; an error is not kept.

        Raises
        ------
        ProblemError
            503 while too many wait already.
        """
        with self._room:
            there = self._young(key)
            if there is not None:
                known: T = there[1]
                return known
            if self._here > _MOST_WAITING:  # one of them computes
                raise ProblemError(
                    503,
                    "too-many-look",
                    f"{_MOST_WAITING} others wait for what is computed one after the other",
                    headers={"Retry-After": "2"},
                    remedy="look again later",
                )
            self._here += 1
        try:
            with self._turn:
                return self._computed(key, compute)
        finally:
            with self._room:
                self._here -= 1

    def _computed(self, key: Hashable, compute: Callable[[], T]) -> T:
        with self._room:
            there = self._young(key)  # somebody may have computed it meanwhile
        found: T = compute() if there is None else there[1]
        if there is None:
            with self._room:
                self._known[key] = (time.monotonic(), found)
                while len(self._known) > _KEPT:
                    self._known.popitem(last=False)
        return found

    def _young(self, key: Hashable) -> tuple[float, Any] | None:
        """Drop what is too old, the oldest first; give what is left under the key."""
        oldest = time.monotonic() - self._keep_s
        while self._known and next(iter(self._known.values()))[0] < oldest:
            self._known.popitem(last=False)
        return self._known.get(key)
