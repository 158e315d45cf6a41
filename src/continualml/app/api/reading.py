"""What is known: models, versions, decisions and single predictions, read only."""

import dataclasses
from typing import Annotated, Any

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, Path, Query, Request

from continualml.app.api.estimate import performance as estimated
from continualml.app.api.predict import prediction
from continualml.app.api.problems import ProblemError
from continualml.app.api.serving import Serving, needs, serving_of
from continualml.model import Model
from continualml.records import Json, LedgerEntry, Version
from continualml.store import ledger, lineage, log, pointers, snapshots, windows
from continualml.store.engine import read

# Before anything else is looked at: who may not read is not told what is wrong or missing.
router = APIRouter(dependencies=[Depends(needs("read"))])
Limit = Annotated[int, Query(ge=1, le=1_000)]
# As far as the store can count; PostgreSQL takes no NUL in a text.
_LARGEST_N, _LARGEST_VERSION = 2**63 - 1, 2**31 - 1
_TEXT = r"^[^\x00]*$"
Before = Annotated[int | None, Query(ge=1, le=_LARGEST_N)]
Number = Annotated[int, Path(ge=1, le=_LARGEST_VERSION)]
N = Annotated[int, Path(ge=1, le=_LARGEST_N)]
Text = Annotated[str, Query(pattern=_TEXT)]
ObservationId = Annotated[str, Path(pattern=_TEXT)]


@router.get("/models", summary="All models and who answers for them")
def models(request: Request) -> Json:
    """List the models."""
    serving = serving_of(request.scope)
    with read(serving.engine) as conn:
        told = [
            {
                "model": name,
                "kind": serving.project.models[name].kind,
                "pointers": pointers.pointed(conn, name),
            }
            for name in serving.project.shown(log.observed(conn, serving.project.models))
        ]
    return {"default": serving.project.default, "models": told}


@router.get("/model-status", summary="Alias of /models/{model} for the default model")
def model_status(request: Request) -> Json:
    """Tell the state of the default model."""
    serving = serving_of(request.scope)
    return _status(serving, serving.model(None))


@router.get("/models/{model}", summary="Versions, champion, detectors, last cycle, alarms")
def model(request: Request, model: str) -> Json:
    """Tell the state of one model."""
    serving = serving_of(request.scope)
    return _status(serving, serving.model(model))


@router.get(
    "/models/{model}/performance", summary="Losses as known, and as estimated without labels"
)
def performance(request: Request, model: str) -> Json:
    """Tell what the newest answers cost, and what those without a label probably do."""
    serving = serving_of(request.scope)
    asked = serving.model(model)
    with read(serving.engine) as conn:
        report = snapshots.report(conn, asked.name)
        block = report["block"] if report else 1
        return {"model": asked.name, **estimated(conn, asked, block=block)}


@router.get("/models/{model}/versions/{number}", summary="One version and its manifest")
def version(request: Request, model: str, number: Number) -> Json:
    """Tell how one version came about."""
    serving = serving_of(request.scope)
    name = serving.model(model).name
    with read(serving.engine) as conn:
        known = pointers.version(conn, name, number)
    if known is None:
        raise ProblemError(404, "unknown-version", f"{name} has no version {number}")
    return dataclasses.asdict(known)


@router.get("/decisions", summary="The ledger, newest first")
def decisions(
    request: Request,
    model: Text | None = None,
    kind: Annotated[list[Text] | None, Query()] = None,
    before: Before = None,
    limit: Limit = 50,
) -> Json:
    """Page through the ledger; ``next_before`` is the cursor of the next page."""
    serving = serving_of(request.scope)
    with read(serving.engine) as conn:
        found = ledger.entries(
            conn, model=model, kinds=tuple(kind or ()), before=before, limit=limit
        )
        shown = lineage.shown(conn, found, serving.rows_read)
    following = found[-1].n if len(found) == limit else None
    return {"decisions": [_decision(e, shown[e.n]) for e in found], "next_before": following}


@router.get("/decisions/{n}", summary="One decision, and what it was decided from")
def decision(request: Request, n: N) -> Json:
    """Tell one decision."""
    serving = serving_of(request.scope)
    with read(serving.engine) as conn:
        found = ledger.entry(conn, n)
        if found is None:
            raise ProblemError(404, "unknown-decision", f"there is no decision {n}")
        return _decision(found, lineage.shown(conn, [found], serving.rows_read)[n])


@router.get(
    "/predictions/{observation_id:path}", summary="What was answered, by whom, and the truth"
)
def answered(request: Request, observation_id: ObservationId, model: str | None = None) -> Json:
    """Tell where one answer came from."""
    serving = serving_of(request.scope)
    asked = serving.model(model)
    with read(serving.engine) as conn:
        row = log.recorded(conn, [(asked.name, observation_id)]).get((asked.name, observation_id))
        truths = lineage.labels_of(conn, asked.name, observation_id)
        known = pointers.version(conn, asked.name, row.version) if row and row.version else None
        seq = lineage.observed_seq(conn, asked.name, observation_id)
        weights = (
            pointers.weights_of(conn, asked.name, row.revision) if row and row.revision else None
        )
    if row is None:
        raise ProblemError(404, "unknown-observation", f"no observation {observation_id!r}")
    return {
        "model": asked.name,
        "observation_id": observation_id,
        "seq": seq,
        "recorded_at": row.recorded_at,
        "trace": row.trace,
        "features": _features(asked, row),
        "version": row.version,
        "sha256": known.sha256 if known else None,
        "revision": row.revision,
        "weights": weights,
        "answer": prediction(asked, np.frombuffer(row.answer, "<f8")) if row.answer else None,
        "labels": truths,
    }


def _status(serving: Serving, asked: Model) -> Json:
    with read(serving.engine) as conn:
        report = snapshots.report(conn, asked.name)
        waiting = windows.n_joined(conn, asked, report["read"] if report else 0)
        alarms = ledger.entries(conn, model=asked.name, kinds=("alarm",), limit=5)
        shown = lineage.shown(conn, alarms, serving.rows_read)
        told = {
            "model": asked.name,
            "kind": asked.kind,
            "target": asked.target,
            "features": [dataclasses.asdict(f) for f in asked.features],
            "classes": list(asked.classes),
            "pointers": pointers.pointed(conn, asked.name),
            "loop": report,
            "waiting_rows": waiting,
            "check_interval_s": serving.project.settings.check_interval_seconds,
            "versions": [_short(v) for v in pointers.versions_of(conn, asked.name, limit=10)],
            "alarms": [_decision(e, shown[e.n]) for e in alarms],
        }
    answers = serving.champions.get(asked.name)
    return {**told, "champion": answers.known.version if answers else None}


def _short(known: Version) -> Json:
    return {
        "version": known.version,
        "strategy": known.strategy,
        "sha256": known.sha256,
        "recorded_at": known.recorded_at,
        "check": known.manifest.get("check"),
    }


def _decision(entry: LedgerEntry, shown: Json) -> Json:
    told = dataclasses.asdict(entry)
    decided: dict[str, Any] = told.pop("decision")
    return {"n": told["n"], **decided, **told, **shown}


def _features(asked: Model, row: log.Observed) -> Json:
    numbers = np.frombuffer(row.numeric, "<f8").tolist()
    texts = msgspec.json.decode(row.categorical) if row.categorical else []
    told: Json = {
        f.name: None if v != v else v  # noqa: PLR0124  only NaN differs from itself
        for f, v in zip(asked.numeric, numbers, strict=True)
    }
    return told | {f.name: v or None for f, v in zip(asked.categorical, texts, strict=True)}
