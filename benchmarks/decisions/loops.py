"""What others do with a batch learner: never refit, refit blindly, or alarm, refit and gate."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.decisions.stream_data import Stream, known
from continualml.evidence import gate, growth

Predictor = Callable[[NDArray[np.float64]], NDArray[np.int64]]
_WINDOW, _HOLD = 1_000, 200
_BLOCK, _BUDGET, _LONGEST_TRIAL = 48, 10_000, 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one way on one stream.

    Parameters
    ----------
    right
        (n - first,) whether each row after the first ones was answered rightly.
    refits, swaps, promotions
        How often something was trained after the first model, how often what answers was
        replaced, and how often because it had passed a comparison with what answered before; None
        where a learner goes on with every label.
    labels
        Labels that it has read, the first ones included.
    """

    right: NDArray[np.bool_]
    refits: int | None
    swaps: int | None
    promotions: int | None
    labels: int


def no_change(stream: Stream, delay: int) -> Result:
    """Repeat the newest label that is known."""
    rows = range(stream.first, len(stream.x))
    last = np.array([known(row, delay, stream.first) - 1 for row in rows])
    right = stream.target[last] == stream.target[stream.first :]
    return Result(right=right, refits=0, swaps=0, promotions=0, labels=_labels(stream, delay))


def first_model(stream: Stream, delay: int) -> Result:
    """Fit once on the first rows."""
    del delay
    answer = fit(stream, 0, stream.first)(stream.x[stream.first :])
    right = answer == stream.target[stream.first :]
    return Result(right=right, refits=0, swaps=0, promotions=0, labels=stream.first)


def blind(stream: Stream, delay: int, *, window: int, period: int) -> Result:
    """Fit the newest ``window`` labelled rows every ``period`` rows and answer with it at once."""
    answer = np.empty(len(stream.x), dtype=np.int64)
    starts = range(stream.first, len(stream.x), period)
    for at in starts:
        newest = known(at, delay, stream.first)
        answer[at : at + period] = fit(stream, max(0, newest - window), newest)(
            stream.x[at : at + period]
        )
    right = (answer == stream.target)[stream.first :]
    n = len(starts) - 1
    return Result(right=right, refits=n, swaps=n, promotions=0, labels=_labels(stream, delay))


def textbook(stream: Stream, delay: int) -> Result:
    """ADWIN on the errors; when it alarms, refit, and swap if more accurate on held-back rows.

    The refit takes the newest 1,000 labelled rows and holds the newest 200 of them back.
    """
    wrong = fit(stream, 0, stream.first)(stream.x) != stream.target
    detector, refits, swaps, since = ADWIN(), 0, 0, stream.first
    read = stream.first
    for row in range(stream.first, len(stream.x)):
        for i in range(read, known(row, delay, stream.first)):
            read = i + 1
            if i < since:  # answered by the model before
                continue
            detector.update(float(wrong[i]))
            if not detector.drift_detected:
                continue
            refits += 1
            end = read - _HOLD
            challenger = fit(stream, max(0, read - _WINDOW), end)
            held = challenger(stream.x[end:read]) != stream.target[end:read]
            before = wrong[end:read]
            detector = ADWIN()
            if held.sum() < before.sum():
                swaps, since = swaps + 1, row
                wrong[row:] = challenger(stream.x[row:]) != stream.target[row:]
    right = ~wrong[stream.first :]
    return Result(
        right=right, refits=refits, swaps=swaps, promotions=swaps, labels=_labels(stream, delay)
    )


def textbook_proved(stream: Stream, delay: int) -> Result:
    """Like ``textbook``, with our gate instead: a trial of the frozen challenger on later rows.

    It is swapped in once proven (block 48, budget 10,000 rows) and dropped after 2,000 labels.
    """
    wrong = fit(stream, 0, stream.first)(stream.x) != stream.target
    other = wrong.copy()
    detector, evidence, promise = ADWIN(), gate.untouched(_BLOCK), gate.Rate(rows=_BUDGET)
    trial: tuple[int, int] | None = None  # rows at which it began, and up to which it is folded
    refits, swaps, since, read = 0, 0, stream.first, stream.first
    for row in range(stream.first, len(stream.x)):
        newest = known(row, delay, stream.first)
        for i in range(max(read, since), newest) if trial is None else ():
            detector.update(float(wrong[i]))
            if detector.drift_detected:
                refits, trial, evidence = refits + 1, (row, row), gate.untouched(_BLOCK)
                challenger = fit(stream, max(0, i + 1 - _WINDOW), i + 1)
                other[row:] = challenger(stream.x[row:]) != stream.target[row:]
                break
        read = max(read, newest)
        if trial and newest >= trial[1] + _BLOCK:
            block = slice(trial[1], trial[1] + _BLOCK)
            total = np.array([[float(wrong[block].sum()) - float(other[block].sum())]])
            laid, moments = gate.bets(promise, (evidence,), total, block=_BLOCK)
            grown = growth.grown([laid])[0]
            evidence = gate.path((evidence,), grown, moments, block=_BLOCK).at(0, 0)
            began, trial = trial[0], (trial[0], block.stop)
            if evidence.value >= promise.threshold(_BLOCK):
                wrong[row:], swaps, since, trial = other[row:], swaps + 1, row, None
            elif block.stop - began >= _LONGEST_TRIAL:
                trial = None
            if trial is None:
                detector = ADWIN()
    right = ~wrong[stream.first :]
    return Result(
        right=right, refits=refits, swaps=swaps, promotions=swaps, labels=_labels(stream, delay)
    )


def fit(stream: Stream, start: int, stop: int) -> Predictor:
    """Fit a scaled logistic regression on the rows from ``start`` to ``stop``."""
    target = stream.target[start:stop]
    if len(set(target.tolist())) < 2:
        only = int(target[0])
        return lambda x: np.full(len(x), only)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        pipeline.fit(stream.x[start:stop], target)

    def predict(x: NDArray[np.float64]) -> NDArray[np.int64]:
        answer: NDArray[np.int64] = pipeline.predict(x)
        return answer

    return predict


def _labels(stream: Stream, delay: int) -> int:
    return known(len(stream.x) - 1, delay, stream.first)
