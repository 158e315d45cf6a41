"""All running evidence about one champion as one state, fed row by row, betting once a block."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from continualml.errors import InputError
from continualml.evidence import gate, growth, loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What is asked, fixed before the rows are seen.

    Parameters
    ----------
    alarms
        The promises to the champion's loss, one for each metric, with one budget and one block
        for all of them; the block is everybody's.
    promotion
        What is promised about challengers that are not better, all places together.
    shares
        The part of that promise that each place for a challenger has, also while it is empty;
        positive numbers that sum to at most 1.
    """

    alarms: tuple[loss.LossQuestion, ...]
    promotion: gate.Promise
    shares: tuple[float, ...]

    @property
    def block(self) -> int:
        """Rows that make one bet."""
        return self.alarms[0].block

    @property
    def alarm_threshold(self) -> float:
        """Mean evidence over the metrics at which it alarms.

        A mean of statistics, each of which minus the number of blocks is a supermartingale, is
        such a statistic again: watching several metrics costs no second budget.
        """
        return self.alarms[0].threshold

    @property
    def proofs(self) -> tuple[float, ...]:
        """Evidence at which the challenger of each place is proven better.

        A chance is split among the places (union bound). So is a rate: the mean of all places'
        statistics with their shares as weights keeps it, and reaches the threshold before one
        place reaches its own.
        """
        threshold = self.promotion.threshold(self.block)
        return tuple(threshold / share for share in self.shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Evidence up to ``seq``; the open block has ``rows`` rows and began at ``first`` (0: none).

    ``gone`` are the most rows that any place had bet on when the policy last changed: a place that
    was taken away is forgotten, what it spent is not.
    """

    seq: int
    rows: int
    first: int
    alarms: tuple[loss.LossEvidence, ...]
    alarm_sums: tuple[float, ...]
    gates: tuple[gate.GateEvidence, ...]
    sums: tuple[float, ...]
    gone: int = 0

    @property
    def alarm(self) -> float:
        """Mean evidence over the metrics, to be held against ``alarm_threshold``."""
        return _mean([a.value for a in self.alarms])

    @property
    def strongest(self) -> int:
        """Place of the metric with the most evidence."""
        return max(range(len(self.alarms)), key=lambda i: self.alarms[i].value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """At ``seq`` evidence reached its threshold: the alarm's, or that of ``proven`` challengers.

    ``proven`` are places in the order of their evidence beside its threshold, the strongest first.
    """

    seq: int
    alarmed: bool
    proven: tuple[int, ...]


def forgotten(questions: Questions, state: Evidence, place: int) -> Evidence:
    """Begin one challenger's evidence anew: what was bet on another is no proof of this one."""
    gates, sums = list(state.gates), list(state.sums)
    rows = gates[place].rows  # what has been spent of the promise stays spent
    gates[place], sums[place] = replace(gate.untouched(questions.block), rows=rows), 0.0
    return replace(state, gates=tuple(gates), sums=tuple(sums))


def anew(questions: Questions, state: Evidence, *, seq: int) -> Evidence:
    """Begin all evidence anew about the same champion; what was spent of the promise stays so."""
    begun = untouched(questions, seq=seq)
    gates = zip(begun.gates, state.gates, strict=True)
    spent = tuple(replace(new, rows=old.rows) for new, old in gates)
    return replace(begun, gates=spent, gone=state.gone)


def untouched(questions: Questions, *, seq: int) -> Evidence:
    """Evidence before any row; rows at or below ``seq`` will not count."""
    block, n = questions.block, len(questions.shares)
    return Evidence(
        seq=seq,
        rows=0,
        first=0,
        alarms=tuple(loss.untouched(q) for q in questions.alarms),
        alarm_sums=(0.0,) * len(questions.alarms),
        gates=(gate.untouched(block),) * n,
        sums=(0.0,) * n,
    )


def silenced(questions: Questions, state: Evidence) -> Evidence:
    """Begin the alarm's evidence anew, after it has spoken."""
    return replace(
        state,
        alarms=tuple(loss.untouched(q) for q in questions.alarms),
        alarm_sums=(0.0,) * len(questions.alarms),
    )


def step(
    questions: Questions,
    state: Evidence,
    seq: NDArray[np.int64],
    watched: NDArray[np.float64],
    difference: NDArray[np.float64],
    *,
    present: tuple[bool, ...],
    quiet: int = 0,
) -> tuple[Evidence, Crossing | None]:
    """Fold labelled rows until one block crosses a threshold, or to the end.

    Parameters
    ----------
    seq
        (n,) sequence numbers, strictly increasing; rows at or below ``state.seq`` are skipped.
    watched
        (n, alarms) the champion's losses in [0, 1] that the promises are about.
    difference
        (n, challengers) loss of the champion - loss of the challenger, in [-1, 1].
    present
        Which places hold a challenger other than the champion; the others do not bet.
    quiet
        Rows from here on before which a proof is not heard (cooldown).

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
    new = np.column_stack((watched, difference))[start:]
    if not len(new):
        return state, None
    seq, block, m = seq[start:], questions.block, len(questions.alarms)
    totals, rest = _block_sums(new, np.array([*state.alarm_sums, *state.sums]), state.rows, block)
    last = np.arange(len(totals)) * block + (block - state.rows - 1)  # each block's last row
    first = np.concatenate(([state.first if state.rows else seq[0]], seq[last[:-1] + 1]))
    here = [i for i, there in enumerate(present) if there]
    states = tuple(state.gates[i] for i in here)
    laid, moments = gate.bets(questions.promotion, states, totals[:, m:][:, here], block=block)
    *told, gained = growth.grown(
        [
            *(
                loss.bets(q, a, totals[:, k] / block)
                for k, (q, a) in enumerate(zip(questions.alarms, state.alarms, strict=True))
            ),
            laid,
        ]
    )
    begins = first[: len(totals)]
    alarms = [loss.path(a, t, begins) for a, t in zip(state.alarms, told, strict=True)]
    path = gate.path(states, gained, moments, block=block)
    heard = np.arange(1, len(totals) + 1) * block - state.rows > quiet
    crossing, block_at = _first_crossing(questions, seq[last], alarms, path, here=here, heard=heard)
    after = _after(state, alarms, path, here, block_at)
    if crossing:
        none, nobody = (0.0,) * m, (0.0,) * len(state.sums)
        return replace(
            after, seq=crossing.seq, rows=0, first=0, alarm_sums=none, sums=nobody
        ), crossing
    rows = (state.rows + len(seq)) % block
    return replace(
        after,
        seq=int(seq[-1]),
        rows=rows,
        first=_open_since(state, seq, last, rows),
        alarm_sums=tuple(rest[:m].tolist()),
        sums=tuple(rest[m:].tolist()),
    ), None


def _block_sums(
    new: NDArray[np.float64], begun: NDArray[np.float64], rows: int, block: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum columns over whole blocks, row by row, going on from the sums of the open block.

    Returns
    -------
    (n, columns) sums of the blocks that are full now, and those of the block left open.
    """
    head = min(block - rows, len(new))
    # Seeded, not added afterwards: s + cumsum(x) rounds differently for every way to cut x.
    opened = np.cumsum(np.vstack((begun, new[:head])), axis=0)[-1]
    if rows + head < block:
        return np.empty((0, new.shape[1])), opened
    full = (len(new) - head) // block
    middle = new[head : head + full * block].reshape(full, block, new.shape[1])
    sums = np.cumsum(middle, axis=1)[:, -1] if full else np.empty((0, new.shape[1]))
    tail = new[head + full * block :]
    rest = np.cumsum(tail, axis=0)[-1] if len(tail) else np.zeros(new.shape[1])
    return np.vstack((opened, sums)), rest


def _first_crossing(
    questions: Questions,
    ends: NDArray[np.int64],
    alarms: list[loss.LossPath],
    path: gate.GatePath,
    *,
    here: list[int],
    heard: NDArray[np.bool_],
) -> tuple[Crossing | None, int]:
    """Find the first block after which a threshold is reached, and its place; else the last."""
    bound, proof = questions.alarm_threshold, [questions.proofs[i] for i in here]
    # A mean reaches a threshold only where one bet does; the exact mean is taken there alone.
    highest = np.max([a.wealth.max(axis=1) for a in alarms], axis=0)
    strong = (path.wealth.max(axis=2) >= proof).any(axis=1)
    maybe = (highest >= bound) | (strong & heard)
    for t in np.flatnonzero(maybe).tolist():
        level = {i: path.at(t, k).value / proof[k] for k, i in enumerate(here)}
        there = (i for i, reached in level.items() if reached >= 1 and heard[t])
        proven = sorted(there, key=lambda i: -level[i])
        alarmed = _mean([a.at(t).value for a in alarms]) >= bound
        if alarmed or proven:
            return Crossing(seq=int(ends[t]), alarmed=alarmed, proven=tuple(proven)), t
    return None, len(ends) - 1


def _after(
    state: Evidence, alarms: list[loss.LossPath], path: gate.GatePath, here: list[int], at: int
) -> Evidence:
    if at < 0:
        return state
    gates = list(state.gates)
    for k, i in enumerate(here):
        gates[i] = path.at(at, k)
    return replace(state, alarms=tuple(a.at(at) for a in alarms), gates=tuple(gates))


def _open_since(state: Evidence, seq: NDArray[np.int64], last: NDArray[np.int64], rows: int) -> int:
    """Return the number of the open block's first row; 0 when none is open."""
    if not rows:
        return 0
    if not len(last):
        return state.first if state.rows else int(seq[0])
    return int(seq[last[-1] + 1])


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _check(
    questions: Questions,
    seq: NDArray[np.int64],
    watched: NDArray[np.float64],
    difference: NDArray[np.float64],
) -> None:
    wanted = (len(seq), len(questions.alarms))
    if seq.ndim != 1 or watched.shape != wanted:
        raise InputError("watched", expected=f"shape {wanted}", got=watched.shape)
    if difference.shape != (len(seq), len(questions.shares)):
        raise InputError(
            "difference",
            expected=f"shape {(len(seq), len(questions.shares))}",
            got=difference.shape,
        )
    if (falls := np.flatnonzero(np.diff(seq) <= 0)).size:
        pair = seq[falls[0] : falls[0] + 2].tolist()
        raise InputError("seq", expected="strictly increasing numbers", got=pair)
    if outside := watched[~((watched >= 0) & (watched <= 1))].tolist():
        raise InputError("watched", expected="a loss in [0, 1]", got=outside[0])
    if outside := difference[~(np.abs(difference) <= 1)].tolist():
        raise InputError("difference", expected="a number in [-1, 1]", got=outside[0])
