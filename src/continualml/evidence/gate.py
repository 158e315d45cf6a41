"""The gate: is a challenger better than the champion? A paired e-detector on block differences."""

import math
from dataclasses import dataclass

BETS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
_FORGETTING = 0.98
_START_BLOCKS = 4.0
# A typical difference of two losses on one row; it only sets the scale of the first few blocks.
_START_DIFFERENCE = 0.1
_LARGEST = 1e300


@dataclass(frozen=True, slots=True, kw_only=True)
class GateEvidence:
    """Evidence that one challenger is better than the champion.

    ``wealth`` is the Shiryaev-Roberts statistic (>= 0) of each bet; ``squares`` and ``blocks``
    are the forgetting sum of squared block sums and its weight.
    """

    wealth: tuple[float, ...]
    squares: float
    blocks: float

    @property
    def value(self) -> float:
        """Mean over the bets, to be held against the budget counted in blocks."""
        return math.fsum(self.wealth) / len(self.wealth)


def untouched(block: int) -> GateEvidence:
    """Evidence before any block of ``block`` rows."""
    start = _START_DIFFERENCE**2 * block
    return GateEvidence(
        wealth=(0.0,) * len(BETS), squares=_START_BLOCKS * start, blocks=_START_BLOCKS
    )


def bet(state: GateEvidence, total: float) -> GateEvidence:
    """Bet on one block, whose loss differences (champion - challenger) sum to ``total``.

    Notes
    -----
    The sum is clipped at twice the root mean square of the *earlier* blocks, so that the scale is
    known before the bet. While E[clipped sum | before] <= 0, the statistic minus the number of
    blocks is a supermartingale (Shin, Ramdas and Rinaldo 2023; Waudby-Smith and Ramdas 2024): the
    expected number of blocks until it reaches N is at least N. The claim is about the clipped
    difference.
    """
    scale = 2 * math.sqrt(state.squares / state.blocks)
    x = max(-1.0, min(1.0, total / scale)) if scale > 0 else 0.0
    return GateEvidence(
        wealth=tuple(
            [min((w + 1) * (1 + b * x), _LARGEST) for w, b in zip(state.wealth, BETS, strict=True)]
        ),
        squares=state.squares * _FORGETTING + total * total,
        blocks=state.blocks * _FORGETTING + 1,
    )
