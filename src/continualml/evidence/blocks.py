"""How many consecutive labelled rows make one bet."""

import math

import numpy as np
from numpy.typing import NDArray

CANDIDATES = (1, 12, 24, 48, 96)
_FEWEST_BLOCKS = 8


def estimate(loss: NDArray[np.float64]) -> int:
    """Smallest block whose means show no lag-1 autocorrelation beyond chance.

    Parameters
    ----------
    loss
        (n,) losses of held-back rows in time order.

    Returns
    -------
    One of ``CANDIDATES``. A block of which fewer than eight fit into the rows cannot be tested;
    the first such candidate is taken when every smaller one hangs together, as the cautious end.

    Notes
    -----
    "Beyond chance" is one-sided at 5 % under independence, where the autocorrelation of m means
    is approximately normal with variance 1/m.
    """
    for block in CANDIDATES:
        m = len(loss) // block
        if m < _FEWEST_BLOCKS:
            return block
        means = loss[: m * block].reshape(m, block).mean(axis=1)
        centred = means - means.mean()
        spread = float(centred @ centred)
        if spread == 0 or float(centred[1:] @ centred[:-1]) / spread <= 1.645 / math.sqrt(m):
            return block
    return CANDIDATES[-1]
