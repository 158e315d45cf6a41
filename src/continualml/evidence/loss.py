"""The loss alarm: is the champion worse than promised? An e-detector over blocks of rows."""

import math
from dataclasses import dataclass

from continualml.errors import InputError

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

    ``wealth`` is the Shiryaev-Roberts statistic (>= 0), ``excursion`` the log CUSUM, and
    ``began`` the sequence number at which its present excursion began.
    """

    bets: tuple[float, ...]
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


def untouched(question: LossQuestion) -> LossEvidence:
    """Evidence before any block."""
    bets = question.bets()
    none = (0.0,) * len(bets)
    return LossEvidence(bets=bets, wealth=none, excursion=none, began=(0,) * len(bets))


def bet(question: LossQuestion, state: LossEvidence, mean: float, *, first: int) -> LossEvidence:
    """Bet on one block with mean loss ``mean`` in [0, 1], whose first row has the number ``first``.

    Notes
    -----
    While every block's mean has a conditional expectation of at most ``promised``, the statistic
    minus the number of blocks is a supermartingale, so the expected number of rows until it
    reaches the threshold is at least ``budget`` (Shin, Ramdas and Rinaldo 2023). Who alarms
    begins anew with ``untouched``.
    """
    excess = mean - question.promised
    gain = [1 + b * excess for b in state.bets]
    return LossEvidence(
        bets=state.bets,
        wealth=tuple([(w + 1) * g for w, g in zip(state.wealth, gain, strict=True)]),
        excursion=tuple(
            [max(e, 0.0) + math.log(g) for e, g in zip(state.excursion, gain, strict=True)]
        ),
        began=tuple(
            [b if e > 0 else first for b, e in zip(state.began, state.excursion, strict=True)]
        ),
    )
