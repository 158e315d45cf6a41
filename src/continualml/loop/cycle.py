"""One turn of the loop, top to bottom: check, decide, train, promote, notify."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from loguru import logger
from sqlalchemy import Engine

from continualml import decide
from continualml.errors import InputError
from continualml.loop import carry_out
from continualml.loop.training import Trainer
from continualml.model import Model
from continualml.records import LedgerEntry, Outcome, Scored, TrainingFailed
from continualml.store import leases, log, windows
from continualml.store.engine import read, write

T = TypeVar("T")
Fits = carry_out.Fit | TrainingFailed
Taken = tuple[decide.Standing, tuple[LedgerEntry, ...]]
_LEASE_S = 15.0
_MOST_ROWS = 2_000
_FIRST_ROWS = 400


class Run(Protocol):
    """Runs one verb of the cycle by name; a scheduler makes a visible task of it."""

    def __call__(self, name: str, step: Callable[[], T], /) -> T:
        """Return what the step returns."""
        ...


def plainly(_name: str, step: Callable[[], T], /) -> T:
    """Run a verb as it is."""
    return step()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a turn came to: the last decision's kind and reason, and how many rows it read."""

    model: str
    kind: str
    because: str
    rows: int = 0
    entries: tuple[LedgerEntry, ...] = ()


