"""Guards on a version that answers: how many rows it fails, and how long its graph runs."""

import statistics
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from continualml.records import Rows, Unfit
from continualml.scoring.session import Session
from continualml.store import ledger, log, pointers

WINDOW = 500
_MOST_UNANSWERED = 0.05
_FEWEST_UNANSWERED = 20
_MOST_TIMES_SLOWER = 10
_SLOW_S = 0.005
_FEWEST_RUNS = 20
_KEPT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Tripped:
    """What a guard found, and what of it."""

    guard: Literal["errors", "latency"]
    because: str


@dataclass(slots=True, kw_only=True)
class Guard:
    """Counts of one version in windows of ``WINDOW`` rows; a function of what it was told alone.

    Parameters
    ----------
    before_s
        Median seconds a row that the version before took; None where nothing is known of it.
    row_s
        Seconds a row of each run in this window; ``usual_s`` is their median in the last one.
    unanswerable
        Some of the rows without a finite answer in this window, each alone.
    tripped
        Set once; then nothing is judged any more.
    """

    before_s: float | None = None
    rows: int = 0
    unanswered: int = 0
    slow: int = 0
    row_s: list[float] = field(default_factory=list)
    usual_s: float | None = None
    unanswerable: list[Rows] = field(default_factory=list)
    excused: bool = False
    tripped: Tripped | None = None

    def ran(self, rows: int, run_s: float) -> None:
        """Count one run of the graph: of ``rows`` rows, at least one, in ``run_s`` seconds."""
        row_s = run_s / max(rows, 1)
        self.row_s.append(row_s)
        if (
            self.before_s is not None
            and row_s > _SLOW_S
            and row_s > _MOST_TIMES_SLOWER * self.before_s
        ):
            self.slow += 1
            # More than half of them are slower: so is their median.
            if len(self.row_s) >= _FEWEST_RUNS and 2 * self.slow > len(self.row_s):
                self._trip("latency", f"{self._median():.4f} s a row, {self.before_s:.6f} before")
        self._count(rows)

    def failed(self, rows: Rows, at_fault: NDArray[np.bool_]) -> None:
        """Count rows that could not be answered together, for those ``at_fault``, (n,)."""
        places = np.flatnonzero(at_fault).tolist()
        self.unanswered += len(places)
        for i in places[: _KEPT - len(self.unanswerable)]:
            one = slice(i, i + 1)
            self.unanswerable.append(
                Rows(numeric=rows.numeric[one], categorical=rows.categorical[one])
            )
        seen = self.rows + len(rows)
        if (
            not self.excused
            and self.unanswered >= _FEWEST_UNANSWERED
            and self.unanswered > _MOST_UNANSWERED * seen
        ):
            self._trip("errors", f"{self.unanswered} of {seen} rows had no finite answer")
        self._count(len(rows))

    def excuse(self) -> None:
        """Forgive the failures of this window: the rows were at fault, not the version."""
        self.excused, self.tripped = True, None

    def known_s(self) -> float | None:
        """Tell the median seconds a row, for the guard of the next version."""
        return self._median() if len(self.row_s) >= _FEWEST_RUNS else self.usual_s

    def _trip(self, guard: Literal["errors", "latency"], because: str) -> None:
        if self.tripped is None:
            self.tripped = Tripped(guard=guard, because=because)

    def _count(self, rows: int) -> None:
        self.rows += rows
        if self.rows >= WINDOW:
            self.usual_s = self.known_s()
            self.rows = self.unanswered = self.slow = 0
            self.row_s, self.unanswerable, self.excused = [], [], False

    def _median(self) -> float:
        return statistics.median(self.row_s)


def unanswered(
    session: Session, rows: Rows, weights: NDArray[np.float32] | None
) -> NDArray[np.bool_]:
    """Say of each row whether it has no finite answer; all have none if the graph fails."""
    try:
        said = session.said(rows, weights)
    except Exception:  # noqa: BLE001  whoever ran it for an answer tells what was wrong
        return np.ones(len(rows), dtype=np.bool_)
    missing: NDArray[np.bool_] = np.logical_not(np.isfinite(said).all(axis=1))
    return missing


def append(conn: Connection, model: str, found: Unfit, at: float) -> bool:
    """Log that a version is unfit; once while the same champion is installed, whoever says it.

    Returns
    -------
    Whether it was logged: not where it stands there, or where no alias names the version.
    """
    if found.version not in pointers.pointed(conn, model).values():
        return False
    after = ledger.installed_by(conn, model)
    there = (one.outcome for one in log.foreign_after(conn, model, after))
    if any(isinstance(o, Unfit) and o.version == found.version for o in there):
        return False
    log.append_outcome(conn, model, found, at)
    return True
