"""The feature alarm: has a column moved by more than a tolerance? One budget for all columns."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continualml.errors import InputError
from continualml.evidence import wealth
from continualml.evidence.bets import Bets, lay_out
from continualml.evidence.moved import Moved, Run, looks_broken, strongest_first
from continualml.evidence.reference import Reference

# Blocks worked on at once: so many that the arrays stay in the cache; few after an alarm, as the
# next may be near, and what lies behind it is done again.
_AT_ONCE, _AFTER_AN_ALARM = 128, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftQuestion:
    """What is asked of the columns, fixed before the rows are seen.

    Parameters
    ----------
    reference
        What the columns looked like.
    budget
        Expected rows to a false alarm of any column, at least; a finite number >= ``block``.
    block
        Consecutive rows that make one bet, at least 1.
    tolerance
        By how much the share of rows at or below a cut, of a value, or without a value may
        differ from the reference's, in [0, 1); three standard errors of the latter are added.

    Raises
    ------
    InputError
        If a value lies outside its range, or the reference has too few rows to ask anything.
    """

    reference: Reference
    budget: float
    block: int
    tolerance: float = 0.03

    def __post_init__(self) -> None:
        """Refuse values for which the guarantee would not hold."""
        if not 0 <= self.tolerance < 1:
            raise InputError("tolerance", expected="a number in [0, 1)", got=self.tolerance)
        if self.block < 1:
            raise InputError("block", expected="at least 1 row", got=self.block)
        if not self.block <= self.budget < math.inf:
            raise InputError("budget", expected="a finite number >= block", got=self.budget)
        if not _bets(self).sides:
            expected = "enough rows to tell a move from chance"
            raise InputError("reference", expected=expected, got=self.reference.rows)

    @property
    def threshold(self) -> float:
        """Evidence at which it alarms: the budget counted in blocks."""
        return self.budget / self.block


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftEvidence:
    """Evidence up to ``seq``; its size depends on the reference alone.

    The open block has ``rows`` rows, began at ``first`` (0: none) and counted ``counts``. The
    bytes are the little-endian arrays of a ``wealth.Standing``. ``muted`` columns have moved, and
    have been said to; their evidence counts for nothing until there is another reference.
    """

    seq: int
    rows: int
    first: int
    counts: tuple[int, ...]
    statistics: bytes
    began: bytes
    since: bytes
    runs: tuple[Run, ...]
    muted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftAlarm:
    """At ``seq`` the evidence reached its threshold; ``began`` is the estimated start.

    ``moved`` holds the columns whose own evidence is at the threshold, the strongest first.
    """

    seq: int
    evidence: float
    threshold: float
    began: int
    moved: tuple[Moved, ...]


def untouched(question: DriftQuestion, *, seq: int = 0) -> DriftEvidence:
    """Evidence before any row; rows at or below ``seq`` will not count."""
    bets = _bets(question)
    none = Run(code=-1, first=0, rows=0)
    return _anew(bets, seq=seq, runs=(none,) * len(bets.columns))


def step(
    question: DriftQuestion,
    state: DriftEvidence,
    seq: NDArray[np.int64],
    codes: NDArray[np.uint8],
) -> tuple[DriftEvidence, tuple[DriftAlarm, ...]]:
    """Fold rows; after an alarm the evidence begins anew.

    Parameters
    ----------
    seq
        (n,) sequence numbers, strictly increasing; rows at or below ``state.seq`` are skipped.
    codes
        (n, columns) what ``reference.codes`` says of the rows.

    Returns
    -------
    The state after the last row, and the alarms on the way. A column that was said to have moved
    is muted: it would alarm again and again, and each time the others would begin anew, so that
    one that breaks meanwhile were never heard. One that looks broken goes on to speak, as a fault
    lasts for as long as there are signs of it.

    Raises
    ------
    InputError
        If the arrays do not fit each other or the question, or the numbers do not increase;
        nothing is folded then.

    Notes
    -----
    Indicators are 1{x <= cut}, 1{x < smallest}, 1{x > largest}, far outside, each value, rare,
    unseen, all among the rows that have a value, and missing among all rows. On each side of
    each a Shiryaev-Roberts statistic bets against "its probability, given all blocks before, is
    at most m", m being the reference's share + tolerance + 3 standard errors:
    ``R <- (R + a)(1 + b (h - m a))``, h and a being the shares of the block's rows that are hits
    and that have a value. While that is so, R minus the number of blocks is a supermartingale,
    and so is any mean: over bets, sides, then columns. Hence the expected number of rows until
    the mean reaches the threshold is at least ``budget``, however often one looks and however
    columns hang together (Shin, Ramdas and Rinaldo 2023; Vovk and Wang 2021). From block 2 on
    two of three bets are about the clipped deviation (see ``bets.lay_out``), and the claim with
    them. The columns named beside the strongest one are a reading, not a claim.
    """
    bets = _bets(question, state.muted)
    _check(bets, state, seq, codes)
    read = at = int(np.searchsorted(seq, state.seq, side="right"))
    alarms: list[DriftAlarm] = []
    room = np.empty((2, min(_AT_ONCE, len(seq) // bets.block + 1) + 1, *bets.stake.shape))
    at_once = _AT_ONCE
    while at < len(seq):
        end = at + at_once * bets.block - state.rows
        state, alarmed = _fold(
            bets, state, seq[at:end], codes[at:end], threshold=question.threshold, room=room
        )
        at = int(np.searchsorted(seq, state.seq, side="right"))
        if alarmed or at == len(seq):
            runs = _runs(bets, state.runs, seq[read:at], codes[read:at])
            state, read = replace(state, runs=runs), at
        at_once = _AFTER_AN_ALARM if alarmed else min(2 * at_once, _AT_ONCE)
        if alarmed:
            alarm = _alarm(question, bets, state)
            alarms.append(alarm)
            muted = (*state.muted, *(m.name for m in alarm.moved if not looks_broken(m)))
            state = replace(_anew(bets, seq=state.seq, runs=state.runs), muted=muted)
            bets = _bets(question, muted)
    return state, tuple(alarms)


def levels(question: DriftQuestion, state: DriftEvidence) -> dict[str, float]:
    """Each column's part of the evidence as a share of the threshold; 1 in sum is an alarm."""
    bets = _bets(question, state.muted)
    each = wealth.by_column(bets, _standing(bets, state).statistics)
    return dict(zip(bets.columns, (each / question.threshold).tolist(), strict=True))


