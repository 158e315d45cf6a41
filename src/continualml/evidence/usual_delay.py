"""How soon labels used to come."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from continualml.errors import InputError
from continualml.evidence.reference import mean_and_error

_QUANTILE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayReference:
    """How labels used to come; delays and gaps are counted in observations.

    Parameters
    ----------
    rows
        Observations that were old enough to tell.
    horizon
        Nine of ten labels came while at most so many further observations were logged.
    overdue, error
        Share of observations without a label by then, and its standard error.
    longest_gap
        Most observations between two labels, or until the first one after it could have come.
    """

    rows: int
    horizon: int
    overdue: float
    error: float
    longest_gap: int


def of_events(
    observed: NDArray[np.bool_], delay: NDArray[np.float64], *, block: int = 1
) -> DelayReference:
    """Describe how labels came (see ``delay.step`` for the arrays).

    Notes
    -----
    The horizon is taken from the first half of the observations, whose labels had time to come;
    delays longer than the other half are not seen. All that were due then are counted.

    Raises
    ------
    InputError
        If no observation of the first half has a label, or none was due.
    """
    check_events(np.arange(1, len(delay) + 1), observed, delay)
    at = np.cumsum(observed)
    n = int(at[-1]) if len(at) else 0
    came = ~np.isnan(delay)
    of: NDArray[np.int64] = at[came] - delay[came].astype(np.int64)
    early = delay[came][(of >= 1) & (of <= n / 2)]
    if not len(early):
        raise InputError("delay", expected="labels of the first half of the rows", got=len(early))
    horizon = int(np.quantile(early, _QUANTILE, method="inverted_cdf"))
    due = n - horizon - 1
    if due < 1:
        raise InputError("delay", expected="observations whose labels are due", got=n)
    overdue = np.ones(n, dtype=np.bool_)
    overdue[of[(of >= 1) & (delay[came] <= horizon)] - 1] = False
    stretch = math.ceil(math.sqrt(due) / block) * block
    every = np.ones(due, dtype=np.bool_)
    (share,), (error,) = mean_and_error(overdue[:due, None], every, stretch)
    # What comes in lumps makes its longest gap before the first one.
    soonest = min(int(delay[came][of >= 1].min()), int(at[came][0]))
    gaps = np.diff(at[came], prepend=soonest)
    return DelayReference(
        rows=due,
        horizon=horizon,
        overdue=share,
        error=error,
        longest_gap=int(gaps.max(initial=0)),
    )


def check_events(
    seq: NDArray[np.int64], observed: NDArray[np.bool_], delay: NDArray[np.float64]
) -> None:
    """Refuse events that ``delay.step`` could not take."""
    if not seq.shape == observed.shape == delay.shape == (len(seq),):
        got = (seq.shape, observed.shape, delay.shape)
        raise InputError("delay", expected="three arrays of one length", got=got)
    if (falls := np.flatnonzero(np.diff(seq) <= 0)).size:
        pair = seq[falls[0] : falls[0] + 2].tolist()
        raise InputError("seq", expected="strictly increasing numbers", got=pair)
    given = delay[~np.isnan(delay)]
    if wrong := given[~((given >= 0) & (given == np.floor(given)) & (given < math.inf))].tolist():
        raise InputError("delay", expected="a whole number >= 0, or NaN", got=wrong[0])
