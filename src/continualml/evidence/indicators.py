"""What is asked of each column, cell by cell: indicators of a row's code."""

from dataclasses import dataclass
from typing import Literal

from continualml.evidence.column import (
    ABOVE,
    BELOW,
    CELL,
    CODES,
    FAR_ABOVE,
    FAR_BELOW,
    FULL,
    Column,
)
from continualml.evidence.reference import standard_error

Kind = Literal["far", "unseen", "missing", "bin", "value", "rank"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Indicator:
    """What a row's code counts: 0 or 1, or, for ``rank``, a part of 1.

    Parameters
    ----------
    points
        For each of 256 codes, how many of 100 points it has.
    share, error
        The reference's mean and its standard error: over all rows for ``missing``, else over
        those that are not missing.
    """

    name: str
    kind: Kind
    points: bytes
    share: float
    error: float


def of_column(column: Column) -> tuple[Indicator, ...]:
    """All indicators of a column; of two that say the same, the more telling one comes first."""
    missing = Indicator(
        name="missing",
        kind="missing",
        points=_hits(column.missing_code),
        share=column.missing,
        error=column.missing_error,
    )
    if not column.rows:
        return (missing,)
    return (*(_numeric(column) if column.kind == "numeric" else _categorical(column)), missing)


def _numeric(column: Column) -> tuple[Indicator, ...]:
    never = standard_error(0.0, column.rows)

    def outside(name: str, kind: Kind, *cells: int) -> Indicator:
        return Indicator(name=name, kind=kind, points=_in_cells(*cells), share=0.0, error=never)

    return (
        outside("far outside", "far", FAR_BELOW, FAR_ABOVE),
        outside(f"< {column.smallest:.6g}", "bin", BELOW, FAR_BELOW),
        *(
            Indicator(
                name=f"<= {cut:.6g}",
                kind="bin",
                points=_in_cells(*range(j + 1), BELOW, FAR_BELOW),
                share=share,
                error=error,
            )
            for j, (cut, share, error) in enumerate(
                zip(column.cuts, column.shares, column.errors, strict=True)
            )
        ),
        outside(f"> {column.largest:.6g}", "bin", ABOVE, FAR_ABOVE),
        _rank(column),
    )


def _rank(column: Column) -> Indicator:
    """Return the rank among the reference: it gathers what each cut sees of the same shift."""
    of_cell = dict(enumerate(column.ranks)) | {ABOVE: FULL, FAR_ABOVE: FULL}
    return Indicator(
        name="rank",
        kind="rank",
        points=bytes(of_cell.get(code & CELL, 0) for code in range(CODES)),
        share=column.rank,
        error=column.rank_error,
    )


def _categorical(column: Column) -> tuple[Indicator, ...]:
    known = len(column.values)
    unseen = Indicator(
        name="unseen",
        kind="unseen",
        points=_hits(known + 1),
        share=column.unseen,
        error=standard_error(column.unseen, column.rows),
    )
    names = [f"= {value}" for value in column.values] + (["rare"] if column.rare else [])
    return (
        unseen,
        *(
            Indicator(name=name, kind="value", points=_hits(i), share=share, error=error)
            for i, (name, share, error) in enumerate(
                zip(names, column.shares, column.errors, strict=False)
            )
        ),
    )


def _hits(*codes: int) -> bytes:
    return bytes(FULL if code in codes else 0 for code in range(CODES))


def _in_cells(*cells: int) -> bytes:
    return bytes(FULL if code & CELL in cells else 0 for code in range(CODES))
