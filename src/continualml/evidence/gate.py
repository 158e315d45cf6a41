"""The gate: is a challenger better than the champion? A paired e-detector on block differences."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from continualml.evidence.growth import Growth

BETS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
# How a chance is laid out over the rows at which a challenger may begin to be better: a fifth on
# the first block; the rest so that its tail falls like the fourth root of the rows: whatever the
# thousands of rows, beginning there costs little more than knowing the order of magnitude.
_AT_ONCE = 0.2
_EARLY_ROWS = 1_000
# A block's sum counts at most so many root mean squares of the earlier ones. Two models mostly say
# nearly the same, and who is better shows in the few rows where they do not: cut off at two, many
# small differences outvote these. A sum of some rows has hardly such a tail.
_MOST_OF_A_ROW, _MOST_OF_A_SUM = 4.0, 2.0
_FORGETTING = 0.98
_START_BLOCKS = 4.0
# A typical difference of two losses on one row; it only sets the scale of the first few blocks.
_START_DIFFERENCE = 0.1
LARGEST = 1e300


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Promise that ``rows`` rows, at least, are expected to pass until what is no better is proven.

    Every block counts as a new beginning, so the statistic minus the blocks is a supermartingale.
    """

    rows: float

    def threshold(self, block: int) -> float:
        """Evidence that is a proof."""
        return self.rows / block

    def begins(self, rows: int, n: int, block: int) -> NDArray[np.float64]:
        """(n,) what each of the next n blocks counts as a beginning, after ``rows`` rows."""
        del rows, block
        return np.ones(n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """Promise that what is no better is ever proven with chance at most ``level``, in (0, 1).

    All beginnings together count 1, so the statistic plus what is left of that is a nonnegative
    supermartingale that starts at 1; by Ville's inequality it ever reaches 1 / level with chance
    at most ``level``.
    """

    level: float

    def threshold(self, block: int) -> float:
        """Evidence that is a proof."""
        del block
        return 1 / self.level

    def begins(self, rows: int, n: int, block: int) -> NDArray[np.float64]:
        """(n,) what each of the next n blocks counts as a beginning, after ``rows`` rows.

        Roots are rounded alike on every machine; powers and logarithms are not.
        """
        ends = rows + block * np.arange(n + 1)
        left = (1 - _AT_ONCE) / np.sqrt(np.sqrt(1 + ends / _EARLY_ROWS))
        left[ends == 0] = 1.0
        begins: NDArray[np.float64] = left[:-1] - left[1:]
        return begins


Promise = Rate | Chance


@dataclass(frozen=True, slots=True, kw_only=True)
class GateEvidence:
    """Evidence that one challenger is better than the champion.

    ``wealth`` is the Shiryaev-Roberts statistic (>= 0) of each bet; ``squares`` and ``blocks``
    are the forgetting sum of squared block sums and its weight; ``rows`` those that the place has
    bet on since the champion came, whoever stood in it.
    """

    wealth: tuple[float, ...]
    squares: float
    blocks: float
    rows: int

    @property
    def value(self) -> float:
        """Mean over the bets, to be held against the promise's threshold."""
        return math.fsum(self.wealth) / len(self.wealth)


def untouched(block: int) -> GateEvidence:
    """Evidence before any block of ``block`` rows."""
    start = _START_DIFFERENCE**2 * block
    return GateEvidence(
        wealth=(0.0,) * len(BETS), squares=_START_BLOCKS * start, blocks=_START_BLOCKS, rows=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePath:
    """Evidence of j challengers after each of n blocks.

    ``wealth`` is (n, j, bets), ``squares``, ``blocks`` and ``rows`` are (n, j).
    """

    wealth: NDArray[np.float64]
    squares: NDArray[np.float64]
    blocks: NDArray[np.float64]
    rows: NDArray[np.int64]

    def at(self, block: int, challenger: int) -> GateEvidence:
        """Evidence of one challenger after one block."""
        return GateEvidence(
            wealth=tuple(np.minimum(self.wealth[block, challenger], LARGEST).tolist()),
            squares=float(self.squares[block, challenger]),
            blocks=float(self.blocks[block, challenger]),
            rows=int(self.rows[block, challenger]),
        )


def bets(
    promise: Promise,
    states: tuple[GateEvidence, ...],
    totals: NDArray[np.float64],
    *,
    block: int,
) -> tuple[Growth, NDArray[np.float64]]:
    """Lay out what is bet on n blocks for j challengers.

    Parameters
    ----------
    totals
        (n, j) sums of each block's loss differences (champion - challenger).

    Returns
    -------
    The statistics and their factors; and (n + 1, 2, j) the forgetting sums of squares and their
    weights, before the first block and after each.

    Notes
    -----
    A sum is clipped at twice the root mean square of the *earlier* blocks, a single row's
    difference at four times, so that the scale is known before the bet. While E[clipped sum |
    before] <= 0, the statistic minus what the blocks so far counted as beginnings is a
    supermartingale (Shin, Ramdas and Rinaldo 2023; Waudby-Smith and Ramdas 2024), and ``promise``
    follows. The claim is about the clipped difference. Only sums, products and roots are taken,
    one block after the other, so that the result is the same on every machine and for every way
    to cut the blocks.
    """
    n, j = totals.shape
    moments = np.empty((n + 1, 2, j))
    weights = {b: _forgetting(b, [1.0] * n) for b in {s.blocks for s in states}}
    for k, state in enumerate(states):
        moments[:, 0, k] = _forgetting(state.squares, (totals[:, k] * totals[:, k]).tolist())
        moments[:, 1, k] = weights[state.blocks]
    most = _MOST_OF_A_ROW if block == 1 else _MOST_OF_A_SUM
    scale = most * np.sqrt(moments[:-1, 0] / moments[:-1, 1])
    x = np.divide(totals, scale, out=np.zeros_like(totals), where=scale > 0).clip(-1, 1)
    m = j * len(BETS)
    begins = {rows: promise.begins(rows, n, block) for rows in {s.rows for s in states}}
    added = np.array([begins[s.rows] for s in states]).reshape(j, n).T
    laid = Growth(
        start=np.array([s.wealth for s in states]).reshape(m),
        floor=np.zeros(m),
        added=np.repeat(added, len(BETS), axis=1),
        factors=(1 + x[:, :, None] * np.array(BETS)).reshape(n, m),
    )
    return laid, moments


def _forgetting(start: float, added: list[float]) -> list[float]:
    """Give the forgetting sum before the first block and after each."""
    # Plain numbers: an array's operation on so few of them costs more.
    sums = [start]
    for new in added:
        start = _FORGETTING * start + new
        sums.append(start)
    return sums


def path(
    states: tuple[GateEvidence, ...],
    grown: NDArray[np.float64],
    moments: NDArray[np.float64],
    *,
    block: int,
) -> GatePath:
    """Read what came of the bets."""
    n, _, j = moments.shape
    wealth = grown.reshape(n, j, len(BETS))
    before = np.array([s.rows for s in states], dtype=np.int64)
    return GatePath(
        wealth=wealth[1:],
        squares=moments[1:, 0],
        blocks=moments[1:, 1],
        rows=before + block * np.arange(1, n)[:, None],
    )
