"""One turn of the loop, top to bottom: check, decide, train, promote, notify."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, TypeVar

from loguru import logger
from sqlalchemy import Engine

from continualml import clock, decide
from continualml.errors import InputError, Said, UnreachableError
from continualml.loop import carry_out, making, periods
from continualml.loop.build import this_build
from continualml.loop.training import Trainer
from continualml.model import Model
from continualml.records import (
    Built,
    Declared,
    Described,
    LedgerEntry,
    Outcome,
    Scored,
    TrainingFailed,
)
from continualml.store import artifacts, intake, leases, log, snapshots, windows
from continualml.store.artifacts import Place
from continualml.store.engine import StoreUnavailableError, read, write

T = TypeVar("T")
Makes = making.Made | Described | TrainingFailed
Taken = tuple[decide.Known, tuple[LedgerEntry, ...]]
_LEASE_S = 15.0
_FIRST_ROWS = 400
_EVERYTHING = 2**63 - 1


class Run(Protocol):
    """Runs one verb of the cycle by name; a scheduler makes a visible task of it."""

    def __call__(self, name: str, step: Callable[[], T], /) -> T:
        """Return what the step returns."""
        ...


def plainly(_name: str, step: Callable[[], T], /) -> T:
    """Run a verb as it is."""
    return step()


@contextmanager
def meanwhile(act: Callable[[], object], every_s: float) -> Iterator[None]:
    """Call a function again and again, in a thread of its own, until the block ends.

    Where the store is not there the next call may find it again.
    """
    done = threading.Event()

    def again() -> None:
        while not done.wait(every_s):
            with suppress(StoreUnavailableError):
                act()

    thread = threading.Thread(target=again, name="meanwhile", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a turn came to: the last decision's kind and reason, and how many rows it read.

    ``turned`` is False where another process holds the model's lease.
    """

    model: str
    kind: str
    because: str
    rows: int = 0
    entries: tuple[LedgerEntry, ...] = ()
    turned: bool = True


