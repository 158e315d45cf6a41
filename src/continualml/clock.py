"""The machine's two clocks: store, loop and courier ask them here, and nowhere else.

Nothing that is decided depends on them (law 1). Leases, retries and what is noted for people do;
in the simulation of the loop this is the place where its time comes in.
"""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the time of day, in UTC; it may be set forwards and backwards."""
    return datetime.now(UTC)


def steady_s() -> float:
    """Return seconds since some beginning; they only ever grow."""
    return time.monotonic()
