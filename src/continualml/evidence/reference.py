"""What columns looked like when the champion was made.

A column is a feature, or what was answered, or the label: anything of which there is one a row.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continualml.errors import InputError
from continualml.evidence.column import FULL, Column, codes_of
from continualml.model import Model
from continualml.records import Rows

# The columns of what is answered.
ANSWERS = ("prediction", "confidence")
_MOST_VALUES = 20
_RARE = 0.01
_FEWEST_STRETCHES = 4

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Columns as they were in ``rows`` rows."""

    rows: int
    columns: tuple[Column, ...]


def columns_of(model: Model, rows: Rows, extra: Columns | None = None) -> dict[str, NDArray[Any]]:
    """Name the model's features in their order, then the extra columns.

    Raises
    ------
    InputError
        If an extra column has a feature's name.
    """
    numeric = {f.name: rows.numeric[:, i] for i, f in enumerate(model.numeric)}
    categorical = {f.name: rows.categorical[:, i] for i, f in enumerate(model.categorical)}
    both: dict[str, NDArray[Any]] = numeric | categorical
    if taken := sorted(set(both) & set(extra or {})):
        raise InputError("extra", expected="names that no feature has", got=taken)
    return {f.name: both[f.name] for f in model.features} | dict(extra or {})


def answered(model: Model, answer: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Name what was answered as columns.

    Parameters
    ----------
    answer
        (n, width) probabilities or value, NaN where nothing was answered.

    Returns
    -------
    ``prediction``: the likeliest class, or the value; for a classification also ``confidence``,
    the likeliest class's probability.
    """
    if model.kind == "regression":
        return {"prediction": answer[:, 0]}
    none = np.any(np.isnan(answer), axis=1, keepdims=True)
    names = np.array((*model.classes, ""), dtype=object)
    likeliest = np.where(none[:, 0], len(model.classes), np.where(none, 0, answer).argmax(axis=1))
    return {"prediction": names[likeliest], "confidence": answer.max(axis=1)}


def labelled(model: Model, target: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Name the labels, (n,) class indexes or values, as the column ``label``."""
    if model.kind == "regression":
        return {"label": target}
    return {"label": np.array(model.classes, dtype=object)[target.astype(np.int64)]}


def of_rows(model: Model, rows: Rows, extra: Columns | None = None, *, block: int = 1) -> Reference:
    """Describe all features in their order, then the extra columns (see ``of_columns``)."""
    return of_columns(columns_of(model, rows, extra), block=block)


def of_columns(columns: Columns, *, block: int = 1) -> Reference:
    """Describe columns of equal length, rows in time order.

    Parameters
    ----------
    columns
        Each (n,) float with NaN where missing, or object, each a str, "" where missing.
    block
        Rows that hang together. Standard errors are taken from the sums over stretches of rows
        (whole blocks, about sqrt(n) rows) where these vary more than independent rows would:
        when features hang together, n rows say less.

    Raises
    ------
    InputError
        If there is no row or no column, lengths differ, or a number is infinite.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1 or not (n := max(lengths.values())):
        raise InputError("columns", expected="one or more, of one length >= 1", got=lengths)
    stretch = math.ceil(math.sqrt(n) / block) * block
    return Reference(
        rows=n,
        columns=tuple(
            _numeric(name, np.asarray(column, dtype=np.float64), stretch)
            if _is_numeric(column)
            else _categorical(name, column, stretch)
            for name, column in columns.items()
        ),
    )


def codes(reference: Reference, columns: Columns) -> NDArray[np.uint8]:
    """Say of each value where in the reference it lies, as one byte.

    Parameters
    ----------
    columns
        The reference's columns by name (others are not looked at), each (n,).

    Returns
    -------
    (n, columns) codes, see ``codes_of``: what the log keeps of a row, one byte a column.

    Raises
    ------
    InputError
        If a column is absent, of another kind or of another length.
    """
    out = np.empty((_length(reference, columns), len(reference.columns)), dtype=np.uint8)
    for i, column in enumerate(reference.columns):
        out[:, i] = codes_of(column, columns[column.name])
    return out


def _length(reference: Reference, columns: Columns) -> int:
    for column in reference.columns:
        if column.name not in columns:
            raise InputError(column.name, expected="a column of this name", got=sorted(columns))
        numeric = _is_numeric(columns[column.name])
        if numeric != (column.kind == "numeric"):
            got = columns[column.name].dtype
            raise InputError(column.name, expected=f"a {column.kind} column", got=str(got))
    lengths = {c.name: len(columns[c.name]) for c in reference.columns}
    if len(set(lengths.values())) != 1:
        raise InputError("columns", expected="one length", got=lengths)
    return next(iter(lengths.values()))


def _is_numeric(column: NDArray[Any]) -> bool:
    return column.dtype.kind in "fiub"


def standard_error(share: float, rows: int) -> float:
    """Return the standard error of a share of independent rows, one more counted on each side.

    Without the two, a share of 0 or 1 would be taken as exactly known.
    """
    return math.sqrt(_smoothed(rows * share * (1 - share), share, rows) / max(rows, 1))


def mean_and_error(
    points: NDArray[Any], there: NDArray[np.bool_], stretch: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Take the mean of points in [0, 1] and its standard error, for each of k columns.

    Parameters
    ----------
    points, there
        (n, k) in time order, and (n,) the rows that count.
    stretch
        Rows whose sum is compared with what independent rows would give; the larger error is
        taken where the two differ beyond chance.
    """
    n = int(there.sum())
    share = points[there].sum(axis=0) / max(n, 1)
    squares = np.square(points[there] - share).sum(axis=0)
    alone = np.sqrt(_smoothed(squares, share, n) / max(n, 1))
    full = len(there) // stretch
    if not n or full < _FEWEST_STRETCHES:
        return tuple(share.tolist()), tuple(alone.tolist())
    off = np.where(there[:, None], points - share, 0.0)[: full * stretch]
    sums = off.reshape(full, stretch, -1).sum(axis=1)
    together = np.sqrt((sums * sums).sum(axis=0) * full / (full - 1)) / n
    # Of independent rows it varies by a factor of about 1 +- 1 / sqrt(2 (full - 1)).
    beyond = together > alone * (1 + 2 / math.sqrt(2 * (full - 1)))
    return tuple(share.tolist()), tuple(np.where(beyond, together, alone).tolist())


def _smoothed(squares: Any, share: Any, rows: int) -> Any:
    """Variance from a sum of squares, as if there were one row more with 0 and one with 1."""
    return (squares + share * share + (1 - share) * (1 - share)) / (rows + 2)


def _numeric(name: str, column: NDArray[np.float64], stretch: int) -> Column:
    there = ~np.isnan(column)
    values = column[there]
    if not np.isfinite(values).all():
        raise InputError(name, expected="no infinite number in a reference", got=math.inf)
    found = Column(name=name, kind="numeric", rows=len(values), **_missing(there, stretch))
    if not len(values):
        return found
    smallest, largest = float(values.min()), float(values.max())
    deciles = np.quantile(values, np.arange(1, 10) / 10, method="inverted_cdf")
    cuts = np.unique(deciles[deciles < largest])
    shares, errors = mean_and_error(column[:, None] <= cuts, there, stretch)
    edges = np.array([0.0, *shares, 1.0])
    ranks = np.rint(FULL * (edges[:-1] + edges[1:]) / 2).astype(np.int64)
    of_row = ranks[np.searchsorted(cuts, column, side="left")] / FULL
    (rank,), (rank_error,) = mean_and_error(of_row[:, None], there, stretch)
    found = replace(
        found,
        smallest=smallest,
        largest=largest,
        cuts=tuple(cuts.tolist()),
        shares=shares,
        errors=errors,
        ranks=tuple(ranks.tolist()),
        rank=rank,
        rank_error=rank_error,
    )
    return _with_run(found, values)


def _categorical(name: str, column: NDArray[np.object_], stretch: int) -> Column:
    there = np.array([value != "" for value in column], dtype=np.bool_)
    present = column[there]
    if bad := [value for value in present if not isinstance(value, str)]:
        raise InputError(name, expected="text, or a column of numbers", got=bad[0])
    count: dict[str, int] = {}
    for value in present:
        count[value] = count.get(value, 0) + 1
    ranked = sorted(count, key=lambda value: (-count[value], value))
    values = [v for v in ranked[:_MOST_VALUES] if count[v] >= _RARE * len(present)]
    rare = ranked[len(values) :]
    place = {value: i for i, value in enumerate(values)}
    cell = np.array([place.get(value, len(values)) for value in column], dtype=np.int64)
    shares, errors = mean_and_error(cell[:, None] == np.arange(len(values) + 1), there, stretch)
    unseen = sum(1 for c in count.values() if c == 1) / max(len(present), 1)
    found = Column(
        name=name,
        kind="categorical",
        rows=len(present),
        values=tuple(values),
        rare=tuple(rare),
        # What will be unseen was rare here: the next row finds that much less among the rare.
        shares=(*shares[:-1], max(shares[-1] - unseen, 0.0)),
        errors=errors,
        unseen=unseen,
        **_missing(there, stretch),
    )
    return _with_run(found, present)


def _missing(there: NDArray[np.bool_], stretch: int) -> dict[str, Any]:
    (share,), (error,) = mean_and_error(~there[:, None], np.ones_like(there), stretch)
    return {"missing": share, "missing_error": error}


def _with_run(column: Column, present: NDArray[Any]) -> Column:
    changes = np.flatnonzero(np.diff(codes_of(column, present).astype(np.int64)))
    runs = np.diff(np.concatenate(([-1], changes, [len(present) - 1])))
    return replace(column, longest_run=int(runs.max()) if len(present) else 0)
