"""Who waits for the log: what goes into the next transaction, and who has waited too long.

Plain values, and a count of them that the event loop keeps; no thread and no database.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from continualml.model import Model
from continualml.store.engine import CommitUnknownError, StoreUnavailableError
from continualml.store.log import Labelled, Observed

_MOST_ROWS = 5_000
# Clients of ours give up a try after ten seconds, and would learn nothing then.
_PATIENCE_S = 8.0
_LOOK_S = 0.25
# Rows; whoever comes behind so many is told to come again.
MOST_WAITING = 100_000

# What a ticket gets depends on what it asked for; its sender knows which.
Answer = Any


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ticket:
    """One sender that waits: its rows, and how its event loop tells it what became of them."""

    rows: Sequence[Observed] = ()
    model: Model | None = None
    labels: Sequence[Labelled] = ()
    recorded_at: float = 0.0
    told: Callable[[Answer], None]

    @property
    def size(self) -> int:
        """Count its rows and labels."""
        return len(self.rows) + len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The tickets that go into one transaction, and those that are left for the next."""

    now: tuple[Ticket, ...]
    later: tuple[Ticket, ...]


def next_batch(waiting: Sequence[Ticket], most_rows: int = _MOST_ROWS) -> Batch:
    """Take tickets in order until ``most_rows`` rows are reached, at least one."""
    size = 0
    for i, ticket in enumerate(waiting):
        size += ticket.size
        if size > most_rows and i:
            return Batch(now=tuple(waiting[:i]), later=tuple(waiting[i:]))
    return Batch(now=tuple(waiting), later=())


def settle(future: "asyncio.Future[Answer]", answer: Answer) -> None:
    """Give a future what became of its request, unless its client has gone."""
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


class Waiting:
    """Who waits for an answer of the log; nobody waits for ever.

    Whom the database lets wait too long is told that the outcome is unknown, and until it answers
    again whoever comes is refused at once. The event loop alone changes it; any thread may ask
    whether a ticket still waits.
    """

    def __init__(self) -> None:
        self.closed = False
        self._since: dict[Ticket, float] = {}  # by the clock of the loop
        self._n = 0
        self._silent = False
        self._looking = False

    def __contains__(self, ticket: Ticket) -> bool:
        """Tell whether it was not told anything yet."""
        return ticket in self._since

    def refused(self) -> StoreUnavailableError | None:
        """Say why nothing more is taken now, if that is so."""
        if self.closed:
            return StoreUnavailableError("the writer has been closed")
        if self._silent:
            return StoreUnavailableError("the database has not answered for a while")
        if self._n > MOST_WAITING:
            return StoreUnavailableError(f"{self._n} rows wait already")
        return None

    def add(self, ticket: Ticket, loop: asyncio.AbstractEventLoop) -> None:
        """Let one more wait."""
        self._since[ticket] = loop.time()
        self._n += ticket.size
        if not self._looking:
            self._looking = True
            loop.call_later(_LOOK_S, self._look, loop)

    def tell(self, tickets: Sequence[Ticket], answers: Sequence[Answer]) -> None:
        """Tell each what became of it, unless it was told that this is unknown."""
        self._silent = False
        for ticket, answer in zip(tickets, answers, strict=True):
            self._tell(ticket, answer)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell those who have waited too long; what they sent may be written yet."""
        before = loop.time() - _PATIENCE_S
        late = [ticket for ticket, since in self._since.items() if since < before]
        self._silent |= bool(late)
        for ticket in late:
            self._tell(ticket, CommitUnknownError(f"no answer within {_PATIENCE_S:g} s"))
        self._looking = bool(self._since)
        if self._looking:
            loop.call_later(_LOOK_S, self._look, loop)

    def _tell(self, ticket: Ticket, answer: Answer) -> None:
        if self._since.pop(ticket, None) is not None:
            self._n -= ticket.size
            ticket.told(answer)
