"""What all bets on all columns have won, block after block."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from continualml.evidence.bets import Bets
from continualml.evidence.column import FULL


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where J sides with K bets each stand.

    Parameters
    ----------
    statistics
        (K + 1, J): the Shiryaev-Roberts statistic of each bet (>= 0), then the CUSUM as a
        product.
    began
        (J,) number of the row at which the CUSUM's present excursion above 1 began.
    since
        (2, J) points, and rows that could have had 100 each, since then.
    """

    statistics: NDArray[np.float64]
    began: NDArray[np.int64]
    since: NDArray[np.int64]


def nothing(bets: Bets) -> Standing:
    """Where they stand before any block."""
    statistics = np.zeros(bets.stake.shape)
    statistics[-1] = 1
    return Standing(
        statistics=statistics,
        began=np.zeros(len(bets.sides), dtype=np.int64),
        since=np.zeros((2, len(bets.sides)), dtype=np.int64),
    )


def value(bets: Bets, statistics: NDArray[np.float64]) -> float:
    """Weighted mean of the Shiryaev-Roberts statistics."""
    return math.fsum((statistics[:-1] * bets.weight).ravel().tolist())


def by_column(bets: Bets, statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Split the value into the (columns,) parts that the columns have in it."""
    side = (statistics[:-1] * bets.weight).sum(axis=0)
    parts = np.bincount(bets.column_of, side, minlength=len(bets.columns))
    return parts.astype(np.float64)


def bet(
    bets: Bets,
    standing: Standing,
    counts: NDArray[np.int64],
    first: NDArray[np.int64],
    *,
    threshold: float,
    room: NDArray[np.float64],
) -> tuple[Standing, int | None]:
    """Bet on n >= 1 whole blocks, one after the other, until the value reaches the threshold.

    Parameters
    ----------
    counts, first
        (n, width) what the blocks counted (``Bets.counted``), (n,) numbers of their first rows.

    room
        (2, more than n, K + 1, J) to work in: taking fresh memory costs more than the bets do.

    Returns
    -------
    Where the bets stand after the last block that was bet on, and the place of the block that
    reached the threshold.
    """
    there = counts[:, bets.there]
    hits = np.where(bets.rose, counts[:, bets.hit], FULL * there - counts[:, bets.hit])
    factor = bets.gains(hits, there, out=room[0, : len(counts)])
    path = room[1, : len(counts) + 1]
    path[0] = standing.statistics
    least = np.zeros_like(standing.statistics)
    least[-1] = 1
    with np.errstate(over="ignore"):  # only after the threshold, where it is cut off
        for before, now, more, by in zip(
            path[:-1], path[1:], _added(bets, there, least), factor, strict=True
        ):
            np.maximum(before, least, out=now)
            np.add(now, more, out=now)
            np.multiply(now, by, out=now)
        at = _first_reached(bets, path[1:], threshold)
    end = len(counts) if at is None else at + 1
    return _after(bets, standing, path[: end + 1], counts[:end], first), at


def _added(bets: Bets, there: NDArray[np.int64], least: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, K + 1, J): the part of a block that asks something; the CUSUM gets nothing."""
    if (there == bets.block).all():
        return np.broadcast_to(1 - least, (len(there), *least.shape))
    return (there / bets.block)[:, None] * (1 - least)


def _first_reached(bets: Bets, path: NDArray[np.float64], threshold: float) -> int | None:
    rough = np.einsum("nkj,kj->n", path[:, :-1], bets.weight)
    # How this rounds may depend on n; near the threshold the exact sum decides.
    for i in np.flatnonzero(rough >= threshold * (1 - 1e-9)).tolist():
        if value(bets, path[i]) >= threshold:
            return int(i)
    return None


def _after(
    bets: Bets,
    standing: Standing,
    path: NDArray[np.float64],
    counts: NDArray[np.int64],
    first: NDArray[np.int64],
) -> Standing:
    at_one = path[:-1, -1] <= 1
    goes_on = ~at_one.any(axis=0)
    # The block at which a CUSUM last stood at 1; the first one where its excursion goes on.
    last = np.where(goes_on, 0, len(counts) - 1 - at_one[::-1].argmax(axis=0))
    total = np.cumsum(counts, axis=0)
    before = total - counts
    there = total[-1, bets.there] - before[last, bets.there]
    hits = total[-1, bets.hit] - before[last, bets.hit]
    since = np.stack((np.where(bets.rose, hits, FULL * there - hits), there))
    return Standing(
        statistics=path[-1].copy(),
        began=np.where(goes_on, standing.began, first[last]),
        since=since + standing.since * goes_on,
    )
