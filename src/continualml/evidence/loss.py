"""The loss alarm: is the champion worse than promised? An e-detector over blocks of rows."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from continualml.errors import InputError
from continualml.evidence.gate import LARGEST
from continualml.evidence.growth import Growth

_STAKES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossQuestion:
    """What is asked of the losses, fixed before they are seen.

    Parameters
    ----------
    promised
        Highest mean loss that still counts as kept, in (0, 1).
    budget
        Expected rows to a false alarm, at least; a finite number of at least ``block``.
    block
        Consecutive labelled rows that make one bet, at least 1.

    Raises
    ------
    InputError
        If a value lies outside its range.
    """

    promised: float
    budget: float
    block: int

    def __post_init__(self) -> None:
        """Refuse values for which the guarantee would not hold."""
        if not 0 < self.promised < 1:
            raise InputError("promised", expected="a number in (0, 1)", got=self.promised)
        if self.block < 1:
            raise InputError("block", expected="at least 1 row", got=self.block)
        if not self.block <= self.budget < math.inf:
            raise InputError("budget", expected="a finite number >= block", got=self.budget)

    @property
    def threshold(self) -> float:
        """Evidence at which it alarms: the budget counted in blocks."""
        return self.budget / self.block

    def bets(self) -> tuple[float, ...]:
        """Bets on a block's mean loss; those so small that they only count the time are left out.

        Notes
        -----
        They depend on nothing that is observed later, so leaving some out keeps the guarantee.
        The variance of a block's mean is taken as if its rows were independent.
        """
        spread = self.promised * (1 - self.promised)
        most = 0.9 / self.promised
        every = tuple(sorted({min(d * self.block / spread, most) for d in _STAKES}))
        informative = spread / self.block * self.threshold / 2
        return tuple(b for b in every if b * b * informative >= 1) or every[-1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossEvidence:
    """The tuples hold one entry for each bet.

    ``wealth`` is the Shiryaev-Roberts statistic (>= 0), ``excursion`` the CUSUM as a product,
    and ``began`` the sequence number at which its present excursion above 1 began.
    """

    wealth: tuple[float, ...]
    excursion: tuple[float, ...]
    began: tuple[int, ...]

    @property
    def value(self) -> float:
        """Mean over the bets, to be held against the question's threshold."""
        return math.fsum(self.wealth) / len(self.wealth)

    @property
    def strongest_began(self) -> int:
        """Where the present excursion of the largest CUSUM began: the estimated start."""
        strongest = max(range(len(self.excursion)), key=self.excursion.__getitem__)
        return self.began[strongest]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossPath:
    """Evidence after each of n blocks: ``wealth``, ``excursion`` and ``began`` are (n, bets)."""

    wealth: NDArray[np.float64]
    excursion: NDArray[np.float64]
    began: NDArray[np.int64]

    def at(self, block: int) -> LossEvidence:
        """Evidence after one block."""
        return LossEvidence(
            wealth=tuple(np.minimum(self.wealth[block], LARGEST).tolist()),
            excursion=tuple(np.minimum(self.excursion[block], LARGEST).tolist()),
            began=tuple(self.began[block].tolist()),
        )


def untouched(question: LossQuestion) -> LossEvidence:
    """Evidence before any block."""
    n = len(question.bets())
    return LossEvidence(wealth=(0.0,) * n, excursion=(1.0,) * n, began=(0,) * n)


def bets(question: LossQuestion, state: LossEvidence, means: NDArray[np.float64]) -> Growth:
    """Lay out what is bet on n blocks: the statistics of ``state`` and their factors.

    Parameters
    ----------
    means
        (n,) each block's mean loss in [0, 1].

    Notes
    -----
    While every block's mean has a conditional expectation of at most ``promised``, the statistic
    minus the number of blocks is a supermartingale, so the expected number of rows until it
    reaches the threshold is at least ``budget`` (Shin, Ramdas and Rinaldo 2023). Who alarms
    begins anew with ``untouched``.
    """
    k = len(state.wealth)
    gain = 1 + np.outer(means - question.promised, np.array(question.bets()))
    return Growth(
        start=np.array([*state.wealth, *state.excursion]),
        floor=np.repeat([0.0, 1.0], k),
        added=np.repeat([1.0, 0.0], k),
        factors=np.concatenate((gain, gain), axis=1),
    )


def path(state: LossEvidence, grown: NDArray[np.float64], first: NDArray[np.int64]) -> LossPath:
    """Read what came of the bets; ``first`` is (n,) the number of each block's first row."""
    wealth, excursion = np.split(grown, 2, axis=1)
    starts = np.where(excursion[:-1] <= 1, first[:, None], 0)  # 0: it goes on
    began = np.maximum.accumulate(np.concatenate((np.array([state.began]), starts)))[1:]
    return LossPath(wealth=wealth[1:], excursion=excursion[1:], began=began)
