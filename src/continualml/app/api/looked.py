"""What was computed for those who only look: one at a time, kept for a moment, in bounded room."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar

T = TypeVar("T")
_KEPT: Final = 64


class Looked:
    """Answers that were computed lately; while one is computed, the others wait for their turn.

    So however many pages are open, serving meets one computation at a time, and the same one at
    most once in ``keep_s`` seconds.

    Parameters
    ----------
    keep_s
        How old an answer may be, in seconds.
    """

    def __init__(self, *, keep_s: float = 2.0) -> None:
        self._keep_s = keep_s
        self._turn = threading.Lock()
        self._known: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    def at(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Give what is known under the key, or compute it; an error is not kept."""
        with self._turn:
            there = self._known.get(key)
            if there is not None and time.monotonic() - there[0] <= self._keep_s:
                found: T = there[1]
                return found
            found = compute()
            self._known[key] = (time.monotonic(), found)
            self._known.move_to_end(key)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
            return found
