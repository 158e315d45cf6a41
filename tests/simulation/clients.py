"""What clients send: rows, and labels late, early, twice, corrected and contradictory."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from continualml import demo
from continualml.model import Model
from continualml.store.log import LabelAnswer, Labelled, Observed
from tests.simulation.oracle import Oracle
from tests.simulation.processes import Api
from tests.simulation.schedule import Box, Process, Schedule

_MOST_ROWS = 5
_PATIENCE_S = 3.0


@dataclass(slots=True)
class Clients:
    """All clients of a run; each repeats its request until it is answered.

    Parameters
    ----------
    apis
        Those that listen now.
    lasts_s
        Seconds over which rows come; labels may come later.
    """

    schedule: Schedule
    process: Process
    oracle: Oracle
    model: Model
    apis: Callable[[], list[Api]]
    n: int
    lasts_s: float
    unanswered: int = field(default=0, init=False)

    def begin(self) -> None:
        """Plan every request."""
        random = self.schedule.random
        seed, turned = int(random.integers(1_000)), float(random.choice([0.0, 2.0, 3.0]))
        half = self.n // 2
        before, truth = demo.generate(half, seed=seed, noise=0.3, drift=0.0)
        after, later = demo.generate(self.n - half, seed=seed + 1, noise=0.3, drift=turned)
        numeric = np.concatenate([before.numeric, after.numeric])
        target = np.concatenate([truth, later]).astype(int)
        at, start = 0.0, 0
        while start < self.n:
            stop = min(self.n, start + int(random.integers(1, _MOST_ROWS + 1)))
            at += float(random.exponential(self.lasts_s * (stop - start) / self.n * 0.9))
            self._plan(numeric[start:stop], target[start:stop], start, min(at, self.lasts_s))
            start = stop

    def _plan(self, numeric: np.ndarray, target: np.ndarray, start: int, at_s: float) -> None:
        schedule, random = self.schedule, self.schedule.random
        ids = [f"row-{start + i}" for i in range(len(numeric))]
        self._later(at_s, lambda: self._rows(ids, numeric))
        if schedule.chance(0.2):  # the answer was lost on its way, or somebody is careful
            self._later(at_s + schedule.between(0, 20), lambda: self._rows(ids, numeric))
        for one, truth in zip(ids, target.tolist(), strict=True):
            late_s = float(random.exponential(15.0)) - (20.0 if schedule.chance(0.05) else 0.0)
            label_at = max(0.0, at_s + late_s)
            self._label(label_at, one, truth, 0)
            if schedule.chance(0.15):
                self._label(label_at + schedule.between(-5, 30), one, truth, 0)
            if schedule.chance(0.1):
                self._label(label_at + schedule.between(-5, 40), one, 1 - truth, 1)
            if schedule.chance(0.03):
                self._label(label_at + schedule.between(-5, 5), one, 1 - truth, 0)

    def _label(self, at_s: float, one: str, truth: int, revision: int) -> None:
        item = Labelled(observation_id=one, label=self.model.classes[truth], revision=revision)
        self._later(max(0.0, at_s), lambda: self._labels([item]))

    def _later(self, at_s: float, act: Callable[[], None]) -> None:
        self.unanswered += 1
        self.schedule.spawn(self.process, act, after_s=at_s)

    def _rows(self, ids: list[str], numeric: np.ndarray) -> None:
        self.oracle.sent.update(ids)

        def taken(value: object) -> bool:
            if not isinstance(value, list):
                return False
            for row in value:
                if isinstance(row, Observed):
                    self.oracle.acknowledged(row)
            return True

        self._until(lambda api, box: api.predict(ids, numeric, box), taken)

    def _labels(self, items: list[Labelled]) -> None:
        self.oracle.sent.update((i.observation_id, i.revision) for i in items)

        def taken(value: object) -> bool:
            if not isinstance(value, list):
                return False
            for item, answer in zip(items, value, strict=True):
                if isinstance(answer, LabelAnswer):
                    self.oracle.labelled(item, answer.verdict)
            return True

        self._until(lambda api, box: api.label(items, box), taken)

    def _until(self, send: Callable[[Api, Box], None], taken: Callable[[object], bool]) -> None:
        while True:
            if there := self.apis():
                box = Box()
                send(there[int(self.schedule.random.integers(len(there)))], box)
                if self.schedule.wait(box, _PATIENCE_S) and taken(box.value):
                    self.unanswered -= 1
                    return
            self.schedule.sleep(self.schedule.between(0.5, 2.0))