@dataclass(slots=True)
class Loop:
    """The loop over one store.

    Parameters
    ----------
    artifacts
        Directory of the artifacts.
    holder
        Who turns, for the lease: unique for each process.
    most_s
        Seconds after which a turn leaves what is still waiting to the next one.
    """

    engine: Engine
    artifacts: Path
    models: Mapping[str, Model]
    trainer: Trainer
    holder: str
    most_s: float = 25.0
    _shelf: carry_out.Shelf = field(init=False)

    def __post_init__(self) -> None:
        """Begin with no version loaded."""
        self._shelf = carry_out.Shelf(self.artifacts)

    def waiting(self, name: str) -> int:
        """Count the labelled rows that no turn has read; 0 while too few for a first champion."""
        model = self._model(name)
        with read(self.engine) as conn:
            state = carry_out.standing(conn, model)
            n = windows.n_joined(conn, model, state.read if state else 0)
            return n if state or n >= _FIRST_ROWS else 0

    def block(self, name: str) -> int | None:
        """Rows that make one bet; None before the first champion."""
        with read(self.engine) as conn:
            state = carry_out.standing(conn, self._model(name))
        return state.block if state else None

    def turn(self, name: str, run: Run = plainly) -> Verdict:
        """Turn the loop until nothing waits or the time is up; harmless when done twice.

        Raises
        ------
        InputError
            If there is no such model.
        """
        model = self._model(name)
        with self._lease(name) as held:
            if not held:
                return Verdict(model=name, kind="keep", because="another turn is under way")
            try:
                return self._turn(model, run)
            except carry_out.OvertakenError as error:
                return Verdict(model=name, kind="keep", because=str(error))

    def first(self, name: str, *, through: int) -> LedgerEntry:
        """Train the first champion on all rows labelled up to the number ``through``.

        Raises
        ------
        InputError
            If the model has a champion already, or no version comes of the rows.
        """
        model = self._model(name)
        order = decide.Order(strategy=carry_out.FIRST, through=through)
        with read(self.engine) as conn:
            if carry_out.standing(conn, model) is not None:
                raise InputError(
                    f"models.{name}",
                    expected="a model without a champion",
                    got="one with",
                    remedy="the loop trains the next ones by itself",
                )
            fit = carry_out.fitted(conn, self._shelf, self.trainer, model, order, predecessor=None)
        if isinstance(fit, TrainingFailed):
            raise InputError(f"models.{name}", expected="rows to learn from", got=fit.because)
        _, entries = self._take_in(model, None, fit)
        return entries[-1]

    def _turn(self, model: Model, run: Run) -> Verdict:
        until = time.monotonic() + self.most_s
        entries: list[LedgerEntry] = []
        with read(self.engine) as conn:
            state = carry_out.standing(conn, model)
        if state is None:
            return self._begin(model, run)
        before = state.rows
        while time.monotonic() < until:
            scored = run("check", partial(self._check, model, state))
            state, some = run("decide", partial(self._decide, model, state, scored))
            entries += some
            if scored is None and not state.orders:
                break
            fits = run("train", partial(self._train, model, state, until))
            state, some = run("promote", partial(self._promote, model, state, fits))
            entries += some
        run("notify", partial(_tell, entries))
        return _verdict(model, state, entries, state.rows - before)

    def _begin(self, model: Model, run: Run) -> Verdict:
        """Train the first champion once there are rows enough for it."""
        with read(self.engine) as conn:
            n, through = windows.n_joined(conn, model, 0), log.last_seq(conn)
        if n < _FIRST_ROWS:
            because = f"{n} labelled rows; the first champion needs {_FIRST_ROWS}, or a file"
            return Verdict(model=model.name, kind="keep", because=because)
        entry = run("train", partial(self.first, model.name, through=through))
        run("notify", partial(_tell, [entry]))
        return _verdict_of([entry], model, n)

    def _check(self, model: Model, state: decide.Standing) -> Scored | None:
        """Read the next labelled rows, up to where a refit is due, and score them."""
        most = min(decide.rows_until_due(model, state) or _MOST_ROWS, _MOST_ROWS)
        with read(self.engine) as conn:
            window = windows.joined(conn, model, state.read, limit=most)
            if not len(window):
                return None
            versions = decide.watched(model, state)
            return carry_out.scored(conn, self._shelf, model, versions, window)

    def _decide(self, model: Model, state: decide.Standing, scored: Scored | None) -> Taken:
        """Fold what was scored, and write down what follows from it."""
        return (state, ()) if scored is None else self._take_in(model, state, scored)

    def _train(self, model: Model, state: decide.Standing, until: float) -> list[Fits]:
        """Fit what was ordered, while there is time; the rest stays ordered."""
        fits: list[Fits] = []
        for order in state.orders:
            if fits and time.monotonic() > until:
                break
            head = state.heads.get(order.strategy)
            scheduled = order.strategy != decide.SINCE_ALARM
            with read(self.engine) as conn:
                fits.append(
                    carry_out.fitted(
                        conn,
                        self._shelf,
                        self.trainer,
                        model,
                        order,
                        predecessor=head.version if head and scheduled else None,
                    )
                )
        return fits

    def _promote(self, model: Model, state: decide.Standing, fits: list[Fits]) -> Taken:
        """Take in what came of the fits: accept or refuse each, move the pointers."""
        entries: tuple[LedgerEntry, ...] = ()
        for fit in fits:
            state, some = self._take_in(model, state, fit)
            entries += some
        return state, entries

    def _take_in(self, model: Model, state: decide.Standing | None, what: Scored | Fits) -> Taken:
        now = datetime.now(UTC)
        at, recorded_at = now.timestamp(), now.isoformat(timespec="milliseconds")
        with write(self.engine) as conn:
            outcome: Outcome
            if isinstance(what, carry_out.Fit):
                outcome = carry_out.register(conn, self.artifacts, model, what, recorded_at)
            else:
                outcome = what
            return carry_out.take_in(conn, model, state, outcome, at=at, recorded_at=recorded_at)

    def _model(self, name: str) -> Model:
        if name not in self.models:
            raise InputError("model", expected=f"one of {sorted(self.models)}", got=name)
        return self.models[name]

    @contextmanager
    def _lease(self, name: str) -> Iterator[bool]:
        """Hold the model's lease for as long as the turn takes."""
        lease, done = f"cycle:{name}", threading.Event()
        if not leases.acquire(self.engine, lease, self.holder, _LEASE_S):
            yield False
            return

        def renew() -> None:
            while not done.wait(_LEASE_S / 3):
                leases.acquire(self.engine, lease, self.holder, _LEASE_S)

        renewing = threading.Thread(target=renew, name=lease, daemon=True)
        renewing.start()
        try:
            yield True
        finally:
            done.set()
            renewing.join()
            leases.release(self.engine, lease, self.holder)


def _tell(entries: list[LedgerEntry]) -> int:
    """Say each decision that changes something; return how many were said."""
    spoken = [e for e in entries if e.decision.kind != "keep"]
    for e in spoken:
        d = e.decision
        logger.bind(event=d.kind, model=d.model, decision=e.n, version=d.version).info(
            "{}: {}: {}", d.model, d.kind, d.because
        )
    return len(spoken)


_WEIGHT = ("keep", "accept", "refuse", "alarm", "follow", "first", "promote", "rollback")


def _verdict(
    model: Model, state: decide.Standing, entries: list[LedgerEntry], rows: int
) -> Verdict:
    if not entries:
        because = f"no new labelled rows since row {state.read}"
        return Verdict(model=model.name, kind="keep", because=because)
    return _verdict_of(entries, model, rows)


def _verdict_of(entries: list[LedgerEntry], model: Model, rows: int) -> Verdict:
    heaviest = max(entries, key=lambda e: _WEIGHT.index(e.decision.kind)).decision
    return Verdict(
        model=model.name,
        kind=heaviest.kind,
        because=heaviest.because,
        rows=rows,
        entries=tuple(entries),
    )
