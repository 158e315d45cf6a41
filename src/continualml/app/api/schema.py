"""The OpenAPI document: what the plain routes take and give, with examples from the models."""

import copy
from typing import Any

import msgspec
from fastapi import FastAPI

from continualml.app.api import bodies, problems
from continualml.model import Model
from continualml.records import Json

_PARTS = "#/components/schemas/{name}"
_STATUS = {
    "400": "Not JSON",
    "401": "No token that holds",
    "403": "The token has not this scope",
    "404": "No such model",
    "409": "The id is recorded with other features",
    "413": "Too large, or too many rows",
    "422": "A field is not what was expected; the problem names it",
    "429": "Too many different wrong tokens came from this address",
    "503": "Nothing was recorded; try again",
}


def described(app: FastAPI) -> None:
    """Add the plain routes to the document that FastAPI makes of the others."""
    made = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None or "/predict" not in app.openapi_schema["paths"]:
            app.openapi_schema = _with_plain_routes(app, copy.deepcopy(made()))
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _with_plain_routes(app: FastAPI, document: Json) -> Json:
    types = (bodies.PredictBody, bodies.LabelsBody, bodies.GenerateBody)
    _, parts = msgspec.json.schema_components(types, ref_template=_PARTS, schema_hook=_any_value)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(parts, Problem=problems.SCHEMA)
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    project = app.state.project
    model: Model | None = project.models.get(project.default)
    row = _row(model) if model else {"features": {}}
    named = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    predict = _operation("Predict, durably logged", "PredictBody", row)
    labels = _operation(
        "The truth for observations",
        "LabelsBody",
        {
            "labels": [
                {
                    "observation_id": "order-17",
                    "label": model.classes[0] if model and model.classes else 1,
                }
            ]
        },
    )
    generate = _operation(
        "Labelled rows of the demo problem", "GenerateBody", {"n": 500, "seed": 1}
    )
    document["paths"] |= {
        "/predict": {"post": predict},
        "/models/{model}/predict": {"post": {**predict, "parameters": [named]}},
        "/labels": {"post": labels},
        "/feedback": {"post": labels},
        "/generate": {"post": generate},
    }
    for path, item in document["paths"].items():
        if path not in {"/livez", "/readyz"}:
            for operation in item.values():
                operation["security"] = [{"bearer": []}]
    return document


def _any_value(_kind: type) -> Json:
    """Describe a feature's value: what it may be is said by the model's own schema."""
    return {"type": ["number", "string", "null"]}


def _operation(summary: str, body: str, example: Json) -> Json:
    problem = {
        "schema": {"$ref": _PARTS.format(name="Problem")},
        "example": problems.EXAMPLE,
    }
    answers: dict[str, Any] = {
        status: {"description": text, "content": {problems.MEDIA_TYPE: problem}}
        for status, text in _STATUS.items()
    }
    answers["200"] = {
        "description": "Done, and on disk",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
    content = {"schema": {"$ref": _PARTS.format(name=body)}, "example": example}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": answers,
    }


def _row(model: Model) -> Json:
    values: Json = {f.name: 0.5 if f.kind == "numeric" else "a" for f in model.features}
    return {"features": values, "observation_id": "order-17"}
