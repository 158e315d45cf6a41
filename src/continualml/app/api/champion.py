"""Who answers: see the pointer move, load, verify, warm, then replace one reference."""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import numpy as np
from loguru import logger
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from continualml import clock
from continualml.app.api import guard
from continualml.app.api.fetching import Fetching, UnderWayError
from continualml.app.api.guard import Guard
from continualml.app.api.problems import ProblemError
from continualml.errors import InputError, UnreachableError
from continualml.model import Model
from continualml.records import Rows, Unfit, Version
from continualml.scoring.session import Session
from continualml.store import artifacts, pointers
from continualml.store.artifacts import ArtifactError, Place
from continualml.store.engine import StoreUnavailableError, read, write
from continualml.store.pointers import Pointer

_LOOK_S = 0.2
# A file that was put back heals the version; it is not looked for at every turn.
_TRY_AGAIN_S = 5.0
# Who answers, best first, when the champion cannot be loaded and nobody is.
_INSTEAD = ("previous", "anchor")


@dataclass(slots=True, eq=False)
class Champion:
    """One loaded, warmed version."""

    known: Version
    session: Session
    revision: int | None = None
    weights: NDArray[np.float32] | None = None
    guard: Guard = field(default_factory=Guard)

    def answers(self, rows: Rows, sizes: Sequence[int]) -> list[NDArray[np.float64] | Exception]:
        """Answer several requests with one run of the graph.

        Parameters
        ----------
        rows
            Those of all requests, one after the other.
        sizes
            How many of them belong to each request.

        Returns
        -------
        For each request (n, width) answers, or why there are none; the others have theirs.
        """
        try:
            together = self._timed(rows)
        except Exception as error:  # noqa: BLE001  handed on to the request
            if len(sizes) == 1:
                self.guard.failed(rows, guard.unanswered(self.session, rows, self.weights))
                return [error]
            parts = [
                _part(rows, to - n, to) for n, to in zip(sizes, accumulate(sizes), strict=True)
            ]
            return [one for part in parts for one in self.answers(part, [len(part)])]
        ends = accumulate(sizes)
        return [together[to - n : to] for n, to in zip(sizes, ends, strict=True)]

    def _timed(self, rows: Rows) -> NDArray[np.float64]:
        began = clock.steady_s()
        answer = self.session.answer(rows, self.weights)
        self.guard.ran(len(rows), clock.steady_s() - began)
        return answer

    def can_answer(self, several: list[Rows]) -> bool:
        """Tell whether it has a finite answer for most of the rows."""
        missing = guard.unanswered(self.session, _joined(several), self.weights)
        return bool(2 * missing.sum() < len(missing))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A version that the pointer names and that does not answer, and why.

    ``unfit`` is False where the version is not to blame: the schema is another one, or its bytes
    cannot be had now. It is tried again five seconds after ``at``.
    """

    version: int
    because: str
    at: float
    unfit: bool = True


class Champions:
    """The champions of all models, following the pointers in a thread of their own.

    Parameters
    ----------
    place
        Where the artifacts are; of a bucket's, ``Fetching`` brings them without being waited for.
    """

    def __init__(
        self, engine: Engine, place: Place | Fetching, models: Mapping[str, Model]
    ) -> None:
        self._engine = engine
        self._place = place
        self._models = models
        self._current: dict[str, Champion] = {}
        self.failures: dict[str, Failure] = {}
        self._unread = False
        # Versions that a guard sent away, and those that were found unfit for any reason.
        self._sent_away: dict[str, set[int]] = {name: set() for name in models}
        self._found: dict[str, set[int]] = {name: set() for name in models}
        self._untold: list[tuple[str, Unfit]] = []

    def of(self, model: str) -> Champion:
        """Return who answers for the model now.

        Raises
        ------
        ProblemError
            503 if no version of the model can answer.
        """
        champion = self._current.get(model)
        if champion is None:
            raise self._nobody(model)
        return champion

    def get(self, model: str) -> Champion | None:
        """Return who answers for the model now, if anyone does."""
        return self._current.get(model)

    def look(self) -> None:
        """Heed the guards and follow each pointer that has moved; log which version is unfit.

        Whatever fails leaves the old champion.
        """
        try:
            with read(self._engine) as conn:
                for name in self._models:
                    self._heed(conn, name)
                    self._look(conn, name)
            self._tell()
        except (SQLAlchemyError, StoreUnavailableError) as error:
            if not self._unread:
                logger.warning("The store cannot be read or written, champions stay: {}", error)
            self._unread = True
        else:
            self._unread = False

    def _look(self, conn: Connection, name: str) -> None:
        pointer = pointers.pointer(conn, name, "champion")
        if pointer is None or not self._wanted(name, pointer):
            return
        failure = self.failures.get(name)
        said = failure is not None and failure.version == pointer.version
        loaded = self._load(conn, name, pointer)
        if isinstance(loaded, Champion):
            moved = not self._answers(name, pointer.version)
            self._current[name] = loaded
            if pointer.version not in self._sent_away[name]:
                self.failures.pop(name, None)
                self._found[name].clear()
            self._bring_ahead(conn, name)
            if moved:
                logger.info("{}: version {} answers now", name, pointer.version)
            return
        under_way = loaded.at < 0
        if failure is not None and said and under_way:
            loaded = replace(loaded, because=failure.because)
        elif failure is None or not said or failure.because != loaded.because:
            level = "INFO" if under_way else "ERROR"
            logger.log(level, "{}: version {} stays out: {}", name, pointer.version, loaded.because)
        self.failures[name] = loaded
        if name not in self._current:
            self._fall_back(name, self._instead(conn, name, {pointer.version}, said=said))
        # Where nothing at all can be loaded, no version is to blame for it.
        if name in self._current and loaded.unfit:
            self._note(name, Unfit(version=pointer.version, guard="load", because=loaded.because))

    def _heed(self, conn: Connection, name: str) -> None:
        """Let an earlier version answer at once if the guard of the one that answers tripped."""
        current = self._current.get(name)
        if current is None or (tripped := current.guard.tripped) is None:
            return
        version, away = current.known.version, self._sent_away[name]
        if version in away:  # nobody else was there
            return
        instead = self._instead(conn, name, {version, *away}, said=False)
        refused = current.guard.unanswerable
        if tripped.guard == "errors" and instead is not None and not instead.can_answer(refused):
            said = "{}: {} by version {}, nor by version {}: the rows are at fault"
            logger.warning(said, name, tripped.because, version, instead.known.version)
            current.guard.excuse()
            return
        away.add(version)
        logger.error("{}: version {} is unfit: {}", name, version, tripped.because)
        self._note(name, Unfit(version=version, guard=tripped.guard, because=tripped.because))
        self.failures[name] = Failure(version=version, because=tripped.because, at=clock.steady_s())
        self._fall_back(name, instead)

    def _note(self, name: str, unfit: Unfit) -> None:
        if unfit.version not in self._found[name]:
            self._found[name].add(unfit.version)
            self._untold.append((name, unfit))

    def _tell(self) -> None:
        """Log what was found, for the loop; what cannot be written now stays for the next look."""
        while self._untold:
            with write(self._engine) as conn:
                guard.append(conn, *self._untold[0], at=clock.now().timestamp())
            del self._untold[0]

    def _answers(self, name: str, version: int) -> bool:
        current = self._current.get(name)
        return current is not None and current.known.version == version

    def _wanted(self, name: str, pointer: Pointer) -> bool:
        current, failure = self._current.get(name), self.failures.get(name)
        away = self._sent_away[name]
        if pointer.version in away:
            # Where nobody else is there it answers on; then its weights are followed.
            return (
                current is not None
                and current.known.version == pointer.version
                and current.revision != pointer.revision
            )
        away.clear()  # another one is the champion: whoever was sent away may be called back
        if current is not None and current.known.version == pointer.version:
            self.failures.pop(name, None)
            self._found[name].clear()
            return current.revision != pointer.revision
        waited = failure is None or clock.steady_s() - failure.at >= _TRY_AGAIN_S
        return waited or (failure is not None and failure.version != pointer.version)

    def _instead(
        self, conn: Connection, name: str, without: set[int], *, said: bool
    ) -> Champion | None:
        """Load an earlier version to answer, as after a restart with a bad champion."""
        unfit: list[Unfit] = []
        for alias in _INSTEAD:
            pointer = pointers.pointer(conn, name, alias)
            if pointer is None or pointer.version in without:
                continue
            loaded = self._load(conn, name, pointer)
            if isinstance(loaded, Champion):
                for one in unfit:
                    self._note(name, one)
                return loaded
            if not said:
                logger.error("{}: {} cannot answer either: {}", name, alias, loaded.because)
            if loaded.unfit:
                found = Unfit(version=pointer.version, guard="load", because=loaded.because)
                unfit.append(found)
        return None

    def _fall_back(self, name: str, instead: Champion | None) -> None:
        if instead is not None:
            self._current[name] = instead
            logger.warning("{}: version {} answers instead", name, instead.known.version)

    def _load(self, conn: Connection, name: str, pointer: Pointer) -> Champion | Failure:
        """Load, check and warm the version that a pointer names."""
        version = pointer.version
        weights = np.array(pointer.weights, np.float32) if pointer.weights else None
        current = self._current.get(name)
        if current is not None and current.known.version == version:
            # Only the weights moved: the graph that is loaded takes them as an input.
            return Champion(
                current.known, current.session, pointer.revision, weights, current.guard
            )
        known = pointers.version(conn, name, version)
        if known is None:
            because = f"version {version} is not registered"
            return Failure(version=version, because=because, at=clock.steady_s())
        try:
            session = Session(self._bytes(known.sha256))
        except (ArtifactError, InputError, UnreachableError) as error:
            return _unread(version, error)
        try:
            session.fits(self._models[name])
        except InputError as error:
            return Failure(version=version, because=str(error), at=clock.steady_s(), unfit=False)
        try:
            session.warm()
        except InputError as error:
            return Failure(version=version, because=str(error), at=clock.steady_s())
        before_s = current.guard.known_s() if current is not None else None
        guarded = Guard(before_s=before_s)
        return Champion(known, session, pointer.revision, weights, guarded)

    def _bytes(self, sha256: str) -> bytes:
        if isinstance(self._place, Fetching):
            return self._place.read(sha256)
        return artifacts.read(self._place, sha256)

    def _bring_ahead(self, conn: Connection, name: str) -> None:
        """Have those here who may have to answer at once, with the bucket up or down."""
        if not isinstance(self._place, Fetching):
            return
        for alias in _INSTEAD:
            pointer = pointers.pointer(conn, name, alias)
            known = pointers.version(conn, name, pointer.version) if pointer else None
            if known is not None:
                self._place.ahead(known.sha256)

    def _nobody(self, model: str) -> ProblemError:
        failure = self.failures.get(model)
        if failure is not None:
            return ProblemError(
                503,
                "no-champion",
                f"{model}: version {failure.version} cannot be loaded: {failure.because}",
                headers={"Retry-After": "5"},
                remedy="put its artifact back; see /health",
            )
        return ProblemError(
            503,
            "no-champion",
            f"{model} has no champion yet",
            headers={"Retry-After": "5"},
            remedy=f"train the first one from a file: continual train data.csv --model {model}",
        )


class Repeated(threading.Thread):
    """Calls one function again and again, ``every_s`` seconds apart, until it is stopped."""

    def __init__(self, act: Callable[[], None], *, every_s: float) -> None:
        super().__init__(name=f"repeated-{act.__qualname__}", daemon=True)
        self._act = act
        self._every_s = every_s
        self._stopped = threading.Event()

    def run(self) -> None:
        """Go on also after a failure that nobody foresaw; it is logged with its traceback."""
        while not self._stopped.wait(self._every_s):
            try:
                self._act()
            except Exception:  # noqa: BLE001  the edge of this thread: without it nobody would hear
                logger.exception("{} failed", self.name)

    def stop(self) -> None:
        """End the thread, after what it does now."""
        self._stopped.set()
        if self.is_alive():
            self.join()


def _unread(version: int, error: ArtifactError | InputError | UnreachableError) -> Failure:
    # What is being brought is looked for again at the next look.
    at = -math.inf if isinstance(error, UnderWayError) else clock.steady_s()
    unfit = not isinstance(error, UnreachableError)
    return Failure(version=version, because=str(error), at=at, unfit=unfit)


def _part(rows: Rows, start: int, to: int) -> Rows:
    return Rows(numeric=rows.numeric[start:to], categorical=rows.categorical[start:to])


def _joined(several: list[Rows]) -> Rows:
    return Rows(
        numeric=np.concatenate([r.numeric for r in several]),
        categorical=np.concatenate([r.categorical for r in several]),
    )
