"""How long labels take to come, and how many rows wait for theirs."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

import numpy as np
from fastapi import APIRouter, Query, Request
from sqlalchemy import Connection

from continualml.app.api.history import looking
from continualml.model import Model
from continualml.records import Json
from continualml.store import arrivals, snapshots, windows

router = APIRouter()
_SHARES: Final = (0.1, 0.5, 0.9, 0.99)
_BINS: Final = 20
_MOST_WAITING: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Labels that took from ``from_s`` to ``to_s`` seconds."""

    from_s: float
    to_s: float
    labels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Answered observations without a label among the newest ``of``, and the oldest one's age."""

    rows: int
    of: int
    oldest_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """Delays of the newest labels: quantiles by share, and how they spread.

    ``level`` is the evidence that more labels are overdue than used to be, as a share of its
    threshold; None while it is not known how they used to come.
    """

    model: str
    labels: int
    seconds: dict[str, float]
    observations: dict[str, float]
    bins: list[Bin]
    waiting: Waiting
    level: float | None
    silent: bool


@router.get("/models/{model}/label-lag", summary="How late labels come, and which rows wait")
def label_lag(
    request: Request, model: str, newest: Annotated[int, Query(ge=50, le=10_000)] = 2_000
) -> Lag:
    """Tell the delays of the newest labels."""
    serving = looking(request)
    asked = serving.model(model)

    return serving.looked_at(("lag", asked.name, newest), lambda conn: _lag(conn, asked, newest))


def _lag(conn: Connection, model: Model, newest: int) -> Lag:
    found = arrivals.lags(conn, model.name, newest)
    taken = np.array([s for _, s in found])
    rows = np.empty(0)
    if found:
        first, last = found[-1][0], found[0][0]
        rows = windows.events(conn, model, first - 1, upto=last, limit=2 * newest).delay
        rows = rows[~np.isnan(rows)]
    delay = _delay(conn, model)
    return Lag(
        model=model.name,
        labels=len(found),
        seconds=_quantiles(taken),
        observations=_quantiles(rows),
        bins=_bins(taken),
        waiting=_waiting(conn, model),
        level=delay.get("level"),
        silent=bool(delay.get("silent")),
    )


def _quantiles(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> dict[str, float]:
    if not len(values):
        return {}
    return {f"{q:g}": float(v) for q, v in zip(_SHARES, np.quantile(values, _SHARES), strict=True)}


def _bins(taken: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[Bin]:
    if not len(taken):
        return []
    # The few that came last of all would leave one bin to all others.
    counts, edges = np.histogram(np.minimum(taken, np.quantile(taken, 0.99)), bins=_BINS)
    return [
        Bin(from_s=float(a), to_s=float(b), labels=int(n))
        for a, b, n in zip(edges, edges[1:], counts, strict=False)
    ]


def _waiting(conn: Connection, model: Model) -> Waiting:
    of, without = arrivals.unlabelled(conn, model.name, _MOST_WAITING)
    now = datetime.now(UTC).timestamp()
    oldest = max(0.0, now - min(without)) if without else None
    return Waiting(rows=len(without), of=of, oldest_s=oldest)


def _delay(conn: Connection, model: Model) -> Json:
    report = snapshots.report(conn, model.name) or {}
    told: Json = report.get("evidence", {}).get("delay") or {}
    return told
