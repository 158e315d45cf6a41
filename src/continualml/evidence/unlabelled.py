"""Performance without labels: what the champion's newest answers probably cost."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from continualml.errors import InputError
from continualml.evidence.calibration import CalibrationQuestion, CalibrationState

FEWEST_BLOCKS = 4
# One row, at the mean loss of the bins around, is counted into each bin: what an empty one answers.
_PRIOR_ROWS = 1.0
_NEIGHBOUR = 0.25
_ONE_SIDED_95 = 1.645


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Mean loss of the rows without a label, as it will probably turn out.

    Parameters
    ----------
    value, low, high
        The estimate and the ends of its interval, all in [0, 1].
    n_labelled, n_unlabelled
        Labelled rows that correct it, and rows it is about.
    age_rows
        Answered rows since the newest one that has its label.
    power
        Weight of the calibrated answers in [0, 1]; at 0 it is the mean of the labelled rows.
    """

    value: float
    low: float
    high: float
    n_labelled: int
    n_unlabelled: int
    age_rows: int
    power: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rectifier:
    """Blockwise mean of loss - power x calibrated loss, and how it behaves over time."""

    mean: float
    blocks: int
    block_variance: float
    wandered: float
    may_wander: float


def estimate(
    question: CalibrationQuestion,
    state: CalibrationState,
    *,
    measure: int = 0,
    level: float = 0.95,
) -> Estimate | None:
    """Estimate the mean loss of the remembered rows whose labels have not come.

    Parameters
    ----------
    measure
        Which of the question's losses.
    level
        Chance, about, that the interval will hold the mean of the true losses, in (0, 1).

    Returns
    -------
    None while there are fewer than four blocks of labels, or no row without one: nothing can be
    said then, which is not the same as "all is well".

    Notes
    -----
    The value is ``power x mean over unlabelled rows of f + mean over labelled rows of (loss -
    power x f)``: prediction-powered inference (Angelopoulos et al. 2023, arXiv 2301.09633), where
    ``f`` is the mean loss of labelled answers in the same bin. For a labelled block ``f`` leaves
    that block out. ``power`` is the slope of loss on ``f``, of rows or of spans: PPI++ (2311.01453)
    multiplies it by 1 / (1 + n/N) because it asks for the mean of a population; asked here is the
    mean of these very rows, whose error is smallest without that factor.

    The variance has five parts: of the labelled blocks' mean; of the unlabelled rows themselves;
    of ``f`` where the two differ in their bins; of what the rectifier has wandered, and may
    wander, by the age of the newest label; and (1.5/n)^2 for a loss that no labelled row has
    shown yet (the rule of three).

    Assumed: rows of different blocks are independent but for a random walk of the rectifier, as
    fast at most as its blocks so far let one think; inside a bin the loss does not depend on
    which rows come. A change of the labels' law that begins after the newest label, and is faster
    than anything before, can be seen by nobody, and not by this.

    Raises
    ------
    InputError
        If ``level`` or ``measure`` lies outside its range.
    """
    if not 0 < level < 1:
        raise InputError("level", expected="a number in (0, 1)", got=level)
    if not 0 <= measure < question.measures:
        raise InputError("measure", expected=f"below {question.measures}", got=measure)
    full = [b for b in state.labelled if b.rows == question.span]
    waiting = _waiting(question, state)
    if len(full) < FEWEST_BLOCKS or not waiting.any():
        return None
    count = np.array([b.count for b in full], dtype=np.float64)
    loss = np.array([b.loss[measure] for b in full])
    without = _calibrated(count.sum(axis=0) - count, loss.sum(axis=0) - loss)
    power = _power(count, loss, without)
    rectifier = _rectifier((loss - power * count * without).sum(axis=1) / question.span)

    f = _calibrated(count.sum(axis=0), loss.sum(axis=0))
    n_unlabelled, n_labelled = int(waiting.sum()), rectifier.blocks * question.span
    there, here = count[-rectifier.blocks :].sum(axis=0) / n_labelled, waiting.sum(axis=0)
    here = here / n_unlabelled
    row_variance = rectifier.block_variance * question.span
    bound = f * (1 - f)  # of a loss in [0, 1] with this mean, the largest variance
    harder = float(here @ bound) / max(float(there @ bound), 1e-12)
    hanging = max(1.0, row_variance / max(float(there @ bound), 1e-12))
    moved = (here - there) ** 2 * bound / (count.sum(axis=0) + _PRIOR_ROWS)
    age_rows, mean_age = _ages(state, waiting)
    variance = (
        rectifier.block_variance / rectifier.blocks
        + rectifier.wandered * rectifier.blocks / 3
        + rectifier.may_wander * mean_age / _rows_per_block(question, state)
        + row_variance * harder / n_unlabelled
        + power**2 * hanging * float(moved.sum())
        + (1.5 / n_labelled) ** 2
    )
    value = min(max(power * float(here @ f) + rectifier.mean, 0.0), 1.0)
    reach = student_quantile(0.5 + level / 2, rectifier.blocks - 1) * math.sqrt(variance)
    return Estimate(
        value=value,
        low=max(value - reach, 0.0),
        high=min(value + reach, 1.0),
        n_labelled=n_labelled,
        n_unlabelled=n_unlabelled,
        age_rows=age_rows,
        power=power,
    )


