"""River's learners that go on with every label, when labels come late."""

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from river.ensemble import LeveragingBaggingClassifier
from river.forest import ARFClassifier
from river.tree import HoeffdingTreeClassifier

from benchmarks.decisions.loops import Result
from benchmarks.decisions.stream_data import Stream, known

LEARNERS: dict[str, Callable[[], Any]] = {
    "Hoeffding tree": HoeffdingTreeClassifier,
    "adaptive random forest": lambda: ARFClassifier(seed=1),
    "leveraging bagging": lambda: LeveragingBaggingClassifier(HoeffdingTreeClassifier(), seed=1),
}


def run(stream: Stream, delay: int, *, learner: str) -> Result:
    """Learn the first rows, then answer each row before its label is learnt, ``delay`` later."""
    model = LEARNERS[learner]()
    rows = [dict(enumerate(values)) for values in stream.x.tolist()]
    labels = stream.target.tolist()
    for row in range(stream.first):
        model.learn_one(rows[row], labels[row])
    waiting: deque[int] = deque()
    right = np.zeros(len(rows) - stream.first, dtype=bool)
    for row in range(stream.first, len(rows)):
        while waiting and waiting[0] < known(row, delay, stream.first):
            i = waiting.popleft()
            model.learn_one(rows[i], labels[i])
        right[row - stream.first] = model.predict_one(rows[row]) == labels[row]
        waiting.append(row)
    return Result(
        right=right, refits=None, swaps=None, promotions=None, labels=len(rows) - len(waiting)
    )
