"""One column of a reference, and the byte that says where in it a value lies."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# Cells of a numeric column; 0..9 are the bins between the cut points.
MISSING, FAR_BELOW, FAR_ABOVE, BELOW, ABOVE = 10, 11, 12, 13, 14
CELL_BITS = 4
CELL = (1 << CELL_BITS) - 1
CODES = 256
FULL = 100  # points of a hit, and percent
_FAR = 10.0
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: Knuth's multiplicative hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the reference; shares are of the rows that are not missing.

    Parameters
    ----------
    rows
        Rows with a value.
    smallest, largest
        Of a numeric column (0.0 without a value).
    cuts
        Of a numeric column: its deciles below ``largest``, distinct ones only, at most nine.
    values, rare
        Of a categorical column: the values with a cell each, commonest first, at most twenty;
        and those that share one cell.
    shares, errors
        Numeric: of the rows at or below each cut. Categorical: of each value, then of the rare
        ones together. With their standard errors.
    ranks, rank, rank_error
        Numeric: percent of the reference below the middle of each bin, 0..100; their mean over
        its rows as a share, and its standard error.
    unseen
        Categorical: chance that the next value is none of these, estimated as the share of
        values that came once (Good 1953).
    missing, missing_error
        Share of all rows without a value, and its standard error.
    longest_run
        Most rows in a row with one and the same code, missing ones passed over.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    rows: int
    smallest: float = 0.0
    largest: float = 0.0
    cuts: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()
    ranks: tuple[int, ...] = ()
    rank: float = 0.0
    rank_error: float = 0.0
    unseen: float = 0.0
    missing: float = 0.0
    missing_error: float = 0.0
    longest_run: int = 0

    @property
    def missing_code(self) -> int:
        """Code of a row without a value."""
        return MISSING if self.kind == "numeric" else len(self.values) + 2


def possible_codes(column: Column) -> NDArray[np.bool_]:
    """Say of each of 256 codes whether a value of this column can have it."""
    code = np.arange(CODES)
    if column.kind == "categorical":
        return np.isin(code, np.arange(column.missing_code + 1))
    cells = (*range(len(column.cuts) + 1), FAR_BELOW, FAR_ABOVE, BELOW, ABOVE)
    return np.isin(code & CELL, cells) | np.isin(code, MISSING)


def codes_of(column: Column, values: NDArray[Any]) -> NDArray[np.uint8]:
    """Say of each of (n,) values where in the column it lies, as one byte.

    Notes
    -----
    Numeric: the low four bits are the cell: the bin between two cuts (0..9), missing, below the
    smallest or above the largest, and far below or far above: more than ten times the range
    away, or ten times as large in magnitude as the largest, or a tenth of the smallest where all
    have one sign (zero never counts as that). The high four bits are a fingerprint of the value,
    which tells a column that stands still from one that has moved into one cell. Categorical:
    0..19 a value's own cell, then rare, unseen, missing: at most 23 codes.
    """
    if column.kind == "numeric":
        return _numeric_codes(column, np.asarray(values, dtype=np.float64))
    known = len(column.values)
    cell = dict.fromkeys(column.rare, known) | {v: i for i, v in enumerate(column.values)}
    cell[""] = column.missing_code
    return np.fromiter((cell.get(v, known + 1) for v in values), np.uint8, len(values))


def _numeric_codes(column: Column, values: NDArray[np.float64]) -> NDArray[np.uint8]:
    missing = np.isnan(values)
    if not column.rows:  # there is nothing to compare with: one cell
        return np.where(missing, MISSING, 0).astype(np.uint8)
    smallest, largest = column.smallest, column.largest
    cell = np.searchsorted(np.array(column.cuts), values, side="left").astype(np.uint8)
    below, above = values < smallest, values > largest
    outside = below | above
    if outside.any():
        far = _far(column, values)
        cell[below], cell[above] = BELOW, ABOVE
        cell[below & far], cell[above & far] = FAR_BELOW, FAR_ABOVE
    bits = np.ascontiguousarray(values + 0.0).view(np.uint64)  # + 0.0: minus zero is zero
    print_of = ((bits ^ (bits >> np.uint64(32))) * _MIX >> np.uint64(60)).astype(np.uint8)
    code = cell | (print_of << np.uint8(CELL_BITS))
    code[missing] = MISSING
    return code


def _far(column: Column, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say which of the values outside the reference's range lie far outside."""
    smallest, largest = column.smallest, column.largest
    size, most = np.abs(values), max(abs(smallest), abs(largest))
    far = np.zeros(len(values), dtype=np.bool_)
    if largest > smallest:
        away = _FAR * (largest - smallest)
        far |= (values < smallest - away) | (values > largest + away)
    if most > 0:
        far |= size >= _FAR * most
    if smallest > 0 or largest < 0:
        least = min(abs(smallest), abs(largest))
        far |= (size > 0) & (size <= least / _FAR) & ((values > 0) == (smallest > 0))
    return far