@lru_cache(maxsize=64)
def _bets(question: DriftQuestion, muted: tuple[str, ...] = ()) -> Bets:
    if not muted:
        return lay_out(
            question.reference,
            tolerance=question.tolerance,
            block=question.block,
            threshold=question.threshold,
        )
    bets = _bets(question)
    heard = np.array([name not in muted for name in bets.columns])[bets.column_of]
    # Without a stake as well: what a column that has moved goes on winning has no bound.
    return replace(
        bets, stake=np.where(heard, bets.stake, 0.0), weight=np.where(heard, bets.weight, 0.0)
    )


def _anew(bets: Bets, *, seq: int, runs: tuple[Run, ...]) -> DriftEvidence:
    return DriftEvidence(
        seq=seq,
        rows=0,
        first=0,
        counts=(0,) * bets.width,
        runs=runs,
        **_as_bytes(wealth.nothing(bets)),
    )


def _as_bytes(standing: wealth.Standing) -> dict[str, Any]:
    return {
        "statistics": standing.statistics.astype("<f8").tobytes(),
        "began": standing.began.astype("<i8").tobytes(),
        "since": standing.since.astype("<i8").tobytes(),
    }


def _standing(bets: Bets, state: DriftEvidence) -> wealth.Standing:
    return wealth.Standing(
        statistics=np.frombuffer(state.statistics, "<f8").reshape(bets.stake.shape),
        began=np.frombuffer(state.began, "<i8"),
        since=np.frombuffer(state.since, "<i8").reshape(2, -1),
    )


