"""All running evidence about one champion as one state, fed row by row, betting once a block."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from continualml.errors import InputError
from continualml.evidence import gate, loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What is asked, fixed before the rows are seen.

    Parameters
    ----------
    alarm
        The promise to the champion's loss; its block is everybody's block.
    promotions
        Expected rows, at least, until any challenger that is not better is called better.
    challengers
        How many places for challengers there are; they share the budget, also while empty.
    """

    alarm: loss.LossQuestion
    promotions: float
    challengers: int

    @property
    def proof(self) -> float:
        """Evidence at which one challenger is proven better.

        The sum of all challengers' statistics minus (blocks x challengers) is a supermartingale,
        so holding each against its own budget times their number keeps the budget for all.
        """
        return self.challengers * self.promotions / self.alarm.block


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Evidence up to ``seq``; the open block has ``rows`` rows and began at ``first``."""

    seq: int
    rows: int
    first: int
    alarm: loss.LossEvidence
    alarm_sum: float
    gates: tuple[gate.GateEvidence, ...]
    sums: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """At ``seq`` evidence reached its threshold: the alarm's, or that of ``proven`` challengers.

    ``proven`` are places in the order of their evidence, the strongest first.
    """

    seq: int
    alarmed: bool
    proven: tuple[int, ...]


def untouched(questions: Questions, *, seq: int) -> Evidence:
    """Evidence before any row; rows at or below ``seq`` will not count."""
    block, n = questions.alarm.block, questions.challengers
    return Evidence(
        seq=seq,
        rows=0,
        first=seq + 1,
        alarm=loss.untouched(questions.alarm),
        alarm_sum=0.0,
        gates=(gate.untouched(block),) * n,
        sums=(0.0,) * n,
    )


def silenced(questions: Questions, state: Evidence) -> Evidence:
    """Begin the alarm's evidence anew, after it has spoken."""
    return replace(state, alarm=loss.untouched(questions.alarm), alarm_sum=0.0)


def step(
    questions: Questions,
    state: Evidence,
    seq: NDArray[np.int64],
    watched: NDArray[np.float64],
    difference: NDArray[np.float64],
    *,
    present: tuple[bool, ...],
) -> tuple[Evidence, Crossing | None]:
    """Fold labelled rows until one block crosses a threshold, or to the end.

    Parameters
    ----------
    seq
        (n,) sequence numbers, strictly increasing; rows at or below ``state.seq`` are skipped.
    watched
        (n,) the champion's losses in [0, 1] that the promise is about.
    difference
        (n, challengers) loss of the champion - loss of the challenger, in [-1, 1].
    present
        Which places hold a challenger other than the champion; the others do not bet.

    Returns
    -------
    The state after the last row folded (``state.seq`` says which), and the crossing that stopped
    it. Who handles it calls again with the same rows to go on.

    Raises
    ------
    InputError
        If the arrays do not fit each other, the numbers do not increase or a value lies outside
        its range; nothing is folded then.
    """
    _check(questions, seq, watched, difference)
    start = int(np.searchsorted(seq, state.seq, side="right"))
    block, proof, bound = questions.alarm.block, questions.proof, questions.alarm.threshold
    at, rows, first = state.seq, state.rows, state.first
    alarm, alarm_sum, gates, sums = state.alarm, state.alarm_sum, state.gates, list(state.sums)
    crossing = None
    for at, x, row in zip(
        seq[start:].tolist(), watched[start:].tolist(), difference[start:].tolist(), strict=True
    ):
        first = first if rows else at
        alarm_sum += x
        sums = [s + d for s, d in zip(sums, row, strict=True)]
        rows += 1
        if rows < block:
            continue
        alarm = loss.bet(questions.alarm, alarm, alarm_sum / block, first=first)
        gates = tuple(
            [gate.bet(g, s) if p else g for g, s, p in zip(gates, sums, present, strict=True)]
        )
        alarm_sum, sums, rows = 0.0, [0.0] * len(sums), 0
        crossing = _crossing(at, alarm, gates, bound=bound, proof=proof)
        if crossing:
            break
    now = Evidence(
        seq=at,
        rows=rows,
        first=first,
        alarm=alarm,
        alarm_sum=alarm_sum,
        gates=gates,
        sums=tuple(sums),
    )
    return now, crossing


def _crossing(
    at: int,
    alarm: loss.LossEvidence,
    gates: tuple[gate.GateEvidence, ...],
    *,
    bound: float,
    proof: float,
) -> Crossing | None:
    value = [g.value for g in gates]
    proven = sorted((i for i, v in enumerate(value) if v >= proof), key=lambda i: -value[i])
    alarmed = alarm.value >= bound
    return Crossing(seq=at, alarmed=alarmed, proven=tuple(proven)) if alarmed or proven else None


def _check(
    questions: Questions,
    seq: NDArray[np.int64],
    watched: NDArray[np.float64],
    difference: NDArray[np.float64],
) -> None:
    if seq.ndim != 1 or seq.shape != watched.shape:
        raise InputError("watched", expected=f"shape {seq.shape}", got=watched.shape)
    if difference.shape != (len(seq), questions.challengers):
        raise InputError(
            "difference",
            expected=f"shape {(len(seq), questions.challengers)}",
            got=difference.shape,
        )
    if (falls := np.flatnonzero(np.diff(seq) <= 0)).size:
        pair = seq[falls[0] : falls[0] + 2].tolist()
        raise InputError("seq", expected="strictly increasing numbers", got=pair)
    if outside := watched[~((watched >= 0) & (watched <= 1))].tolist():
        raise InputError("watched", expected="a loss in [0, 1]", got=outside[0])
    if outside := difference[~(np.abs(difference) <= 1)].tolist():
        raise InputError("difference", expected="a number in [-1, 1]", got=outside[0])
