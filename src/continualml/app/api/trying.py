"""A row that is only tried: what would be answered, and which feature makes the difference."""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from continualml.app.api.asked import body_of
from continualml.app.api.columns import reference_of
from continualml.app.api.history import looking
from continualml.app.api.predict import prediction
from continualml.app.api.serving import Serving
from continualml.errors import InputError
from continualml.evidence.column import Column
from continualml.model import Feature, Model
from continualml.scoring import features

router = APIRouter()


class TryBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One row of features; it is answered and forgotten."""

    features: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one feature does here: the answer as it is, minus that with a typical value instead.

    The answer is the probability of what was predicted, or the predicted value.
    """

    feature: str
    value: Any
    typical: Any
    effect: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What would be answered; ``effects`` are the largest first, and do not add up."""

    model: str
    version: int
    answer: dict[str, Any]
    effects: list[Effect]


@router.post("/models/{model}/try", summary="What would be answered, explained; nothing is logged")
async def attempt(request: Request, model: str) -> Tried:
    """Answer one row as the champion would, and explain it."""
    serving = looking(request)
    asked = serving.model(model)
    body = await body_of(request, TryBody, serving.most_bytes)
    typical = await run_in_threadpool(_typical, serving, asked)
    return _tried(serving, asked, dict(body.features), typical)


def _typical(serving: Serving, model: Model) -> dict[str, Any]:
    """Read the value in the middle, or the commonest one, of each feature at the proof."""
    known = serving.looked_at(
        ("reference", model.name), lambda conn: reference_of(conn, model.name)
    )
    columns = {c.name: c for c in known.columns} if known else {}
    return {f.name: _middle(f, columns.get(f.name)) for f in model.features}


def _middle(feature: Feature, column: Column | None) -> Any:
    if column is None or not column.rows:
        return None
    if feature.kind == "categorical":
        return column.values[0] if column.values else None
    above = [cut for cut, share in zip(column.cuts, column.shares, strict=True) if share >= 0.5]  # noqa: PLR2004  the median
    return above[0] if above else column.largest


def _tried(
    serving: Serving, model: Model, given: dict[str, object], typical: dict[str, Any]
) -> Tried:
    try:
        features.read(model, [given])
    except InputError as error:
        error.where = error.where.removeprefix("instances[0].")
        raise
    changed = [f for f in model.features if typical[f.name] is not None]
    rows = features.read(model, [given, *({**given, f.name: typical[f.name]} for f in changed)])
    champion = serving.champions.of(model.name)
    said = champion.session.answer(rows, champion.weights)
    of = int(said[0].argmax()) if model.classes else 0
    by = (said[0, of] - said[1:, of]).tolist()
    effects = [
        Effect(feature=f.name, value=given[f.name], typical=typical[f.name], effect=e)
        for f, e in zip(changed, by, strict=True)
    ]
    return Tried(
        model=model.name,
        version=champion.known.version,
        answer=prediction(model, np.asarray(said[0])),
        effects=sorted(effects, key=lambda e: -abs(e.effect)),
    )