def _fold(
    bets: Bets,
    state: DriftEvidence,
    seq: NDArray[np.int64],
    codes: NDArray[np.uint8],
    *,
    threshold: float,
    room: NDArray[np.float64],
) -> tuple[DriftEvidence, bool]:
    """Fold one or more rows up to the block that alarms, or to the end; runs are left behind."""
    full, open_rows = divmod(state.rows + len(seq), bets.block)
    ends = np.arange(1, full + 1) * bets.block - state.rows  # rows used at the end of each block
    starts = np.concatenate(([0], ends))[: full + (open_rows > 0)]
    counts = bets.counted(codes, starts)
    counts[0] += np.array(state.counts, dtype=np.int64)
    first = seq[starts]
    first[0] = state.first if state.rows else first[0]
    if full:
        standing, at = wealth.bet(
            bets,
            _standing(bets, state),
            counts[:full],
            first[:full],
            threshold=threshold,
            room=room,
        )
        state = replace(state, **_as_bytes(standing))
        if at is not None:
            return replace(state, seq=int(seq[ends[at] - 1])), True
    return replace(
        state,
        seq=int(seq[-1]),
        rows=open_rows,
        first=int(first[-1]) if open_rows else 0,
        counts=tuple(counts[-1].tolist()) if open_rows else (0,) * bets.width,
    ), False


def _alarm(question: DriftQuestion, bets: Bets, state: DriftEvidence) -> DriftAlarm:
    standing = _standing(bets, state)
    moved = strongest_first(bets, question.reference, question.threshold, standing, state.runs)
    return DriftAlarm(
        seq=state.seq,
        evidence=wealth.value(bets, standing.statistics),
        threshold=question.threshold,
        began=moved[0].began,
        moved=moved,
    )


def _runs(
    bets: Bets, runs: tuple[Run, ...], seq: NDArray[np.int64], codes: NDArray[np.uint8]
) -> tuple[Run, ...]:
    """Go on with each column's run of equal codes; rows without a value neither break nor count."""
    found = []
    for c, run in enumerate(runs):
        there = np.flatnonzero(codes[:, c] != bets.missing[c])
        if not len(there):
            found.append(run)
            continue
        code = codes[there, c]
        other = np.flatnonzero(code[1:] != code[:-1])
        if not len(other) and int(code[0]) == run.code:
            found.append(Run(code=run.code, first=run.first, rows=run.rows + len(code)))
            continue
        start = int(other[-1]) + 1 if len(other) else 0
        found.append(Run(code=int(code[-1]), first=int(seq[there[start]]), rows=len(code) - start))
    return tuple(found)


def _check(
    bets: Bets, state: DriftEvidence, seq: NDArray[np.int64], codes: NDArray[np.uint8]
) -> None:
    expected = (len(seq), len(bets.columns))
    if seq.ndim != 1 or codes.shape != expected:
        raise InputError("codes", expected=f"shape {expected}", got=codes.shape)
    if codes.dtype != np.uint8:
        raise InputError("codes", expected="uint8", got=str(codes.dtype))
    if (falls := np.flatnonzero(np.diff(seq) <= 0)).size:
        pair = seq[falls[0] : falls[0] + 2].tolist()
        raise InputError("seq", expected="strictly increasing numbers", got=pair)
    if len(state.counts) != bets.width or len(state.began) != 8 * len(bets.sides):
        raise InputError("state", expected="evidence on this question", got=len(state.counts))
    for i, name in enumerate(bets.columns):
        if not (fits := bets.possible[i][codes[:, i]]).all():
            got = int(codes[int(np.argmin(fits)), i])
            raise InputError(f"codes.{name}", expected="a code of this column", got=got)
