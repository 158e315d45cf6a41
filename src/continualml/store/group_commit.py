"""Group commit: what all requests wait for is written in one transaction, then all are woken.

Which rows go now and who waits for what is the plain value ``Batch``; the thread around it is thin.
Predictions on SQLite are written by a process, where nothing makes the thread necessary.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

from sqlalchemy import Engine

from continualml.model import Model
from continualml.store.engine import Appender, StoreUnavailableError, file_of, write
from continualml.store.log import (
    LabelAnswer,
    Labelled,
    Observed,
    append_labels,
    append_observations,
)
from continualml.store.tables import observations
from continualml.store.writer import Writer

_MOST_ROWS = 5_000
# A commit that takes longer holds up the event loop too long: then only the writer's thread
# commits, until a second has passed.
_QUICK_S = 0.005
_SLOW_S = 1.0

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
    """The writer of one process; ``submit`` returns when the rows are on disk.

    All requests come from one event loop. What one turn of it brings is handed over at once: a
    thread that is woken for each request takes the interpreter's lock from the requests beside it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._appender = Appender(engine, observations)
        file = file_of(engine)
        self._here = Appender(engine, observations, waits=False) if file else None
        self._writer = Writer(file, self._appender.script) if file else None
        self._in_thread = 0  # tickets
        self._slow_until = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn: list[Ticket] = []
        self._arrived: SimpleQueue[list[Ticket] | None] = SimpleQueue()  # None: no more will come
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    def append(
        self,
        rows: Sequence[Observed],
        told: Callable[[list[Observed | None] | Exception], None],
        *,
        alone: bool = False,
    ) -> None:
        """Append observations; ``told`` gets what ``submit`` returns, or raises, in this loop.

        Parameters
        ----------
        alone
            Nobody else is likely to come meanwhile. Then the event loop writes by itself while
            the disk is quick: two threads that wake each other take as long as the disk.
        """
        if self._closed:
            told(StoreUnavailableError("the writer has been closed"))
            return
        loop = self._known_loop()
        if alone and self._append_here(rows):
            loop.call_soon(told, list[Observed | None]([None] * len(rows)))
            return
        ticket = Ticket(rows=rows, told=told)
        if not self._append_beside(ticket):
            self._turn.append(ticket)
            self._hand_over()

    def _append_beside(self, ticket: Ticket) -> bool:
        """Have the process write, unless it would get in the way of the thread."""
        if self._writer is None or self._turn or self._in_thread or not self._writer.idle:
            return False
        statement = self._appender.statement(ticket.rows)
        if statement is None:
            return False
        return self._writer.execute(self._known_loop(), *statement, partial(self._beside, ticket))

    def _beside(self, ticket: Ticket, written: bool | None) -> None:
        if written:
            ticket.told([None] * len(ticket.rows))
        else:  # the thread says why not, and finds the rows if they are there after all
            self._turn.append(ticket)
            self._hand_over()

    def _append_here(self, rows: Sequence[Observed]) -> bool:
        """Write in this thread, which must not wait; False leaves it to the writer."""
        if self._here is None or self._turn or time.monotonic() < self._slow_until:
            return False
        try:
            with self._timed():
                return self._here.append(rows)
        except Exception:  # noqa: BLE001  another process writes, or the writer will say what it is
            return False

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            now = time.monotonic()
            if now - began > _QUICK_S:
                self._slow_until = now + _SLOW_S

    def submit(self, rows: Sequence[Observed]) -> "asyncio.Future[list[Observed | None]]":
        """Append observations; see ``log.append_observations``.

        Raises
        ------
        StoreUnavailableError
            If they could not be written; none was.
        """
        future = self._known_loop().create_future()
        self._put(Ticket(rows=rows, told=partial(_settle, future)))
        return future

    def submit_labels(
        self, model: Model, items: Sequence[Labelled], recorded_at: float
    ) -> "asyncio.Future[list[LabelAnswer]]":
        """Append labels; see ``log.append_labels``.

        Raises
        ------
        StoreUnavailableError
            If they could not be written; none was.
        """
        future = self._known_loop().create_future()
        told = partial(_settle, future)
        self._put(Ticket(model=model, labels=items, recorded_at=recorded_at, told=told))
        return future

    def _known_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:  # asked once: it costs a system call
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _put(self, ticket: Ticket) -> None:
        if self._closed:
            raise StoreUnavailableError("the writer has been closed")
        if not self._turn:
            self._known_loop().call_soon(self._hand_over)
        self._turn.append(ticket)

    def _hand_over(self) -> None:
        if self._turn:
            self._in_thread += len(self._turn)
            self._arrived.put(self._turn)
            self._turn = []

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._closed = True
        if self._writer is not None:
            self._writer.close()
        self._hand_over()
        self._arrived.put(None)
        self._thread.join()
        if self._here is not None:
            self._here.close()

    def _run(self) -> None:
        waiting: list[Ticket] = []
        more = True
        while more or waiting:
            for _ in range(self._arrived.qsize() or (more and not waiting)):
                turn = self._arrived.get()
                more = turn is not None
                waiting.extend(turn or ())
            batch = next_batch(waiting)
            waiting = list(batch.later)
            if batch.now:
                self._wake(batch.now, self._commit(batch.now))
        self._appender.close()

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
        # As it came where it came alone: its columns may be packed.
        alone = len(tickets) == 1
        rows = tickets[0].rows if alone else [r for t in tickets for r in t.rows]
        if not rows or any(t.model for t in tickets):
            return None
        with self._timed():
            if not self._appender.append(rows):
                return None
        return [[None] * len(t.rows) for t in tickets]

    def _wake(self, tickets: tuple[Ticket, ...], answers: list[Answer]) -> None:
        """Tell all that waited with one wake-up."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._resolve, tickets, answers)

    def _resolve(self, tickets: tuple[Ticket, ...], answers: list[Answer]) -> None:
        self._in_thread -= len(tickets)
        for ticket, answer in zip(tickets, answers, strict=True):
            ticket.told(answer)


def _settle(future: "asyncio.Future[Answer]", answer: Answer) -> None:
    if future.done():  # its client has gone
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)
