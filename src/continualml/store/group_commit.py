"""Group commit: one thread writes what all requests wait for in one transaction, then wakes them.

Which rows go now and who waits for what is the plain value ``Batch``; the thread around it is thin.
"""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from sqlalchemy import Engine

from continualml.model import Model
from continualml.store.engine import Appender, StoreUnavailableError, write
from continualml.store.log import (
    LabelAnswer,
    Labelled,
    Observed,
    append_labels,
    append_observations,
)
from continualml.store.tables import observations

_MOST_ROWS = 5_000

# What a ticket gets depends on what it asked for; its sender knows which.
Answer = Any


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ticket:
    """One request that waits: its rows, and the future that wakes it."""

    rows: Sequence[Observed] = ()
    model: Model | None = None
    labels: Sequence[Labelled] = ()
    recorded_at: float = 0.0
    future: "asyncio.Future[Answer]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The tickets that go into one transaction, and those that are left for the next."""

    now: tuple[Ticket, ...]
    later: tuple[Ticket, ...]


def next_batch(waiting: Sequence[Ticket], most_rows: int = _MOST_ROWS) -> Batch:
    """Take tickets in order until ``most_rows`` rows are reached, at least one."""
    size = 0
    for i, ticket in enumerate(waiting):
        size += len(ticket.rows) + len(ticket.labels)
        if size > most_rows and i:
            return Batch(now=tuple(waiting[:i]), later=tuple(waiting[i:]))
    return Batch(now=tuple(waiting), later=())


class GroupCommit:
    """The writer of one process; ``submit`` returns when the rows are on disk."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._appender = Appender(engine, observations)
        self._waiting: list[Ticket] = []  # the thread's own
        self._arrived: SimpleQueue[Ticket | None] = SimpleQueue()  # None: no more will come
        self._door = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    async def submit(self, rows: Sequence[Observed]) -> list[Observed | None]:
        """Append observations; see ``log.append_observations``.

        Raises
        ------
        StoreUnavailableError
            If they could not be written; none was.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._put(Ticket(rows=rows, future=future))
        there: list[Observed | None] = await future
        return there

    async def submit_labels(
        self, model: Model, items: Sequence[Labelled], recorded_at: float
    ) -> list[LabelAnswer]:
        """Append labels; see ``log.append_labels``.

        Raises
        ------
        StoreUnavailableError
            If they could not be written; none was.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._put(Ticket(model=model, labels=items, recorded_at=recorded_at, future=future))
        verdicts: list[LabelAnswer] = await future
        return verdicts

    def close(self) -> None:
        """Write what waits, and end the thread."""
        with self._door:
            self._closed = True
            self._arrived.put(None)
        self._thread.join()

    def _put(self, ticket: Ticket) -> None:
        with self._door:
            if self._closed:
                raise StoreUnavailableError("the writer has been closed")
            self._arrived.put(ticket)

    def _run(self) -> None:
        more = True
        while more or self._waiting:
            more = more and self._take()
            batch = next_batch(self._waiting)
            self._waiting = list(batch.later)
            if batch.now:
                _wake(batch.now, self._commit(batch.now))
        self._appender.close()

    def _take(self) -> bool:
        """Take what has arrived, and wait if nothing is there; False if no more will come."""
        for _ in range(self._arrived.qsize() or not self._waiting):
            ticket = self._arrived.get()
            if ticket is None:
                return False
            self._waiting.append(ticket)
        return True

    def _commit(self, tickets: tuple[Ticket, ...]) -> list[Answer]:
        try:
            if (answers := self._commit_new(tickets)) is not None:
                return answers
            with write(self._engine) as conn:
                rows = [r for t in tickets for r in t.rows]
                there = iter(append_observations(conn, rows))
                answers = []
                for t in tickets:
                    if t.model is None:
                        answers.append([next(there) for _ in t.rows])
                    else:
                        answers.append(append_labels(conn, t.model, t.labels, t.recorded_at))
                return answers
        except Exception as error:  # noqa: BLE001  every waiter is told, and the thread lives on
            return [error] * len(tickets)

    def _commit_new(self, tickets: tuple[Ticket, ...]) -> list[Answer] | None:
        """Write observations without asking first whether they are there: they hardly ever are."""
        rows = [r for t in tickets for r in t.rows]
        if not rows or any(t.model for t in tickets) or not self._appender.append(rows):
            return None
        return [[None] * len(t.rows) for t in tickets]


def _wake(tickets: tuple[Ticket, ...], answers: list[Answer]) -> None:
    """Resolve all futures with one wake-up for each event loop."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[Ticket, Answer]]] = {}
    for ticket, answer in zip(tickets, answers, strict=True):
        loops.setdefault(ticket.future.get_loop(), []).append((ticket, answer))
    for loop, some in loops.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, some)


def _resolve(some: list[tuple[Ticket, Answer]]) -> None:
    for ticket, answer in some:
        if ticket.future.done():  # its client has gone
            continue
        if isinstance(answer, BaseException):
            ticket.future.set_exception(answer)
        else:
            ticket.future.set_result(answer)
