"""What the champion's answers cost, by their confidence: labelled and unlabelled rows in blocks."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from continualml.errors import InputError

# Edges of 1 - the largest probability; narrow where a good model puts most of its answers.
_DOUBT_EDGES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75)
_VALUE_BINS = 10
_FEWEST_ROWS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationQuestion:
    """How rows are binned and blocked, fixed before they are seen.

    Parameters
    ----------
    edges
        Increasing bounds between the bins of an answer's doubt (1 - its largest probability) or,
        for a regression, of its value; ``doubt_edges`` and ``value_edges`` make them.
    block
        Consecutive labelled rows after which the next ones are as good as independent, at least 1.
    measures
        How many losses each labelled row has (say Brier loss and error: 2), each in [0, 1].
    kept
        How many spans of rows are remembered, of labelled and of all rows each, at least 8.

    Raises
    ------
    InputError
        If a value lies outside its range.
    """

    edges: tuple[float, ...]
    block: int
    measures: int = 1
    kept: int = 128

    def __post_init__(self) -> None:
        """Refuse what could not be counted."""
        if not np.all(np.diff(self.edges) > 0) or not np.isfinite(self.edges).all():
            raise InputError("edges", expected="increasing finite numbers", got=self.edges)
        for name, least in (("block", 1), ("measures", 1), ("kept", 8)):
            if (got := getattr(self, name)) < least:
                raise InputError(name, expected=f"at least {least}", got=got)

    @property
    def bins(self) -> int:
        """How many bins there are."""
        return len(self.edges) + 1

    @property
    def span(self) -> int:
        """Rows remembered as one: whole blocks and 24 at least, so that memory is long."""
        return self.block * math.ceil(_FEWEST_ROWS / self.block)


def doubt_edges(width: int) -> tuple[float, ...]:
    """Bounds for the answers of a classification with ``width`` classes."""
    return tuple(e for e in _DOUBT_EDGES if e < 1 - 1 / width)


def value_edges(answer: NDArray[np.float64]) -> tuple[float, ...]:
    """Bounds for the answers of a regression: deciles of (n, 1) answers on held-back rows."""
    inner = np.linspace(0, 1, _VALUE_BINS + 1)[1:-1]
    return tuple(np.unique(np.quantile(answer[:, 0], inner)).tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledBlock:
    """Labelled rows in a row: ``count`` (bins,) of them, ``loss`` (measures, bins) their sums."""

    rows: int
    count: tuple[int, ...]
    loss: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBlock:
    """Rows answered in a row, from the number ``first`` on; ``count`` (bins,) have no label yet."""

    first: int
    rows: int
    count: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationState:
    """What is known of one champion's answers.

    Parameters
    ----------
    seq
        Number of the last labelled row taken in (that at which its label and it were there).
    row_seq
        Number of the last answered row taken in.
    newest
        Largest number of an answered row that has its label; at first, where the fold began.
    labelled, rows
        Newest blocks, the oldest first; the last of each may be open.
    n_labelled, n_rows
        Labelled and answered rows taken in, ever.
    """

    seq: int
    row_seq: int
    newest: int
    labelled: tuple[LabelledBlock, ...] = ()
    rows: tuple[RowBlock, ...] = ()
    n_labelled: int = 0
    n_rows: int = 0


def untouched(*, seq: int) -> CalibrationState:
    """Nothing known of a new champion; rows at or below ``seq`` will not count."""
    return CalibrationState(seq=seq, row_seq=seq, newest=seq)


def step_unlabelled(
    question: CalibrationQuestion,
    state: CalibrationState,
    seq: NDArray[np.int64],
    answer: NDArray[np.float64],
) -> CalibrationState:
    """Fold rows that the champion answered; whose label comes is taken away by its label.

    Parameters
    ----------
    seq
        (n,) numbers of the rows, strictly increasing; those at or below ``state.row_seq`` are
        skipped.
    answer
        (n, width) probabilities, or values with width 1.

    Raises
    ------
    InputError
        If the arrays do not fit, the numbers do not increase or an answer is no number.
    """
    _check(seq, answer)
    start = int(np.searchsorted(seq, state.row_seq, side="right"))
    if start == len(seq):
        return state
    seq, bins = seq[start:], _bins(question, answer[start:])
    before, begun = _open(state.rows, question.span)
    at = (begun + np.arange(len(seq))) // question.span
    n = int(at[-1]) + 1
    count = np.bincount(at * question.bins + bins, minlength=n * question.bins)
    count = count.reshape(n, question.bins)
    size = np.bincount(at, minlength=n)
    first = seq[np.searchsorted(at, np.arange(n))]
    if begun:
        opened = state.rows[-1]
        count[0] += opened.count
        size[0] += opened.rows
        first[0] = opened.first
    fresh = tuple(
        RowBlock(first=f, rows=r, count=tuple(c))
        for f, r, c in zip(first.tolist(), size.tolist(), count.tolist(), strict=True)
    )
    return replace(
        state,
        row_seq=int(seq[-1]),
        rows=(*state.rows[:before], *fresh)[-question.kept :],
        n_rows=state.n_rows + len(seq),
    )


def step_labelled(
    question: CalibrationQuestion,
    state: CalibrationState,
    seq: NDArray[np.int64],
    answer: NDArray[np.float64],
    loss: NDArray[np.float64],
    *,
    row_seq: NDArray[np.int64],
) -> CalibrationState:
    """Fold rows that got their label; those answered before are no longer unlabelled.

    Parameters
    ----------
    seq
        (n,) numbers at which row and label were both there, strictly increasing; those at or
        below ``state.seq`` are skipped.
    answer
        (n, width) as the champion answered.
    loss
        (n, measures) in [0, 1].
    row_seq
        (n,) the rows' own numbers, as given to ``step_unlabelled``, or 0 for a row that was not.
        A row is given there before its label is given here: then portions do not matter.

    Raises
    ------
    InputError
        If the arrays do not fit each other, a value lies outside its range, or the label of a row
        comes before it; nothing is folded then.
    """
    _check(seq, answer)
    if row_seq.shape != seq.shape or loss.shape != (len(seq), question.measures):
        expected = f"row_seq {seq.shape}, loss {(len(seq), question.measures)}"
        raise InputError("loss", expected=expected, got=(row_seq.shape, loss.shape))
    if outside := loss[~((loss >= 0) & (loss <= 1))].tolist():
        raise InputError("loss", expected="a number in [0, 1]", got=outside[0])
    start = int(np.searchsorted(seq, state.seq, side="right"))
    if start == len(seq):
        return state
    seq, row_seq, loss = seq[start:], row_seq[start:], loss[start:]
    if (latest := int(row_seq.max())) > state.row_seq:
        expected = f"rows up to {state.row_seq}, those taken in by step_unlabelled"
        raise InputError("row_seq", expected=expected, got=latest)
    bins = _bins(question, answer[start:])
    return replace(
        state,
        seq=int(seq[-1]),
        labelled=_labelled(question, state, bins, loss)[-question.kept :],
        rows=_without(state.rows, row_seq, bins),
        newest=max(state.newest, latest),
        n_labelled=state.n_labelled + len(seq),
    )


def _labelled(
    question: CalibrationQuestion,
    state: CalibrationState,
    bins: NDArray[np.intp],
    loss: NDArray[np.float64],
) -> tuple[LabelledBlock, ...]:
    before, begun = _open(state.labelled, question.span)
    at = (begun + np.arange(len(bins))) // question.span
    n, cell = int(at[-1]) + 1, at * question.bins + bins
    opened = state.labelled[before:]
    count = np.bincount(cell, minlength=n * question.bins).reshape(n, question.bins)
    size = np.bincount(at, minlength=n)
    for block in opened:
        count[0] += block.count
        size[0] += block.rows
    # bincount adds row by row; the open block's sums come first, so that no cut shows.
    places = np.concatenate((np.arange(question.bins), cell))
    sums = [
        np.bincount(
            places,
            np.concatenate((opened[0].loss[k] if opened else np.zeros(question.bins), loss[:, k])),
            minlength=n * question.bins,
        ).reshape(n, question.bins)
        for k in range(question.measures)
    ]
    return (
        *state.labelled[:before],
        *(
            LabelledBlock(
                rows=int(size[i]),
                count=tuple(count[i].tolist()),
                loss=tuple(tuple(s[i].tolist()) for s in sums),
            )
            for i in range(n)
        ),
    )


def _without(
    blocks: tuple[RowBlock, ...], row_seq: NDArray[np.int64], bins: NDArray[np.intp]
) -> tuple[RowBlock, ...]:
    """Take labelled rows out of the blocks that are still remembered."""
    if not blocks:
        return blocks
    count = np.array([b.count for b in blocks])
    at = np.searchsorted(np.array([b.first for b in blocks]), row_seq, side="right") - 1
    there = at >= 0
    np.subtract.at(count, (at[there], bins[there]), 1)
    return tuple(replace(b, count=tuple(c)) for b, c in zip(blocks, count.tolist(), strict=True))


def _open(blocks: tuple[LabelledBlock | RowBlock, ...], block: int) -> tuple[int, int]:
    """Count the full blocks, and the rows of the open one."""
    if blocks and blocks[-1].rows < block:
        return len(blocks) - 1, blocks[-1].rows
    return len(blocks), 0


def _bins(question: CalibrationQuestion, answer: NDArray[np.float64]) -> NDArray[np.intp]:
    scalar = answer[:, 0] if answer.shape[1] == 1 else 1 - answer.max(axis=1)
    return np.searchsorted(np.array(question.edges), scalar, side="right")


def _check(seq: NDArray[np.int64], answer: NDArray[np.float64]) -> None:
    if seq.ndim != 1 or answer.ndim != 2 or len(answer) != len(seq):  # noqa: PLR2004  rows, width
        raise InputError("answer", expected=f"shape ({len(seq)}, width)", got=answer.shape)
    if (falls := np.flatnonzero(np.diff(seq) <= 0)).size:
        pair = seq[falls[0] : falls[0] + 2].tolist()
        raise InputError("seq", expected="strictly increasing numbers", got=pair)
    if not np.isfinite(answer).all():
        raise InputError("answer", expected="finite numbers", got=float("nan"))
