"""The bets on all indicators of all columns, laid out as arrays: what is fixed before any row."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from continualml.evidence import indicators
from continualml.evidence.column import CODES, FULL, possible_codes
from continualml.evidence.indicators import Indicator
from continualml.evidence.reference import Reference

_STAKES = (0.03, 0.08, 0.2)
_STANDARDISED = (0.4, 0.9)
_CLIP = 2.0
_MOST = 0.9
_STANDARD_ERRORS = 3.0
_CUSUM = 1  # the middle bet, where it is made


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One indicator of one column, asked whether its share rose (or, if not ``rose``, fell).

    ``most`` is the highest share that still counts as unmoved: of the indicator, or, for the
    side that asks whether it fell, of its opposite.
    """

    column: int
    indicator: Indicator
    rose: bool
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bets:
    """J sides with K bets each, on blocks of ``block`` rows.

    Parameters
    ----------
    tables
        For each column (256, its indicators + 1) uint8: a code's points of each indicator, and
        whether there is a value.
    hit, there
        (J,) places in a row of all tables side by side, then a 1: the side's indicator, and what
        it is a share of.
    rose, most, clip
        (J,) the side's own; the largest deviation
        of a block that counts in the clipped bets (infinite: nothing is clipped).
    stake
        (K + 1, J) bets, 0 where one is left out, then the CUSUM's.
    weight
        (K, J) of the bets in the mean; they add up to 1.
    column_of
        (J,) the side's column.
    missing, possible
        For each column the code of a missing value, and (256,) which codes there are.
    """

    block: int
    sides: tuple[Side, ...]
    columns: tuple[str, ...]
    tables: tuple[NDArray[np.uint8], ...]
    hit: NDArray[np.int64]
    there: NDArray[np.int64]
    rose: NDArray[np.bool_]
    most: NDArray[np.float64]
    clip: NDArray[np.float64]
    stake: NDArray[np.float64]
    weight: NDArray[np.float64]
    column_of: NDArray[np.int64]
    missing: tuple[int, ...]
    possible: tuple[NDArray[np.bool_], ...]

    @property
    def width(self) -> int:
        """Counts that are kept of the open block."""
        return sum(len(table[0]) for table in self.tables) + 1

    def counted(self, codes: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count points in stretches of rows.

        Parameters
        ----------
        codes, starts
            (n, columns) codes, n >= 1, and the first row of each stretch, increasing from 0.

        Returns
        -------
        (stretches, width) points of each indicator, and rows.
        """
        seen = np.empty((len(codes), self.width), dtype=np.uint8)
        at = 0
        for i, table in enumerate(self.tables):
            np.take(table, codes[:, i], axis=0, out=seen[:, at : at + table.shape[1]])
            at += table.shape[1]
        seen[:, at] = 1
        if len(starts) == len(seen):
            return seen.astype(np.int64)
        return np.add.reduceat(seen, starts, axis=0, dtype=np.int64)

    def gains(
        self, hits: NDArray[np.int64], there: NDArray[np.int64], *, out: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return (n, K + 1, J) factors on each statistic, the CUSUM's last.

        Parameters
        ----------
        hits, there
            (n, J) points in n blocks, and rows that could have had 100 each.
        """
        off = (hits / FULL - self.most * there) / self.block
        if self.block == 1:
            np.multiply(off[:, None], self.stake, out=out)
        else:
            clipped = np.minimum(np.maximum(off, -self.clip), self.clip)
            np.multiply(off, self.stake[0], out=out[:, 0])
            np.multiply(clipped[:, None], self.stake[1:], out=out[:, 1:])
        out += 1
        return out


def lay_out(reference: Reference, *, tolerance: float, block: int, threshold: float) -> Bets:
    """Lay out all bets; what the evidence is held against decides which are worth making.

    Notes
    -----
    Block 1: linear bets ``b = min(d / (m (1 - m)), .9 / m)``, d in {.03, .08, .2} (for
    the rank, its variance in the place of ``m (1 - m)``). Longer
    blocks: one linear bet, and two on the block's deviation clipped at twice its standard
    deviation as the reference has it. A linear bet must survive a block in which all rows agree,
    and is the weaker for it; where nothing could be clipped the two are linear as well.
    A bet so small that it only counts the time is left out, as in the loss alarm.
    """
    found = [indicators.of_column(column) for column in reference.columns]
    sides = [
        Side(column=c, indicator=indicator, rose=rose, most=highest)
        for c, column in enumerate(found)
        for indicator in column
        for rose in (True, False)
        if (highest := _most(indicator, rose=rose, tolerance=tolerance)) < 1
    ]
    most = np.array([side.most for side in sides])
    rows = np.array([_rows(reference, side) for side in sides])
    spread = np.array([side.indicator.error for side in sides]) * np.sqrt(rows / block)
    ranks = np.array([side.indicator.kind == "rank" for side in sides])
    variance = np.where(ranks, spread * spread, most * (1 - most) / block)
    clip, stake = _stakes(most, variance, spread, block)
    informative = stake * stake * variance * threshold / 2 >= 1
    informative[-1] |= ~informative.any(axis=0)
    cusum = np.where(informative[_CUSUM], stake[_CUSUM], stake[-1])
    column_of = np.array([side.column for side in sides], dtype=np.int64)
    each = 1 / (informative.sum(axis=0) * np.bincount(column_of)[column_of])
    weight = np.where(informative, each / len(np.unique(column_of)), 0.0)
    tables = tuple(_table(reference.columns[c].missing_code, f) for c, f in enumerate(found))
    first = np.concatenate(([0], np.cumsum([table.shape[1] for table in tables])))
    place = [found[s.column].index(s.indicator) for s in sides]
    every = [s.indicator.kind == "missing" for s in sides]
    return Bets(
        block=block,
        sides=tuple(sides),
        columns=tuple(column.name for column in reference.columns),
        tables=tables,
        hit=first[column_of] + np.array(place, dtype=np.int64),
        there=np.where(every, first[-1], first[column_of + 1] - 1),
        rose=np.array([side.rose for side in sides], dtype=np.bool_),
        most=most,
        clip=clip,
        stake=np.vstack((np.where(informative, stake, 0.0), cusum)),
        weight=weight,
        column_of=column_of,
        missing=tuple(column.missing_code for column in reference.columns),
        possible=tuple(possible_codes(column) for column in reference.columns),
    )


def _most(indicator: Indicator, *, rose: bool, tolerance: float) -> float:
    share = indicator.share if rose else 1 - indicator.share
    return share + tolerance + _STANDARD_ERRORS * indicator.error


def _rows(reference: Reference, side: Side) -> int:
    everything = side.indicator.kind == "missing"
    return reference.rows if everything else reference.columns[side.column].rows


def _stakes(
    most: NDArray[np.float64],
    variance: NDArray[np.float64],
    spread: NDArray[np.float64],
    block: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    linear = np.array([np.minimum(d / variance, _MOST / most) for d in _STAKES])
    if block == 1:
        return np.full(len(most), math.inf), linear
    clip = _CLIP * spread
    clip = np.where(clip >= most, math.inf, clip)
    lowest = np.minimum(clip, most)
    return clip, np.array([linear[-1], *(b / lowest for b in _STANDARDISED)])


def _table(missing_code: int, found: tuple[Indicator, ...]) -> NDArray[np.uint8]:
    table = np.zeros((CODES, len(found) + 1), dtype=np.uint8)
    for i, indicator in enumerate(found):
        table[:, i] = np.frombuffer(indicator.points, dtype=np.uint8)
    table[:, -1] = 1
    table[missing_code] *= np.array([i.kind == "missing" for i in found] + [False])
    return table
