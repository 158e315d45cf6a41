"""Statistics that grow from block to block by a factor: the one loop that all bets run in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Some statistics and what becomes of them in each of n blocks: max(s, floor) + added, times.

    ``start`` and ``floor`` are (m,), ``factors`` (n, m) >= 0, ``added`` either. A
    Shiryaev-Roberts statistic has floor 0 and adds what the block counts as a beginning, mostly 1;
    a CUSUM as a product adds 0 and has floor 1.
    """

    start: Floats
    floor: Floats
    added: Floats
    factors: Floats


def grown(bets: list[Growth]) -> list[Floats]:
    """Let all of them grow together, one block after the other.

    Returns
    -------
    For each the (n + 1, m) statistics before the first block and after each. What every number
    meets is the same as if it were alone, so the result does not depend on the company.
    """
    start = np.concatenate([b.start for b in bets])
    floor = np.concatenate([b.floor for b in bets])
    added = np.concatenate([np.broadcast_to(b.added, b.factors.shape) for b in bets], axis=1)
    factors = np.concatenate([b.factors for b in bets], axis=1)
    path = np.empty((len(factors) + 1, len(start)))
    path[0] = start
    with np.errstate(over="ignore"):  # who keeps a statistic cuts it off at a largest value
        for before, now, new, factor in zip(path[:-1], path[1:], added, factors, strict=True):
            np.maximum(before, floor, out=now)
            np.add(now, new, out=now)
            np.multiply(now, factor, out=now)
    return np.split(path, np.cumsum([len(b.start) for b in bets])[:-1], axis=1)
