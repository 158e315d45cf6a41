"""A confidence sequence for a running mean: an interval to be looked at at any time."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Blocks at which the sequence is tightest; any positive number is valid.
_TIGHTEST_AT: Final = 50.0
# With fewer blocks the variance is not known well enough to say anything.
FEWEST: Final = 8


def sequence(means: Floats, *, alpha: float) -> tuple[Floats, Floats, Floats]:
    """Say after each block what the mean is, with an interval that holds for all blocks at once.

    Parameters
    ----------
    means
        (n,) means of consecutive blocks, in the order in which they came.
    alpha
        Chance, about, that the true running mean is ever outside, in (0, 1).

    Returns
    -------
    (n,) running means, lower and upper ends; the ends are NaN for the first seven blocks.

    Notes
    -----
    The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024,
    Annals of Statistics 52, theorem 2.2): with t blocks of variance v,
    ``mean ± sqrt(v (t r + 1) / (t^2 r) ln((t r + 1) / alpha^2))``. It is approximate where
    blocks are few, and it needs blocks that do not hang together. What the loop decides rests on
    the gate's evidence and not on this, which is for people to see how large a difference is.
    """
    n = len(means)
    t = np.arange(1, n + 1, dtype=np.float64)
    mean = np.cumsum(means) / t
    spread = np.cumsum(means * means) / t - mean * mean
    variance = np.maximum(spread, 0.0) * t / np.maximum(t - 1, 1)
    rate = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / _TIGHTEST_AT
    grown = t * rate + 1
    half = np.sqrt(variance * grown / (t * t * rate) * np.log(grown / alpha**2))
    half[: FEWEST - 1] = np.nan
    return mean, mean - half, mean + half