@dataclass(slots=True)
class Loop:
    """The loop over one store.

    Parameters
    ----------
    artifacts
        Where the artifacts are kept.
    holder
        Who turns, for the lease: unique for each process.
    most_s
        Seconds after which a turn leaves what is still waiting to the next one.
    build
        What it runs on, for the ledger.
    meanwhile
        Renews the lease while a turn lasts: calls a function every so many seconds.
    """

    engine: Engine
    artifacts: Place
    models: Mapping[str, Model]
    trainer: Trainer
    holder: str
    most_s: float = 25.0
    build: dict[str, str] = field(default_factory=this_build)
    meanwhile: Callable[[Callable[[], object], float], AbstractContextManager[None]] = meanwhile
    _shelves: dict[str, carry_out.Shelf] = field(default_factory=dict)

    def waiting(self, name: str) -> int:
        """Count the labelled rows that no turn has read; 0 while too few for a first champion."""
        model = self._model(name)
        with read(self.engine) as conn:
            report = snapshots.report(conn, name)
            n = windows.n_joined(conn, model, report["read"] if report else 0)
            return n if report or n >= _FIRST_ROWS else 0

    def refused(self, name: str) -> bool:
        """Tell whether rows were refused that no turn has heard of; not before a first champion."""
        with read(self.engine) as conn:
            report = snapshots.report(conn, name)
            return report is not None and intake.refused_after(conn, name, report.get("counted", 0))

    def block(self, name: str) -> int | None:
        """Rows that make one bet; None before the first champion."""
        with read(self.engine) as conn:
            report = snapshots.report(conn, name)
        return int(report["block"]) if report else None

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
                because = "another turn is under way"
                return Verdict(model=name, kind="keep", because=because, turned=False)
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
        with read(self.engine) as conn:
            known = carry_out.known(conn, name)
        try:
            if known.standing is None:
                return self._first(self._model(name), through)
        except carry_out.OvertakenError:
            pass  # somebody else was quicker: as if it had been there before
        raise InputError(
            f"models.{name}",
            expected="a model without a champion",
            got=Said("one with"),
            remedy="the loop trains the next ones by itself",
        )

    def _first(self, model: Model, through: int) -> LedgerEntry:
        order = decide.Order(strategy=making.FIRST, through=through)
        with read(self.engine) as conn:
            model = periods.in_rows(conn, model, decide.Known())
        new = self._made(model, None, order)
        if not isinstance(new, making.Made):
            got = new.because if isinstance(new, TrainingFailed) else type(new).__name__
            expected = "a learner and rows that give a version"
            raise InputError(f"models.{model.name}", expected=expected, got=Said(got))
        now = clock.now()
        at, recorded_at = now.timestamp(), now.isoformat(timespec="milliseconds")
        with write(self.engine) as conn:
            return carry_out.begin(conn, model, self.build, new, at=at, recorded_at=recorded_at)

    def _turn(self, model: Model, run: Run) -> Verdict:
        until = clock.steady_s() + self.most_s
        entries = self._caught_up(model.name)
        with read(self.engine) as conn:
            known = carry_out.known(conn, model.name)
            model = periods.in_rows(conn, model, known)
        if known.standing is None:
            return self._begin(model, run)
        before = known.standing.rows
        if known.standing.policy != decide.policy_hash(model):
            known, some = self._take_in(known, model, Declared(model=model))
            entries += some
        if known.build != self.build:
            known, some = self._take_in(known, model, Built(build=self.build))
            entries += some
        # Before labels that came since: what they show must not close an incident that goes on.
        known, some = self._looked(known, model, upto=_standing(known).read)
        entries += some
        while True:
            # What was ordered first: which versions meet the next rows must not depend on luck.
            while _standing(known).orders and clock.steady_s() < until:
                makes = run("train", partial(self._train, known, model, until))
                known, some = run("promote", partial(self._promote, known, model, makes))
                entries += some
            if clock.steady_s() >= until:
                break
            shelf = self._shelf(model)
            scored = run("check", partial(making.scored, shelf, model, _standing(known)))
            known, some = run("decide", partial(self._decide, known, model, scored))
            entries += some
            if scored is None:
                break
        run("notify", partial(_tell, entries))
        after = _standing(known)
        return _verdict(model, after, entries, after.rows - before)

    def _caught_up(self, name: str) -> list[LedgerEntry]:
        """Take in what other processes logged, before anything that is decided on it."""
        entries: list[LedgerEntry] = []
        with read(self.engine) as conn:
            more = carry_out.foreign(conn, name) is not None
        while more:
            now = clock.now().isoformat(timespec="milliseconds")
            with write(self.engine) as conn:
                some = carry_out.take_in_foreign(conn, name, recorded_at=now)
            entries += some
            more = bool(some)
        return entries

    def _begin(self, model: Model, run: Run) -> Verdict:
        """Train the first champion once there are rows enough for it."""
        with read(self.engine) as conn:
            n, through = windows.n_joined(conn, model, 0), log.last_seq(conn)
        if n < _FIRST_ROWS:
            because = f"{n} labelled rows; the first champion needs {_FIRST_ROWS}, or a file"
            return Verdict(model=model.name, kind="keep", because=because)
        entry = run("train", partial(self._first, model, through))
        run("notify", partial(_tell, [entry]))
        return _verdict_of([entry], model, n)

    def _decide(self, known: decide.Known, model: Model, scored: Scored | None) -> Taken:
        """Fold what was scored, and write down what follows from it."""
        if scored is None:
            return self._looked(known, model, upto=_EVERYTHING)
        self._shelf(model).keep(scored.versions)
        known, entries = self._take_in(known, model, scored)
        known, some = self._looked(known, model, upto=_standing(known).read)
        return known, entries + some

    def _looked(self, known: decide.Known, model: Model, *, upto: int) -> Taken:
        """Fold what rows looked like, how they came and what was refused, up to a number."""
        entries: tuple[LedgerEntry, ...] = ()
        while seen := making.watched(self._shelf(model), _standing(known), model, upto=upto):
            known, some = self._take_in(known, model, seen)
            entries += some
        while came := making.arrived(self._shelf(model), _standing(known), upto=upto):
            known, some = self._take_in(known, model, came)
            entries += some
        while asked := making.intake(self._shelf(model), _standing(known), upto=upto):
            known, some = self._take_in(known, model, asked)
            entries += some
        return known, entries

    def _train(self, known: decide.Known, model: Model, until: float) -> list[Makes]:
        """Carry out what was ordered, while there is time; the rest stays ordered."""
        # The blend is made of what the fits bring, so it comes when they are through.
        state = _standing(known)
        fits = [o for o in state.orders if o.strategy != decide.BLEND]
        makes: list[Makes] = []
        for order in fits or state.orders:
            if makes and clock.steady_s() > until:
                break
            makes.append(self._made(model, state, order))
        return makes

    def _made(self, model: Model, state: decide.Standing | None, order: decide.Order) -> Makes:
        """Carry out one order, and keep what was made before anyone hears of it."""
        new = making.made(self._shelf(model), self.trainer, model, state, order)
        if not isinstance(new, making.Made):
            return new
        manifest = new.manifest
        try:
            sha256 = artifacts.write(self.artifacts, new.artifact)
            if new.state:
                kept = artifacts.write(self.artifacts, new.state, kind=artifacts.LEARNER)
                manifest = {**manifest, "state": kept}
        except UnreachableError as error:
            because = f"it could not be kept: {error}"
            return TrainingFailed(strategy=order.strategy, through=order.through, because=because)
        return replace(new, sha256=sha256, manifest=manifest)

    def _promote(self, known: decide.Known, model: Model, makes: list[Makes]) -> Taken:
        """Take in what came of the orders: accept or refuse each, move the pointers."""
        entries: tuple[LedgerEntry, ...] = ()
        for new in makes:
            known, some = self._take_in(known, model, new)
            entries += some
        return known, entries

    def _take_in(self, known: decide.Known, model: Model, what: Outcome | making.Made) -> Taken:
        now = clock.now()
        at, recorded_at = now.timestamp(), now.isoformat(timespec="milliseconds")
        name = model.name
        if isinstance(what, making.Made):
            with write(self.engine) as conn:
                new = carry_out.register(conn, name, what, recorded_at)
                return carry_out.take_in(conn, known, name, new, at=at, recorded_at=recorded_at)
        ahead = carry_out.decide_ahead(known, what)
        with write(self.engine) as conn:
            return carry_out.take_in(
                conn, known, name, what, at=at, recorded_at=recorded_at, ahead=ahead
            )

    def _shelf(self, model: Model) -> carry_out.Shelf:
        if model.name not in self._shelves:
            self._shelves[model.name] = carry_out.Shelf(self.engine, self.artifacts, model)
        return self._shelves[model.name]

    def _model(self, name: str) -> Model:
        if name not in self.models:
            raise InputError("model", expected=f"one of {sorted(self.models)}", got=name)
        return self.models[name]

    @contextmanager
    def _lease(self, name: str) -> Iterator[bool]:
        """Hold the model's lease for as long as the turn takes."""
        lease = f"cycle:{name}"
        take = partial(leases.acquire, self.engine, lease, self.holder, _LEASE_S)
        if not take():
            yield False
            return
        try:
            with self.meanwhile(take, _LEASE_S / 3):
                yield True
        finally:
            leases.release(self.engine, lease, self.holder)


def _standing(known: decide.Known) -> decide.Standing:
    if known.standing is None:
        raise InputError("standing", expected="a model with a first champion", got=None)
    return known.standing


def _tell(entries: list[LedgerEntry]) -> int:
    """Say each decision that changes something; return how many were said."""
    spoken = [e for e in entries if e.decision.kind not in {"keep", "build"}]
    for e in spoken:
        d = e.decision
        logger.bind(event=d.kind, model=d.model, decision=e.n, version=d.version).info(
            "{}: {}: {}", d.model, d.kind, d.because
        )
    return len(spoken)


_WEIGHT = (
    "build",
    "collect",
    "keep",
    "accept",
    "refuse",
    "policy",
    "recover",
    "alarm",
    "follow",
    "first",
    "promote",
    "rollback",
)


def _verdict(
    model: Model, state: decide.Standing, entries: list[LedgerEntry], rows: int
) -> Verdict:
    if not entries:
        because = f"no new labelled rows since number {state.read}"
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
