"""Which columns moved, how, and since when: read from the evidence once it has alarmed."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from continualml.evidence.bets import Bets
from continualml.evidence.column import FULL
from continualml.evidence.indicators import Kind
from continualml.evidence.reference import Reference
from continualml.evidence.wealth import Standing, by_column

Pattern = Literal["shift", "missing", "unseen", "constant", "unit"]
Direction = Literal["more", "less", "higher", "lower"]

_LONGER_THAN_EVER = 2
_FEWEST_ALIKE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The newest rows of a column that have one and the same code, missing ones passed over."""

    code: int
    first: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A column that moved, by its strongest indicator.

    Parameters
    ----------
    evidence
        The column's own, mean over its sides; alone it would be held against the threshold.
    pattern
        ``constant``: since ``began`` all rows have one value, and twice as many as the reference
        ever had. ``unit``: rows far outside are evidence enough. ``missing``, ``unseen``: the
        strongest indicator is that. ``shift``: any other.
    cell, direction
        The indicator, and what became of it: ``more`` or ``less`` rows in the cell; for the rows
        on one side of a number, whether values went ``higher`` or ``lower``.
    reference_share, share
        Of the rows in the cell: in the reference, and since ``began``.
    began
        First row of the present excursion of the indicator's CUSUM.
    """

    name: str
    evidence: float
    pattern: Pattern
    cell: str
    direction: Direction
    reference_share: float
    share: float
    began: int


def strongest_first(
    bets: Bets,
    reference: Reference,
    threshold: float,
    standing: Standing,
    runs: tuple[Run, ...],
) -> tuple[Moved, ...]:
    """Name the columns whose own evidence is at the threshold, and the strongest anyway."""
    watched = len(np.unique(bets.column_of))
    own = by_column(bets, standing.statistics) * watched
    made = bets.weight > 0
    side = np.where(made, standing.statistics[:-1], 0.0).sum(axis=0) / made.sum(axis=0)
    found = []
    moved = (own >= threshold) | (own == own.max())
    for c in sorted(np.flatnonzero(moved).tolist(), key=lambda c: (-own[c], c)):
        here = np.flatnonzero(bets.column_of == c)
        cells = [i for i in here.tolist() if bets.sides[i].indicator.kind != "rank"]
        here = np.array(cells) if cells else here
        j = int(here[np.argmax(side[here])])  # of equals the first: the more telling one
        strong = {bets.sides[i].indicator.kind for i in here.tolist() if side[i] >= threshold}
        what = bets.sides[j]
        hits, rows = standing.since[:, j].tolist()
        share = hits / (FULL * rows) if rows else 0.0
        alike = (
            runs[c].first <= standing.began[j]
            and runs[c].rows >= _FEWEST_ALIKE
            and runs[c].rows >= _LONGER_THAN_EVER * reference.columns[c].longest_run
        )
        found.append(
            Moved(
                name=bets.columns[c],
                evidence=float(own[c]),
                pattern=_pattern(what.indicator.kind, strong, alike=alike),
                cell=what.indicator.name,
                direction=_direction(what.indicator.name, rose=what.rose),
                reference_share=what.indicator.share,
                share=share if what.rose else 1 - share,
                began=int(standing.began[j]),
            )
        )
    return tuple(found)


def _pattern(strongest: Kind, strong: set[Kind], *, alike: bool) -> Pattern:
    if strongest in {"missing", "unseen"}:
        return "missing" if strongest == "missing" else "unseen"
    if alike:
        return "constant"
    return "unit" if "far" in strong else "shift"


def _direction(cell: str, *, rose: bool) -> Direction:
    if cell.startswith("<"):
        return "lower" if rose else "higher"
    if cell.startswith(">"):
        return "higher" if rose else "lower"
    return "more" if rose else "less"
