"""Who may not try to log in for a while, after too many wrong secrets: pure, in bounded room."""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failed:
    times: int
    last: float
    until: float


class Lockout:
    """Counts what failed by whom; each lock lasts twice as long as the one before.

    Of those who failed, the ones that were seen longest ago are forgotten first.

    Parameters
    ----------
    free
        Failures that lock nobody out, at least 1.
    first_s, longest_s
        How long the first lock lasts, and the longest; also how long failures are remembered.
    most
        How many are remembered, at least 1.
    """

    def __init__(self, *, free: int, first_s: float, longest_s: float, most: int = 10_000) -> None:
        self._free, self._first_s, self._longest_s, self._most = free, first_s, longest_s, most
        self._failed: OrderedDict[str, _Failed] = OrderedDict()

    def wait_s(self, who: str, now: float) -> float:
        """Say how long this one is still locked out; 0.0 for not at all.

        Parameters
        ----------
        now
            Seconds of a monotonic clock.
        """
        there = self._failed.get(who)
        return max(0.0, there.until - now) if there else 0.0

    def failed(self, who: str, now: float) -> None:
        """Count a failure."""
        there = self._failed.pop(who, None)
        times = 1 if there is None or now - there.last > self._longest_s else there.times + 1
        over = times - self._free
        lock_s = min(self._first_s * 2.0 ** min(over, 30), self._longest_s) if over >= 0 else 0.0
        self._failed[who] = _Failed(times=times, last=now, until=now + lock_s)
        while len(self._failed) > self._most:
            self._failed.popitem(last=False)

    def succeeded(self, who: str) -> None:
        """Forget the failures of one who knew the secret."""
        self._failed.pop(who, None)

    def __len__(self) -> int:
        """Count those who are remembered."""
        return len(self._failed)
