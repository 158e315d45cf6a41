"""River's KSWIN for losses that are 0 or 1, many times as fast.

For such losses the Kolmogorov-Smirnov distance is the difference of two counts, so its p-value is
looked up instead of computed at every row. A test holds it to River's own, alarm by alarm.
"""

import random
import warnings
from collections import deque
from functools import cache
from itertools import islice

from scipy.stats import ks_2samp

_WINDOW, _NEWEST = 100, 30  # River's defaults
_SMALLEST = 0.1  # distance below which River never alarms


@cache
def _p_value(apart: int) -> float:
    ones = [1.0] * apart + [0.0] * (_NEWEST - apart)
    with warnings.catch_warnings():  # where the exact value fails, SciPy says so and approximates
        warnings.simplefilter("ignore", RuntimeWarning)
        p: float = ks_2samp(ones, [0.0] * _NEWEST).pvalue
    return p


class Kswin:
    """Compare the newest 30 of 100 losses with 30 drawn from the 70 before."""

    def __init__(self, *, alpha: float, seed: int) -> None:
        self._alpha, self._rng = alpha, random.Random(seed)  # noqa: S311  drawn as River draws
        self._window: deque[float] = deque(maxlen=_WINDOW)
        self.drift_detected = False

    def update(self, loss: float) -> None:
        self._window.append(loss)
        if len(self._window) < _WINDOW:
            return
        older = self._rng.sample(range(_WINDOW - _NEWEST), _NEWEST)
        before = sum(self._window[i] for i in older)
        newest = sum(islice(self._window, _WINDOW - _NEWEST, _WINDOW))
        apart = round(abs(newest - before))
        self.drift_detected = _p_value(apart) <= self._alpha and apart / _NEWEST > _SMALLEST
