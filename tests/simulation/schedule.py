"""What runs when: simulated time, processes and their tasks, crashes; all of it from one seed.

A task is a greenlet. It runs until it sleeps or comes to a point at which the operating system
might do something else: then the seed says who goes on, and when. Nothing happens in between, so
a run is the same each time.
"""

import hashlib
import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import greenlet
import numpy as np

_BEGINNING = datetime(2026, 1, 1, 7, 58, tzinfo=UTC)  # two minutes before the digest
_SHORT_S = 0.02
_AWAY = 0.3  # chance that somebody else goes on at a point where that is possible


class Killed(BaseException):
    """The process ends here, as by SIGKILL: nothing that it does from now on happens."""


class Broken(AssertionError):  # noqa: N818  the name that a failing seed shows
    """Something that must always hold does not."""


@dataclass(slots=True, eq=False)
class Process:
    """Something that may end at any time with all its tasks.

    Parameters
    ----------
    dies_in
        At the how-manieth of the next points it ends; None while it lives on.
    stopped_until
        It does nothing until then: no processor, no memory, SIGSTOP.
    """

    name: str
    alive: bool = True
    dies_in: int | None = None
    stopped_until: float = 0.0
    tasks: list["greenlet.greenlet"] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Box:
    """One answer that somebody waits for."""

    value: object = None
    there: bool = False
    wake: Callable[[], None] | None = None

    def put(self, value: object) -> None:
        """Give the answer; whoever waits goes on."""
        self.value, self.there = value, True
        if self.wake is not None:
            self.wake()


class Schedule:
    """Simulated time, and who goes on next.

    Parameters
    ----------
    random
        All chance there is.
    hazards
        Chance at each point that the process stops for a while; set to 0 when faults end.
    """

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.now_s = 0.0
        self.set_s = 0.0  # by how much the time of day was set
        self.hazards = 0.0
        self.trace: list[str] = []
        self.points: dict[str, int] = {}
        self._digest = hashlib.sha256()
        self._next: list[tuple[float, int, int, greenlet.greenlet]] = []
        self._n = 0
        self._main = greenlet.getcurrent()
        self._owner: dict[greenlet.greenlet, Process] = {}
        self._resumed: dict[greenlet.greenlet, int] = {}

    # The two clocks, as ``continualml.clock`` has them.
    def now(self) -> datetime:
        return _BEGINNING + timedelta(seconds=self.now_s + self.set_s)

    def steady_s(self) -> float:
        return 1_000.0 + self.now_s

    def chance(self, of: float) -> bool:
        return bool(self.random.random() < of)

    def between(self, low: float, high: float) -> float:
        return float(self.random.uniform(low, high))

    def say(self, who: str, what: str) -> None:
        line = f"{self.now_s:9.3f} {who:<12} {what}"
        self.trace.append(line)
        self._digest.update(line.encode())

    def note(self, what: str) -> None:
        """Let the digest depend on something that is not shown."""
        self._digest.update(what.encode())

    def digest(self) -> str:
        """Name everything that happened, in its order."""
        return self._digest.hexdigest()

    def spawn(self, process: Process, act: Callable[[], None], after_s: float = 0.0) -> None:
        """Begin a task of a process."""

        def run() -> None:
            try:
                act()
            except Killed:
                if process.alive:
                    raise

        task = greenlet.greenlet(run, parent=self._main)
        process.tasks.append(task)
        self._owner[task] = process
        self._push(task, after_s)

    def sleep(self, s: float) -> None:
        """Let others go on, for so long."""
        task = greenlet.getcurrent()
        self._push(task, s)
        self._main.switch()
        self._check(task)

    def wait(self, box: Box, patience_s: float) -> bool:
        """Wait for an answer; False if none came in time."""
        if not box.there:
            task = greenlet.getcurrent()
            box.wake = lambda: self._push(task, 0.0)
            self.sleep(patience_s)
            box.wake = None
        return box.there

    def point(self, process: Process, what: str) -> None:
        """Pass a point at which the process may end, stop, or have to wait for the others."""
        task = greenlet.getcurrent()
        if task is self._main or self._owner.get(task) is None:
            return
        self._check(task)
        self.points[what] = self.points.get(what, 0) + 1
        if process.dies_in is not None:
            process.dies_in -= 1
            if process.dies_in < 0:
                self.say(process.name, f"killed at {what}")
                self.kill(process)
        if self.hazards and self.chance(self.hazards):
            process.stopped_until = self.now_s + self.between(1, 60)
            self.say(process.name, f"stopped at {what} until {process.stopped_until:.3f}")
        if self.chance(_AWAY) or process.stopped_until > self.now_s:
            self.sleep(self.between(0, _SHORT_S))

    def kill(self, process: Process) -> None:
        """End a process with all its tasks, also the one that runs."""
        process.alive, process.dies_in = False, None
        here = greenlet.getcurrent()
        for task in process.tasks:
            if task is not here and not task.dead:
                task.parent = here
                with suppress(Killed):  # what had not begun cannot catch it itself
                    task.throw(Killed)
        if here in process.tasks:
            raise Killed

    def end(self) -> None:
        """End every process: the frames of a task that waits for ever are never collected."""
        for process in dict.fromkeys(self._owner.values()):
            self.kill(process)
        self._next.clear()
        self._owner.clear()

    def ends(self, process: Process) -> bool:
        """Whether a process has ended, so that what it does is of no effect."""
        return not process.alive

    def run(self, until_s: float, finished: Callable[[], bool] = lambda: False) -> None:
        """Let time pass."""
        while self._next and self._next[0][0] <= until_s and not finished():
            at, _, resumed, task = heapq.heappop(self._next)
            process = self._owner[task]
            # Whoever was woken earlier has gone on since: its patience is of no meaning any more.
            if task.dead or not process.alive or self._resumed.get(task, 0) != resumed:
                continue
            if process.stopped_until > at:
                self._push(task, process.stopped_until - self.now_s)
                continue
            self.now_s = max(self.now_s, at)
            self._resumed[task] = resumed + 1
            task.switch()
        self.now_s = max(self.now_s, until_s) if not finished() else self.now_s

    def _push(self, task: "greenlet.greenlet", after_s: float) -> None:
        self._n += 1
        at = self.now_s + max(after_s, 0.0)
        heapq.heappush(self._next, (at, self._n, self._resumed.get(task, 0), task))

    def _check(self, task: "greenlet.greenlet") -> None:
        if not self._owner[task].alive:
            raise Killed

    @contextmanager
    def repeatedly(
        self, process: Process, act: Callable[[], object], every_s: float
    ) -> Iterator[None]:
        """Call a function again and again beside the block, as a thread of the process would."""
        done, under_way = False, False

        def again() -> None:
            nonlocal under_way
            while not done:
                self.sleep(every_s)
                if not done:
                    under_way = True
                    try:
                        act()
                    finally:
                        under_way = False

        self.spawn(process, again)
        try:
            yield
        finally:
            done = True
            while under_way and process.alive:
                self.sleep(_SHORT_S)
