"""Group commit: what all requests wait for is written in one transaction, then all are woken.

Which rows go now and who waits for what is told by ``tickets``; the thread around it is thin.
Predictions on SQLite are written by a process, where nothing makes the thread necessary.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue

from sqlalchemy import Engine

from continualml.model import Model
from continualml.store.engine import (
    Appender,
    CommitUnknownError,
    StoreUnavailableError,
    file_of,
    write,
)
from continualml.store.log import (
    LabelAnswer,
    Labelled,
    Observed,
    append_labels,
    append_observations,
)
from continualml.store.tables import observations
from continualml.store.tickets import Answer, Ticket, Waiting, next_batch, settle
from continualml.store.writer import Writer

# A commit that takes longer holds up the event loop too long: then only the writer's thread
# commits, until a second has passed.
_QUICK_S = 0.005
_SLOW_S = 1.0
# Between two questions what became of a batch.
_AGAIN_S = 0.1
_END_S = 8.0


class GroupCommit:
    """The writer of one process; ``submit`` returns when the rows are on disk.

    All requests come from one event loop. What one turn of it brings is handed over at once: a
    thread that is woken for each request takes the interpreter's lock from the requests beside it.

    Nobody waits for ever: whom the database lets wait too long is told that the outcome is unknown,
    and until it answers again whoever comes is refused at once.
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
        self._waiting = Waiting()
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
        loop = self._known_loop()
        if (refused := self._waiting.refused()) is not None:
            loop.call_soon(told, refused)
            return
        if alone and self._append_here(rows):
            loop.call_soon(told, list[Observed | None]([None] * len(rows)))
            return
        ticket = Ticket(rows=rows, told=told)
        self._waiting.add(ticket, loop)
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
            self._waiting.tell((ticket,), ([None] * len(ticket.rows),))
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
        CommitUnknownError
            If the database did not say in time whether they are.
        """
        future = self._known_loop().create_future()
        self._put(Ticket(rows=rows, told=partial(settle, future)))
        return future

    def submit_labels(
        self, model: Model, items: Sequence[Labelled], recorded_at: float
    ) -> "asyncio.Future[list[LabelAnswer]]":
        """Append labels; see ``log.append_labels``.

        Raises
        ------
        StoreUnavailableError
            If they could not be written; none was.
        CommitUnknownError
            If the database did not say in time whether they are.
        """
        future = self._known_loop().create_future()
        told = partial(settle, future)
        self._put(Ticket(model=model, labels=items, recorded_at=recorded_at, told=told))
        return future

    def _known_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:  # asked once: it costs a system call
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _put(self, ticket: Ticket) -> None:
        if (refused := self._waiting.refused()) is not None:
            raise refused
        if not self._turn:
            self._known_loop().call_soon(self._hand_over)
        self._waiting.add(ticket, self._known_loop())
        self._turn.append(ticket)

    def _hand_over(self) -> None:
        if self._turn:
            self._in_thread += len(self._turn)
            self._arrived.put(self._turn)
            self._turn = []

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._waiting.closed = True
        if self._writer is not None:
            self._writer.close()
        self._hand_over()
        self._arrived.put(None)
        self._thread.join(_END_S)  # a database that hangs shall not hold up the end
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
            here: list[Ticket] = []
            gone: list[Ticket] = []  # they were told that it took too long
            for ticket in waiting:
                (here if ticket in self._waiting else gone).append(ticket)
            batch = next_batch(here)
            waiting = list(batch.later)
            answers = self._commit(batch.now) if batch.now else []
            if batch.now or gone:
                self._wake((*batch.now, *gone), [*answers, *[None] * len(gone)])
        self._appender.close()

    def _commit(self, tickets: tuple[Ticket, ...]) -> list[Answer]:
        try:
            if (answers := self._commit_new(tickets)) is not None:
                return answers
            return self._commit_any(tickets)
        except CommitUnknownError as error:
            return self._found_out(tickets, error)
        except Exception as error:  # noqa: BLE001  every waiter is told, and the thread lives on
            return [error] * len(tickets)

    def _found_out(self, tickets: tuple[Ticket, ...], unknown: CommitUnknownError) -> list[Answer]:
        """Find out what became of a batch, and write what is not there, while somebody waits.

        It asks under the writers' lock. Whoever held that before is through, so what is not there
        then never will be, and what is there is given as it stands.
        """
        while not self._waiting.closed and any(t in self._waiting for t in tickets):
            try:
                return self._commit_any(tickets)
            except StoreUnavailableError:
                time.sleep(_AGAIN_S)
            except Exception as error:  # noqa: BLE001  as above
                return [error] * len(tickets)
        return [unknown] * len(tickets)

    def _commit_any(self, tickets: tuple[Ticket, ...]) -> list[Answer]:
        """Write what is not there yet, and give what is."""
        with write(self._engine) as conn:
            rows = [r for t in tickets for r in t.rows]
            there = iter(append_observations(conn, rows))
            return [
                [next(there) for _ in t.rows]
                if t.model is None
                else append_labels(conn, t.model, t.labels, t.recorded_at)
                for t in tickets
            ]

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
        self._waiting.tell(tickets, answers)
