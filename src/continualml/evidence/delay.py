"""Do labels still come, and as soon as they used to? No labels yet is not "fine"."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from continualml.errors import InputError
from continualml.evidence import growth, loss
from continualml.evidence.usual_delay import DelayReference, check_events

_STANDARD_ERRORS = 3.0
_SILENT_BLOCKS = 20
_SILENT_GAPS = 5
# Observations followed at once; where more are open, only every second, third… is followed.
_MOST_OPEN = 4_096
_MOST_PROMISED = 0.999


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayQuestion:
    """What is asked of the labels' coming, fixed before the rows are seen.

    Parameters
    ----------
    budget
        Expected observations to a false alarm about overdue labels, at least.
    block
        Consecutive (followed) observations that make one bet, at least 1; a bet spans the longest
        gap too, because what came in one lump is late or in time together.
    tolerance
        By how much the share of overdue observations may rise, in [0, 1); three standard errors
        of the reference's are added.

    Raises
    ------
    InputError
        If a value lies outside its range.
    """

    reference: DelayReference
    budget: float
    block: int
    tolerance: float = 0.03

    def __post_init__(self) -> None:
        """Refuse values for which the guarantee would not hold."""
        if not 0 <= self.tolerance < 1:
            raise InputError("tolerance", expected="a number in [0, 1)", got=self.tolerance)
        _ = self.alarm

    @property
    def _highest(self) -> float:
        overdue, error = self.reference.overdue, self.reference.error
        return overdue + self.tolerance + _STANDARD_ERRORS * error

    @property
    def tells(self) -> bool:
        """Whether a rise could be told; where so few are labelled, only silence is said."""
        return self._highest <= _MOST_PROMISED

    @property
    def stride(self) -> int:
        """Every which observation is followed, so that at most 4,096 are open."""
        return stride(self.reference)

    @property
    def bet(self) -> int:
        """Followed observations that make one bet."""
        return max(self.block, math.ceil(self.reference.longest_gap / self.stride))

    @property
    def alarm(self) -> loss.LossQuestion:
        """To be overdue is a loss of 1; its mean may be so high."""
        return loss.LossQuestion(
            promised=min(self._highest, _MOST_PROMISED),
            budget=self.budget / self.stride,
            block=self.bet,
        )

    @property
    def silence(self) -> int:
        """Observations without any label after which that is said."""
        return max(_SILENT_BLOCKS * self.block, _SILENT_GAPS * self.reference.longest_gap)


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayEvidence:
    """Evidence up to ``seq``, after ``observations``.

    ``labelled_at`` is the number of observations at the last label (in the beginning, when the
    first label is due) and ``label`` its number; ``labelled`` has one byte for each followed
    observation that is not due yet, 1 where its label has come. The open block has ``rows``
    observations of which ``overdue`` were, and began at ``first`` (0: none). ``anew`` is the first
    row bet on since the last alarm (0: none yet; -1: no alarm yet).
    """

    seq: int
    observations: int
    labelled_at: int
    label: int
    silent: bool
    labelled: bytes
    rows: int
    first: int
    overdue: int
    anew: int
    alarm: loss.LossEvidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """At ``seq`` the evidence that more labels are overdue reached its threshold.

    Late and lost cannot be told apart then. ``again``: it has not been otherwise since the alarm
    before. ``began`` is the row at which the first of these
    observations was due.
    """

    seq: int
    evidence: float
    threshold: float
    began: int
    again: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """At ``seq`` no label had come during ``observations``, more than ever belongs to chance.

    ``began`` is the number of the last label, or where the evidence begins.
    """

    seq: int
    observations: int
    began: int


def stride(reference: DelayReference) -> int:
    """Every which observation is followed, so that at most 4,096 are open."""
    return max(math.ceil((reference.horizon + 1) / _MOST_OPEN), 1)


def untouched(question: DelayQuestion, *, seq: int = 0) -> DelayEvidence:
    """Evidence before any row; rows at or below ``seq`` will not count."""
    return DelayEvidence(
        seq=seq,
        observations=0,
        labelled_at=question.reference.horizon,
        label=seq,
        silent=False,
        labelled=b"",
        rows=0,
        first=0,
        overdue=0,
        anew=-1,
        alarm=loss.untouched(question.alarm),
    )


def asked_anew(question: DelayQuestion, state: DelayEvidence) -> DelayEvidence:
    """Go on under another question about the same reference: its bets begin anew."""
    return replace(state, rows=0, first=0, overdue=0, anew=-1, alarm=loss.untouched(question.alarm))


def step(
    question: DelayQuestion,
    state: DelayEvidence,
    seq: NDArray[np.int64],
    observed: NDArray[np.bool_],
    delay: NDArray[np.float64],
) -> tuple[DelayEvidence, tuple[Overdue | Silence, ...]]:
    """Fold rows of the log, observations and labels as they came.

    Parameters
    ----------
    seq
        (n,) sequence numbers, strictly increasing; rows at or below ``state.seq`` are skipped.
    observed
        (n,) whether the row is an observation.
    delay
        (n,) where the row brought observation and label together: the observations logged since
        that one, a whole number >= 0; else NaN. An observation whose label was there before it
        is both, with delay 0.

    Returns
    -------
    The state after the last row, and what is to be said, in the order of the rows. After an
    alarm its evidence begins anew; a silence is said once, until a label comes.

    Raises
    ------
    InputError
        If the arrays do not fit each other, the numbers do not increase or a delay is none;
        nothing is folded then.

    Notes
    -----
    An observation is overdue if ``horizon`` further ones were logged without its label. To be
    overdue is settled in the order of the observations, so that a label that never comes counts
    as one that comes late; the delays of the labels that did come would not show it. The
    evidence is the loss alarm's, with its guarantee, for the null that the probability to be
    overdue, given all blocks before, is at most the reference's + tolerance + 3 standard errors.
    Silence is a plain rule, without a claim: no label during more than
    ``max(20 blocks, 5 x the longest gap in the reference)`` observations.
    """
    check_events(seq, observed, delay)
    start = int(np.searchsorted(seq, state.seq, side="right"))
    seq, observed, delay = seq[start:], observed[start:], delay[start:]
    if not len(seq):
        return state, ()
    at = state.observations + np.cumsum(observed)
    came = ~np.isnan(delay)
    silences = _silences(question, state, seq, at, came)
    labels = np.flatnonzero(came)
    labelled_at = max(int(at[labels[-1]]) if len(labels) else 0, state.labelled_at)
    horizon, stride = question.reference.horizon, question.stride
    # Followed observations are numbered 1, 2, …; those up to ``settled`` had been due before.
    settled = max(state.observations - horizon - 1, 0) // stride
    now_settled = max(int(at[-1]) - horizon - 1, 0) // stride
    labelled = np.zeros(int(at[-1]) // stride - settled, dtype=np.uint8)
    labelled[: len(state.labelled)] = np.frombuffer(state.labelled, dtype=np.uint8)
    of = at[came] - delay[came].astype(np.int64)
    timely = of[(delay[came] <= horizon) & (of % stride == 0) & (of > settled * stride)]
    labelled[timely // stride - settled - 1] = 1
    n_due = now_settled - settled
    due = (np.arange(settled, now_settled) + 1) * stride + horizon + 1
    state, alarms = _bet(
        question, state, seq[np.searchsorted(at, due)], 1 - labelled[:n_due].astype(np.int64)
    )
    after = replace(
        state,
        seq=int(seq[-1]),
        observations=int(at[-1]),
        labelled_at=labelled_at,
        label=int(seq[labels[-1]]) if len(labels) else state.label,
        silent=int(at[-1]) - labelled_at > question.silence,
        labelled=labelled[n_due:].tobytes(),
    )
    return after, tuple(sorted((*alarms, *silences), key=lambda said: said.seq))


def _silences(
    question: DelayQuestion,
    state: DelayEvidence,
    seq: NDArray[np.int64],
    at: NDArray[np.int64],
    came: NDArray[np.bool_],
) -> list[Silence]:
    """Find where silences begin."""
    last = np.maximum.accumulate(np.where(came, at, state.labelled_at))
    quiet = at - last
    silent = np.concatenate(([state.silent], quiet > question.silence))
    begins = np.flatnonzero(silent[1:] & ~silent[:-1]).tolist()
    label = np.maximum.accumulate(np.where(came, seq, state.label))
    return [
        Silence(seq=int(seq[i]), observations=int(quiet[i]), began=int(label[i])) for i in begins
    ]


def _bet(
    question: DelayQuestion,
    state: DelayEvidence,
    seq: NDArray[np.int64],
    overdue: NDArray[np.int64],
) -> tuple[DelayEvidence, list[Overdue]]:
    """Bet on the observations that are due, block by block, anew after each alarm."""
    alarm, block, evidence = question.alarm, question.bet, state.alarm
    full, open_rows = divmod(state.rows + len(seq), block)
    if not len(seq) or not question.tells:
        return state, []
    starts = np.maximum(np.arange(full + (open_rows > 0)) * block - state.rows, 0)
    sums = np.add.reduceat(overdue, starts)
    sums[0] += state.overdue
    first = seq[starts]
    first[0] = state.first if state.rows else first[0]
    means, said, at, anew = sums[:full] / block, list[Overdue](), 0, state.anew
    while at < full:
        anew = anew or int(first[at])
        (grown,) = growth.grown([loss.bets(alarm, evidence, means[at:])])
        path = loss.path(evidence, grown, first[at:full])
        high = np.flatnonzero(path.wealth.max(axis=1) >= alarm.threshold).tolist()
        reached = [i for i in high if path.at(i).value >= alarm.threshold][:1]
        evidence = path.at(reached[0] if reached else -1)
        at = at + reached[0] + 1 if reached else full
        if reached:
            said.append(
                Overdue(
                    seq=int(seq[at * block - state.rows - 1]),
                    evidence=evidence.value,
                    threshold=alarm.threshold,
                    began=evidence.strongest_began,
                    again=evidence.strongest_began == anew,
                )
            )
            anew = 0
            evidence = loss.untouched(alarm)
    return replace(
        state,
        alarm=evidence,
        rows=open_rows,
        first=int(first[-1]) if open_rows else 0,
        overdue=int(sums[-1]) if open_rows else 0,
        anew=anew,
    ), said
