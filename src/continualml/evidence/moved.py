"""Which columns moved, how, and since when: read from the evidence once it has alarmed."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from continualml.evidence.bets import Bets
from continualml.evidence.column import FULL
from continualml.evidence.reference import ANSWERS, Reference
from continualml.evidence.wealth import Standing, by_column

Pattern = Literal["shift", "missing", "unseen", "constant", "unit"]
Direction = Literal["more", "less", "higher", "lower"]

_LONGER_THAN_EVER = 2
# Five different numbers have one fingerprint with chance 16 ** -4.
_FEWEST_ALIKE = 5
_MOST_ROWS = 0.5


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
        ``missing``, ``unseen``: the strongest indicator is that. ``constant``: since ``began``
        all rows have one value, at least twice as many as in the reference's longest run.
        ``unit``: the rows far outside are evidence enough, or half of the rows. Else ``shift``.
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


def looks_broken(moved: Moved) -> bool:
    """Whether the column of a feed is not what it says; what is answered only follows from it."""
    return moved.pattern != "shift" and moved.name not in ANSWERS


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
    # A muted column's sides are made none; it is not named.
    n_made = np.maximum(made.sum(axis=0), 1)
    side = np.where(made, standing.statistics[:-1], 0.0).sum(axis=0) / n_made
    moved = np.flatnonzero((own >= threshold) | (own == own.max())).tolist()
    return tuple(
        _read(
            bets,
            standing,
            np.flatnonzero(bets.column_of == c).tolist(),
            side,
            evidence=float(own[c]),
            threshold=threshold,
            alike=runs[c],
            usual_run=reference.columns[c].longest_run,
        )
        for c in sorted(moved, key=lambda c: (-own[c], c))
    )


def _read(
    bets: Bets,
    standing: Standing,
    every: list[int],
    side: NDArray[np.float64],
    *,
    evidence: float,
    threshold: float,
    alike: Run,
    usual_run: int,
) -> Moved:
    """Read one column from ``every`` side of it, whose evidence is in ``side``."""
    # The rank tells no cell; it is the strongest only where nothing else could be asked.
    here = [j for j in every if bets.sides[j].indicator.kind != "rank"] or every
    strongest = max(here, key=lambda j: side[j])  # of equals the first: the more telling one
    kind = {j: bets.sides[j].indicator.kind for j in here}
    share = {j: _share_since(standing, j) for j in here}
    what, began = bets.sides[strongest], int(standing.began[strongest])
    pattern: Pattern = "shift"
    if kind[strongest] in {"missing", "unseen"}:
        pattern = "missing" if kind[strongest] == "missing" else "unseen"
    elif (
        alike.first <= began
        and alike.rows >= _FEWEST_ALIKE
        and alike.rows >= _LONGER_THAN_EVER * usual_run
    ):
        pattern = "constant"
    elif any(
        side[j] >= threshold or (share[j] >= _MOST_ROWS and standing.since[1, j] >= _FEWEST_ALIKE)
        for j in here
        if kind[j] == "far"
    ):
        pattern = "unit"
    return Moved(
        name=bets.columns[what.column],
        evidence=evidence,
        pattern=pattern,
        cell=what.indicator.name,
        direction=_direction(what.indicator.name, rose=what.rose),
        reference_share=what.indicator.share,
        share=share[strongest] if what.rose else 1 - share[strongest],
        began=began,
    )


def _share_since(standing: Standing, side: int) -> float:
    points, rows = standing.since[:, side].tolist()
    return float(points / (FULL * rows)) if rows else 0.0


def _direction(cell: str, *, rose: bool) -> Direction:
    if cell.startswith("<"):
        return "lower" if rose else "higher"
    if cell.startswith(">"):
        return "higher" if rose else "lower"
    return "more" if rose else "less"