def student_quantile(chance: float, freedom: int) -> float:
    """Quantile of Student's t, by its expansion around the normal (Abramowitz, Stegun 26.7.5)."""
    z, n = NormalDist().inv_cdf(chance), float(freedom)
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * n**4)
    )


def _waiting(question: CalibrationQuestion, state: CalibrationState) -> NDArray[np.int64]:
    """(blocks, bins) rows without a label.

    A row answered again by another version may be taken from another bin than it was put into.
    """
    counts = [b.count for b in state.rows]
    return np.maximum(np.array(counts, dtype=np.int64).reshape(-1, question.bins), 0)


def _calibrated(count: NDArray[np.float64], loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean loss of each bin, drawn a little towards that of its neighbours, the nearest most."""
    place = np.arange(count.shape[-1])
    near = _NEIGHBOUR ** np.abs(place[:, None] - place)
    around = (loss @ near) / (count @ near)
    mean: NDArray[np.float64] = (loss + _PRIOR_ROWS * around) / (count + _PRIOR_ROWS)
    return mean


def _power(count: NDArray[np.float64], loss: NDArray[np.float64], f: NDArray[np.float64]) -> float:
    """Slope of the losses on the calibrated ones, over rows, or over spans where that is less.

    Rows give the slope exactly, but where losses hang together only the means of spans say what
    is left of it; theirs is known roughly, so it counts at the upper end of its 95 % bound.
    """
    span, n = count.sum(axis=1), count.sum()
    centre, level = (count * f).sum() / n, loss.sum() / n
    over_rows = _slope(
        (count * (f - centre) ** 2).sum(), ((loss - count * level) * (f - centre)).sum()
    )
    x, y = (count * f).sum(axis=1) / span - centre, loss.sum(axis=1) / span - level
    squares = float(x @ x)
    over_spans = _slope(squares, float(x @ y))
    rest = y - over_spans * x
    error = math.sqrt(float(rest @ rest) / (len(x) - 2) / squares) if squares > 0 else 0.0
    return min(max(min(over_rows, over_spans + _ONE_SIDED_95 * error), 0.0), 1.0)


def _slope(squares: float, products: float) -> float:
    return float(products / squares) if squares > 0 else 0.0


def _rectifier(block_mean: NDArray[np.float64]) -> _Rectifier:
    """Split what the block means do into noise and a random walk (von Neumann's two variances).

    For noise of variance s and steps of variance q the variance of J means is s + q (J + 1) / 6 on
    average, half of their mean squared successive difference s + q / 2. Without steps the
    difference of the two has a standard error of about s sqrt((J - 2) / (J^2 - 1)).
    """
    j = len(block_mean)
    spread = float(block_mean.var(ddof=1))
    noise = float((np.diff(block_mean) ** 2).mean()) / 2
    step = 6 * (spread - noise) / (j - 2)
    error = 6 * spread / math.sqrt((j * j - 1) * (j - 2))
    sure = max(step - _ONE_SIDED_95 * error, 0.0)
    # The mean of k blocks misses the present by s / k + q k / 3: least at k = sqrt(3 s / q).
    best = math.sqrt(3 * noise / sure) if sure else j
    k = min(max(round(best), FEWEST_BLOCKS), j)
    return _Rectifier(
        mean=float(block_mean[-k:].mean()),
        blocks=k,
        block_variance=max(float(block_mean[-k:].var(ddof=1)), noise),
        wandered=sure,
        may_wander=_mean_above_zero(step, error),
    )


def _mean_above_zero(value: float, error: float) -> float:
    """Mean of what is known as value +- error (normal) and to be positive."""
    if error == 0:
        return max(value, 0.0)
    x = value / error
    density = math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return value + error * density / (math.erfc(-x / math.sqrt(2)) / 2)


def _rows_per_block(question: CalibrationQuestion, state: CalibrationState) -> float:
    """Answered rows that pass while one block of labels comes."""
    return question.span * max(state.n_rows / state.n_labelled, 1.0)


def _ages(state: CalibrationState, waiting: NDArray[np.int64]) -> tuple[int, float]:
    """Rows since the newest labelled one, for the last row and on average over the waiting ones.

    Inside a block they are counted from its middle. Before the oldest block that is remembered,
    rows are taken to have been as many among the log's numbers as after it.
    """
    first = np.array([b.first for b in state.rows])
    size = np.array([b.rows for b in state.rows])
    ends = np.cumsum(size)
    at = int(np.searchsorted(first, state.newest, side="right")) - 1
    if at >= 0:
        since = float(ends[at])
    else:
        density = float(ends[-1]) / (state.row_seq - int(first[0]) + 1)
        since = -density * (int(first[0]) - 1 - state.newest)
    middle = np.maximum(ends - size / 2 - since, 0.0)
    n = waiting.sum(axis=1)
    return round(max(float(ends[-1]) - since, 0.0)), float(middle @ n) / float(n.sum())
