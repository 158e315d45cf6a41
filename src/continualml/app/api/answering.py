"""Requests that wait are answered together: one run of the graph, one commit, one wake-up.

While a commit is under way requests gather, as its answer is what they would wait for anyway; so
the busier it is, the more of them share a run and a commit. Nobody lingers: the first request
that comes to an idle writer goes at once.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from continualml.app.api.asking import Asked, category_texts, rows_of, together
from continualml.app.api.champion import Champions
from continualml.app.api.problems import ProblemError, unknown
from continualml.model import Model
from continualml.store.engine import CommitUnknownError, StoreUnavailableError
from continualml.store.group_commit import GroupCommit
from continualml.store.log import Observed
from continualml.store.packed import COUNT_DIGITS, Counted, Packed
from continualml.store.tickets import MOST_WAITING, settle

_MOST_ROWS = 2_000
# A request of so many rows is written alone, packed by column: that is quicker than with others.
_BULK = 64


class Answered(NamedTuple):
    """What a request gets: its rows as they were answered now, and those that the log had before.

    ``there`` is None for a row that is new.
    """

    rows: Sequence[Observed]
    there: Sequence[Observed | None]


# Gets what became of a request, in the event loop; raises nothing.
Told = Callable[[Answered | Exception], None]


class Ask(NamedTuple):
    """One request that waits, its trace if it has one, and who is told what became of it."""

    model: Model
    asked: Asked
    trace: str | None
    told: Told


class Answering:
    """Answers what waits, of one event loop."""

    def __init__(self, champions: Champions, commit: GroupCommit) -> None:
        self._champions = champions
        self._commit = commit
        self._waiting: list[Ask] = []
        self._n_waiting = 0
        self._under_way = False
        self._several = True  # whether requests came together the last time

    @property
    def waiting(self) -> int:
        """Count the rows that wait for their turn; any thread may ask."""
        return self._n_waiting

    def answer(
        self, model: Model, asked: Asked, trace: str | None = None
    ) -> "asyncio.Future[Answered]":
        """Answer rows, durably.

        Raises
        ------
        ProblemError
            503 if no version of the model can answer.
        InputError
            If a row has no finite answer.
        StoreUnavailableError
            If the answers could not be written, or too many wait; none was written.
        """
        future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self.begin(model, asked, trace, partial(settle, future))
        return future

    def begin(self, model: Model, asked: Asked, trace: str | None, told: Told) -> None:
        """Answer rows, durably; ``told`` gets what ``answer`` returns or raises.

        Raises
        ------
        StoreUnavailableError
            If too many wait.
        """
        if self._n_waiting > MOST_WAITING:
            raise StoreUnavailableError(f"{self._n_waiting} rows wait already")
        self._waiting.append(Ask(model, asked, trace, told))
        self._n_waiting += len(asked.numeric)
        if not self._under_way:
            self._under_way = True
            # What this turn of the loop still brings comes with it.
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        """Answer and append what waits, until the writer has something to do or nobody waits."""
        answered: list[tuple[Ask, Sequence[Observed]]] = []
        while self._waiting and not answered:
            now, self._waiting = _next_asks(self._waiting)
            self._n_waiting -= sum(len(ask.asked.numeric) for ask in now)
            try:
                for name, asks in groupby(now, lambda ask: ask.model.name):
                    answered += self._answered(name, list(asks))
            except Exception as error:  # noqa: BLE001  else these, and all to come, wait for ever
                answered = []
                for ask in now:
                    ask.told(error)
        self._under_way = bool(answered)
        if answered:
            alone = len(answered) == 1
            rows = answered[0][1] if alone else [row for _, some in answered for row in some]
            before, self._several = self._several, len(answered) > 1
            told = partial(self._told, answered)
            try:
                self._commit.append(rows, told, alone=not (before or self._several))
            except Exception as error:  # noqa: BLE001  as above
                self._under_way = False
                for ask, _ in answered:
                    ask.told(error)

    def _answered(self, name: str, asks: list[Ask]) -> list[tuple[Ask, Sequence[Observed]]]:
        """Run the graph once for all; a request whose rows have no answer is told so."""
        try:
            champion = self._champions.of(name)
        except ProblemError as error:  # those of other models have theirs
            for ask in asks:
                ask.told(error)
            return []
        rows = rows_of(asks[0].model, [ask.asked for ask in asks])
        version, revision = champion.known.version, champion.revision
        found: list[tuple[Ask, Sequence[Observed]]] = []
        said = champion.answers(rows, [len(ask.asked.numeric) for ask in asks])
        for ask, answer in zip(asks, said, strict=True):
            if isinstance(answer, Exception):
                ask.told(answer)
            else:
                made = observed(
                    ask.model, ask.asked, version, answer, revision=revision, trace=ask.trace
                )
                found.append((ask, made))
        return found

    def _told(
        self,
        answered: list[tuple[Ask, Sequence[Observed]]],
        there: "list[Observed | None] | Exception",
    ) -> None:
        self._next()  # first: the writer is idle
        at = 0
        for ask, rows in answered:
            if isinstance(there, CommitUnknownError):
                ask.told(unknown([row.observation_id for row in rows]))
            elif isinstance(there, Exception):
                ask.told(there)
            else:
                ask.told(Answered(rows, there[at : at + len(rows)]))
            at += len(rows)


def observed(
    model: Model,
    asked: Asked,
    version: int | None,
    answer: NDArray[np.float64] | None,
    *,
    revision: int | None = None,
    trace: str | None = None,
) -> Sequence[Observed]:
    """Make rows of the log; a row without an id gets a new one that sorts by time.

    Parameters
    ----------
    answer
        (n, width) what ``version`` answered; None, like the version, where nothing was asked.
    revision
        That of the version's weights, if it is a blend.
    """
    now = datetime.now(UTC).timestamp()
    packed = None if answer is None else answer.astype("<f8", copy=False).tobytes()
    if len(asked.numeric) >= _BULK and not asked.texts and asked.numeric[0]:
        return Packed(
            model=model.name,
            ids=_named(asked.ids, now),
            numeric=together(asked.numeric),
            version=version,
            answer=packed,
            recorded_at=now,
            revision=revision,
            trace=trace,
        )
    said: Sequence[bytes | None] = [None] * len(asked.numeric)
    if packed is not None:
        step = model.width * 8
        said = [packed[at : at + step] for at in range(0, len(packed), step)]
    return [
        Observed(
            model=model.name,
            observation_id=given or new_id(now),
            numeric=numeric,
            categorical=texts,
            version=version,
            answer=answered,
            recorded_at=now,
            revision=revision,
            trace=trace,
        )
        for given, numeric, texts, answered in zip(
            asked.ids, asked.numeric, category_texts(asked), said, strict=True
        )
    ]


def new_id(now: float) -> str:
    """Make an id as UUID version 7 does: milliseconds first, so that ids sort by time."""
    tail = os.urandom(10).hex()
    return f"{int(now * 1000):012x}7{tail[1:4]}{'89ab'[int(tail[4], 16) & 3]}{tail[5:]}"


def new_ids(now: float, n: int) -> Counted:
    """Make several ids at once: one of chance and, as its last digits, a count.

    They ascend, and so the index of the log takes them fastest; two requests of one millisecond
    differ by 50 bits of chance.
    """
    return Counted(new_id(now)[:-COUNT_DIGITS], n)


def _named(ids: Sequence[str | None], now: float) -> Sequence[str]:
    """Give each row that has no id a new one."""
    if (n := ids.count(None)) == len(ids):
        return new_ids(now, n)
    fresh = iter(new_ids(now, n))
    return [given or next(fresh) for given in ids]


def _next_asks(waiting: list[Ask]) -> tuple[list[Ask], list[Ask]]:
    """Take requests in order until there are many rows, or one that goes alone."""
    size = 0
    for i, ask in enumerate(waiting):
        n = len(ask.asked.numeric)
        size += n
        if n >= _BULK or (size > _MOST_ROWS and i):
            until = max(i, 1)  # the first one goes in any case
            return waiting[:until], waiting[until:]
    return waiting, []
