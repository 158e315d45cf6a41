"""What features, answers and labels looked like at the proof, and what they look like now."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import msgspec
import numpy as np
from fastapi import APIRouter, Query, Request
from numpy.typing import NDArray
from sqlalchemy import Connection

from continualml.app.api.history import looking
from continualml.evidence.column import ABOVE, BELOW, CELL, FAR_ABOVE, FAR_BELOW, MISSING, Column
from continualml.evidence.reference import Reference, answered, codes, columns_of, labelled
from continualml.model import Model
from continualml.store import log, snapshots, windows

router = APIRouter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One part of a column: the share of the rows that lie in it, at the proof and now."""

    name: str
    reference: float
    now: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One column, cell by cell; ``level`` is its evidence of a move as a share of the threshold."""

    name: str
    kind: str
    of: str
    level: float | None
    cells: list[Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distributions:
    """All columns; ``version`` is the one at whose proof the reference was taken."""

    model: str
    version: int | None
    reference_rows: int
    rows: int
    columns: list[Distribution]


class _Drift(msgspec.Struct, frozen=True):
    version: int
    columns: Reference
    labels: Reference


class _Standing(msgspec.Struct, frozen=True):
    drift: _Drift | None = None


class _Evidence(msgspec.Struct, frozen=True):
    columns: dict[str, float] = {}


class _Report(msgspec.Struct, frozen=True):
    evidence: _Evidence


class _Snapshot(msgspec.Struct, frozen=True):
    """The part of a snapshot that says what columns are held against."""

    standing: _Standing
    report: _Report


@router.get(
    "/models/{model}/distributions", summary="Features, answers and labels: at the proof, and now"
)
def distributions(
    request: Request, model: str, rows: Annotated[int, Query(ge=50, le=5_000)] = 1_000
) -> Distributions:
    """Hold the newest rows against the reference, cell by cell."""
    serving = looking(request)
    asked = serving.model(model)

    key = ("distributions", asked.name, rows)
    return serving.looked_at(key, lambda conn: _distributions(conn, asked, rows))


def reference_of(conn: Connection, model: str) -> Reference | None:
    """Read what features and answers looked like at the proof; None before there is one."""
    kept = _kept(conn, model)
    return kept.standing.drift.columns if kept and kept.standing.drift else None


def _kept(conn: Connection, model: str) -> "_Snapshot | None":
    there = snapshots.get(conn, model)
    return msgspec.json.decode(there[1], type=_Snapshot) if there else None


def _distributions(conn: Connection, model: Model, rows: int) -> Distributions:
    kept = _kept(conn, model.name)
    if kept is None or kept.standing.drift is None:
        return Distributions(model=model.name, version=None, reference_rows=0, rows=0, columns=[])
    drift, levels = kept.standing.drift, kept.report.evidence.columns
    seen = windows.newest_observed(conn, model, rows)
    known = windows.training(conn, model, through=log.last_seq(conn), newest=rows)
    columns = columns_of(model, seen.rows, answered(model, seen.answer))
    truth = labelled(model, known.target)
    told = [
        *_told(drift.columns, columns, levels, of=model),
        *_told(drift.labels, truth, levels, of=model),
    ]
    return Distributions(
        model=model.name,
        version=drift.version,
        reference_rows=drift.columns.rows,
        rows=len(seen),
        columns=told,
    )


def _told(
    reference: Reference, columns: dict[str, NDArray[Any]], levels: dict[str, float], *, of: Model
) -> list[Distribution]:
    n = len(next(iter(columns.values())))
    code = codes(reference, columns) if n else None
    features = {f.name for f in of.features}
    return [
        Distribution(
            name=c.name,
            kind=c.kind,
            of="feature" if c.name in features else "label" if c.name == "label" else "answer",
            level=levels.get(c.name),
            cells=_cells(c, None if code is None else code[:, i]),
        )
        for i, c in enumerate(reference.columns)
    ]


def _cells(column: Column, code: NDArray[np.uint8] | None) -> list[Cell]:
    there = 1 - column.missing
    if column.kind == "numeric":
        edges = [0.0, *column.shares, 1.0]
        inside = [b - a for a, b in pairwise(edges)]
        ends = [column.smallest, *column.cuts, column.largest]
        names = [f"{a:.3g} to {b:.3g}" for a, b in pairwise(ends)]
        each = [
            ("below all", 0.0, (BELOW, FAR_BELOW)),
            *((name, s, (i,)) for i, (name, s) in enumerate(zip(names, inside, strict=True))),
            ("above all", 0.0, (ABOVE, FAR_ABOVE)),
            ("missing", column.missing, (MISSING,)),
        ]
        code = None if code is None else code & np.uint8(CELL)
    else:
        named = (*column.values, "rare ones", "unseen ones")
        shares = (*column.shares, column.unseen)
        each = [(v, s, (i,)) for i, (v, s) in enumerate(zip(named, shares, strict=True))]
        each.append(("missing", column.missing, (column.missing_code,)))
    cells = []
    for name, share, its in each:
        now = None if code is None else float(np.isin(code, its).mean())
        cells.append(
            Cell(name=name, reference=share if name == "missing" else share * there, now=now)
        )
    return [c for c in cells if c.reference or c.now]
