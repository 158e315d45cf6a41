"""What was measured over time: each detector against its threshold, and the rolling performance."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from fastapi import APIRouter, Query, Request
from numpy.typing import NDArray
from sqlalchemy import Connection

from continualml.app.api.serving import Serving, serving_of
from continualml.evidence.unlabelled import student_quantile
from continualml.model import Model
from continualml.records import LedgerEntry, Window
from continualml.scoring.losses import measured, metrics
from continualml.store import arrivals, ledger, lineage, log, snapshots, windows

router = APIRouter()

# Kinds of decisions that are made from evidence.
_WEIGHED: Final = ("keep", "alarm", "promote", "rollback")
_MOST_POINTS: Final = 100
_WINDOW: Final = 10  # pieces in one rolling mean
_MOST_PROMISES: Final = 2_000
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Evidence beside the threshold at which it is acted on; ``version`` is a challenger's."""

    evidence: float
    threshold: float
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """What an alarm said: its family, what it was taken for, and the estimated start."""

    family: str
    diagnosis: str
    began: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """All detectors after one decision.

    ``columns``, ``delay`` and ``refused`` are shares of the threshold.
    """

    n: int
    kind: str
    seq: int
    rows: int | None
    recorded_at: str
    version: int | None
    because: str
    promised: dict[str, float]
    loss: Level | None
    gate: dict[str, Level]
    columns: dict[str, float]
    delay: float | None
    silent: bool
    refused: float | None
    incident: str | None
    alarm: Alarm | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A page of points, the newest first; ``next_before`` is the cursor of the next page."""

    model: str
    points: list[Point]
    next_before: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean with its 95 % interval, and the level that was promised then, where one was."""

    mean: float
    low: float | None
    high: float | None
    promised: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Consecutive labelled rows that were answered: ``metrics`` are losses, and the accuracy."""

    first_seq: int
    last_seq: int
    last_at: str | None
    rows: int
    versions: list[int]
    metrics: dict[str, Mean]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolling:
    """Overlapping stretches, the oldest first; ``next_before`` is the cursor of earlier rows."""

    model: str
    block: int
    stretches: list[Stretch] = field(default_factory=list)
    next_before: int | None = None


@router.get("/models/{model}/evidence", summary="Each detector against its threshold, over time")
def evidence(
    request: Request,
    model: str,
    before: Annotated[int | None, Query(ge=1)] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
) -> Evidence:
    """Page through what the detectors said after each block, the newest first."""
    serving = looking(request)
    name = serving.model(model).name

    def ask(conn: Connection) -> Evidence:
        found = ledger.entries(conn, model=name, kinds=_WEIGHED, before=before, limit=limit)
        shown = lineage.shown(conn, found, serving.rows_read)
        following = found[-1].n if len(found) == limit else None
        return Evidence(
            model=name, points=[_point(e, shown[e.n]) for e in found], next_before=following
        )

    return serving.looked_at(("evidence", name, before, limit), ask)


@router.get(
    "/models/{model}/performance/rolling",
    summary="Performance over time with its interval, beside what was promised",
)
def rolling(
    request: Request,
    model: str,
    before: Annotated[int | None, Query(ge=1, description="only rows below this number")] = None,
    rows: Annotated[int, Query(ge=100, le=20_000)] = 3_000,
) -> Rolling:
    """Tell the rolling means of the newest answered rows that have a label."""
    serving = looking(request)
    asked = serving.model(model)

    key = ("rolling", asked.name, before, rows)
    return serving.looked_at(key, lambda conn: _rolling(conn, asked, before=before, rows=rows))


def looking(request: Request) -> Serving:
    """Return what serves, to those who may read."""
    serving = serving_of(request.scope)
    serving.tokens.require(request.scope, "read")
    return serving


def _point(entry: LedgerEntry, shown: dict[str, Any]) -> Point:
    d, basis = entry.decision, entry.decision.basis
    alarm = None
    if d.kind == "alarm":
        alarm = Alarm(
            family=str(basis.get("family", "loss")),
            diagnosis=str(basis.get("diagnosis", "")),
            began=shown.get("began"),
        )
    loss, delay = basis.get("loss"), basis.get("delay") or {}
    return Point(
        n=entry.n,
        kind=d.kind,
        seq=d.seq,
        rows=shown.get("rows"),
        recorded_at=entry.recorded_at,
        version=d.version,
        because=d.because,
        promised=basis.get("promised", {}),
        loss=Level(evidence=loss["evidence"], threshold=loss["threshold"]) if loss else None,
        gate={name: Level(**level) for name, level in basis.get("gate", {}).items()},
        columns=basis.get("columns", {}),
        delay=delay.get("level"),
        silent=bool(delay.get("silent")),
        refused=(basis.get("refused_rows") or {}).get("level"),
        incident=basis.get("incident"),
        alarm=alarm,
    )


def _rolling(conn: Connection, model: Model, *, before: int | None, rows: int) -> Rolling:
    report = snapshots.report(conn, model.name)
    block = int(report["block"]) if report else 1
    through = log.last_seq(conn) if before is None else before - 1
    found = windows.training(conn, model, through=through, newest=rows)
    known = found.only(np.asarray(np.isfinite(found.answer).all(axis=1), dtype=np.bool_))
    piece = block * max(1, -(-len(known) // (block * _MOST_POINTS)))
    pieces = len(known) // piece
    if pieces < 1:
        return Rolling(model=model.name, block=block)
    known = known.part(len(known) - pieces * piece, len(known))
    lost = _lost(model, known)
    means = {m: x.reshape(pieces, piece).mean(axis=1) for m, x in lost.items()}
    begin = _WINDOW - 1 if pieces >= 2 * _WINDOW else 0  # few pieces are better than none
    spans = [(max(0, i - _WINDOW + 1), i + 1) for i in range(begin, pieces)]
    ends = [int(known.seq[stop * piece - 1]) for _, stop in spans]
    promised, at = _promises(conn, model, int(known.seq[0]), ends), _times(conn, ends)
    stretches = [
        Stretch(
            first_seq=int(known.seq[start * piece]),
            last_seq=end,
            last_at=at.get(end),
            rows=(stop - start) * piece,
            versions=sorted({int(v) for v in known.version[start * piece : stop * piece] if v}),
            metrics={m: _mean(m, x[start:stop], promised[end]) for m, x in means.items()},
        )
        for (start, stop), end in zip(spans, ends, strict=True)
    ]
    more = int(found.seq[0]) if len(found) == rows else None
    return Rolling(model=model.name, block=block, stretches=stretches, next_before=more)


def _lost(model: Model, known: Window) -> dict[str, Floats]:
    lost = {m: measured(model, m, known.answer, known.target) for m in metrics(model)}
    if model.kind == "classification":
        lost["accuracy"] = 1 - lost["error_rate"]
    return lost


def _mean(metric: str, pieces: Floats, promised: dict[str, float]) -> Mean:
    """Take the mean of pieces, and its interval from how much they differ among each other."""
    level = promised.get(metric)
    if metric == "accuracy" and "error_rate" in promised:
        level = 1 - promised["error_rate"]
    mean, k = float(pieces.mean()), len(pieces)
    if k < _WINDOW:
        return Mean(mean=mean, low=None, high=None, promised=level)
    half = student_quantile(0.975, k - 1) * float(pieces.std(ddof=1)) / k**0.5
    return Mean(mean=mean, low=max(0.0, mean - half), high=min(1.0, mean + half), promised=level)


class _Promise(msgspec.Struct, frozen=True):
    promised: dict[str, float] = {}


def _promises(
    conn: Connection, model: Model, first: int, ends: list[int]
) -> dict[int, dict[str, float]]:
    """Read what was promised at each of these numbers."""
    told = ledger.bases(
        conn, model.name, kinds=("keep",), seqs=(first, ends[-1]), limit=_MOST_PROMISES
    )
    said = [(seq, msgspec.json.decode(basis, type=_Promise).promised) for seq, basis in told]
    at = np.searchsorted([seq for seq, _ in said], ends, side="right") - 1
    return {
        end: said[max(i, 0)][1] if said else {} for end, i in zip(ends, at.tolist(), strict=True)
    }


def _times(conn: Connection, seqs: list[int]) -> dict[int, str]:
    """Read when the labels, or the observations, with these numbers came."""
    return {
        seq: datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        for seq, at in arrivals.recorded_at(conn, seqs).items()
    }
