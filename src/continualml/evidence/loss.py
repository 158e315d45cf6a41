"""The loss alarm: is the champion worse than promised? An e-detector over blocks of rows."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

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
    """Evidence up to ``seq``; the tuples hold one entry for each bet.

    ``wealth`` is the Shiryaev-Roberts statistic (>= 0), ``excursion`` the log CUSUM, and
    ``began`` the sequence number at which its present excursion began.
    """

    seq: int
    wealth: tuple[float, ...]
    excursion: tuple[float, ...]
    began: tuple[int, ...]
    block_sum: float
    block_rows: int
    block_first: int

    @property
    def value(self) -> float:
        """Mean over the bets, to be held against the question's threshold."""
        return math.fsum(self.wealth) / len(self.wealth)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossAlarm:
    """Evidence crossed its threshold at ``seq``; the change probably began at ``began``."""

    seq: int
    value: float
    threshold: float
    began: int


def untouched(question: LossQuestion, *, seq: int) -> LossEvidence:
    """Evidence before any row; rows at or below ``seq`` will not count."""
    n = len(question.bets())
    return LossEvidence(
        seq=seq,
        wealth=(0.0,) * n,
        excursion=(0.0,) * n,
        began=(seq + 1,) * n,
        block_sum=0.0,
        block_rows=0,
        block_first=seq + 1,
    )


def step(
    question: LossQuestion, state: LossEvidence, seq: NDArray[np.int64], loss: NDArray[np.float64]
) -> tuple[LossEvidence, tuple[LossAlarm, ...]]:
    """Fold labelled rows into the evidence; rows at or below ``state.seq`` are skipped.

    Parameters
    ----------
    seq, loss
        (n,) sequence numbers, strictly increasing, and their losses in [0, 1].

    Raises
    ------
    InputError
        If the arrays do not fit each other, the numbers do not increase or a loss lies outside
        [0, 1]; nothing is folded then.

    Notes
    -----
    While every block's mean has a conditional expectation of at most ``promised``, the statistic
    minus the number of blocks is a supermartingale, so the expected number of rows to an alarm is
    at least ``budget`` (Shin, Ramdas and Rinaldo 2023). Evidence starts anew after an alarm.
    """
    _check(seq, loss)
    new = seq > state.seq
    bets = question.bets()
    alarms: list[LossAlarm] = []
    for at, x in zip(seq[new].tolist(), loss[new].tolist(), strict=True):
        first = at if state.block_rows == 0 else state.block_first
        total, rows = state.block_sum + x, state.block_rows + 1
        if rows < question.block:
            state = replace(state, seq=at, block_sum=total, block_rows=rows, block_first=first)
            continue
        state = _bet(state, bets, total / rows - question.promised, at=at, first=first)
        if state.value >= question.threshold:
            alarms.append(_alarm(question, state))
            state = untouched(question, seq=at)
    return state, tuple(alarms)


def _check(seq: NDArray[np.int64], loss: NDArray[np.float64]) -> None:
    if seq.ndim != 1 or seq.shape != loss.shape:
        raise InputError("loss", expected=f"shape {seq.shape}", got=loss.shape)
    if (np.diff(seq) <= 0).any():
        raise InputError("seq", expected="strictly increasing numbers", got=seq.tolist()[:5])
    if outside := loss[~((loss >= 0) & (loss <= 1))].tolist():
        raise InputError("loss", expected="a number in [0, 1]", got=outside[0])


def _bet(
    state: LossEvidence, bets: tuple[float, ...], excess: float, *, at: int, first: int
) -> LossEvidence:
    gain = [1 + b * excess for b in bets]
    over = [e > 0 for e in state.excursion]
    return LossEvidence(
        seq=at,
        wealth=tuple((w + 1) * g for w, g in zip(state.wealth, gain, strict=True)),
        excursion=tuple(
            max(e, 0.0) + math.log(g) for e, g in zip(state.excursion, gain, strict=True)
        ),
        began=tuple(b if o else first for b, o in zip(state.began, over, strict=True)),
        block_sum=0.0,
        block_rows=0,
        block_first=at + 1,
    )


def _alarm(question: LossQuestion, state: LossEvidence) -> LossAlarm:
    strongest = max(range(len(state.excursion)), key=state.excursion.__getitem__)
    return LossAlarm(
        seq=state.seq,
        value=state.value,
        threshold=question.threshold,
        began=state.began[strongest],
    )
