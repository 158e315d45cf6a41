"""The OpenAPI document: what the plain routes take and give, with examples from the models."""

import copy
from typing import Any

import msgspec
from fastapi import FastAPI

from continualml.app.api import bodies, job_routes, logins, problems, provider, tensors, trying
from continualml.model import Model
from continualml.records import Json

_PARTS = "#/components/schemas/{name}"
_MEDIA, _NO_TRAINING = "415", "501"
_LOGINS = {"/login", "/login/oidc"}
_STATUS = {
    "400": "Not JSON",
    "401": "No token that holds",
    "403": "The token has not this scope",
    "404": "No such model or version, or nothing of that name",
    "409": "The id is recorded with other features; or another job runs",
    "413": "Too large, or too many rows",
    _MEDIA: "Neither JSON nor CSV, or compressed",
    "422": "A field is not what was expected; the problem names it",
    "429": "Too many different wrong tokens came from this address",
    _NO_TRAINING: "What serves was installed without what trains",
    "503": "The store or the model cannot answer now, and nothing was recorded; try again",
}


_OPEN = {"/livez", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready"}
_READY = {"/readyz", "/ping", "/v2/health/ready"}
_LOOKS = {
    "/ping": "As /readyz, for clients of MLflow; open to all",
    "/version": "The version of what serves, as text",
    "/v2": "The server, as the Open Inference Protocol tells it",
    "/v2/health/live": "The process turns; open to all",
    "/v2/health/ready": "A warmed champion and a writable log; open to all",
}
_INVOCATIONS: Json = {
    "type": "object",
    "description": "One of the four forms of MLflow's scoring protocol.",
    "properties": {
        "dataframe_split": {"type": "object", "description": "The lists columns and data."},
        "dataframe_records": {"type": "array", "items": {}, "description": "Rows by name."},
        "instances": {
            "type": "array",
            "items": {},
            "description": "Rows by name, or in the schema's order.",
        },
        "inputs": {"description": "The same, or columns by name."},
        "params": {"type": "object", "description": "Empty; models here take none."},
    },
}
_OF_A_MODEL = {"": "The tensors that it takes and gives", "/ready": "Whether it can answer now"}


def described(app: FastAPI) -> None:
    """Add the plain routes to the document that FastAPI makes of the others."""
    made = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None or "/predict" not in app.openapi_schema["paths"]:
            app.openapi_schema = _with_plain_routes(app, copy.deepcopy(made()))
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _with_plain_routes(app: FastAPI, document: Json) -> Json:
    types = (
        *(bodies.PredictBody, bodies.LabelsBody, bodies.GenerateBody, tensors.InferBody),
        *(trying.TryBody, job_routes.JobBody, logins.LoginBody),
        provider.VouchedBody,
    )
    _, parts = msgspec.json.schema_components(types, ref_template=_PARTS, schema_hook=_any_value)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(
        parts, Problem=problems.SCHEMA, Invocations=_INVOCATIONS
    )
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
    } | _of_others(model, named)
    for path, body, example in (
        ("/models/{model}/try", "TryBody", {"features": row["features"]}),
        ("/models/{model}/jobs", "JobBody", {"kind": "backtest", "policy": {"cooldown": 500}}),
        ("/login", "LoginBody", {"secret": "ct_the-token"}),  # nosec B105  an example
        ("/login/oidc", "VouchedBody", {"id_token": "eyJhbGciOi…"}),  # nosec B105  likewise
    ):
        made = document["paths"][path]["post"]
        plain = _operation(made["summary"], body, example)
        problem = {s: r for s, r in plain["responses"].items() if not s.startswith("2")}
        good = {s: r for s, r in made["responses"].items() if s.startswith("2")}
        document["paths"][path]["post"] = made | {
            "requestBody": plain["requestBody"],
            "responses": good | problem,
        }
    may_train: Json = document["paths"]["/models/{model}/jobs"]["post"]["responses"]
    may_train[_NO_TRAINING] = _problem(_NO_TRAINING)
    for path, item in document["paths"].items():
        for operation in item.values():
            if path not in _OPEN and path not in _LOGINS:
                operation["security"] = [{"bearer": []}]
            _say_problems(path, operation)
    for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which never come
        components["schemas"].pop(unused, None)
    return document


def _say_problems(path: str, operation: Json) -> None:
    """Name the problems that a route can answer with, where that was not done yet."""
    answers: Json = operation["responses"]
    if "requestBody" not in operation:
        answers.pop("422", None)  # FastAPI's own
    wanted = {"503"} if path in _READY else set() if path in _OPEN else {"401", "403", "429"}
    if path not in _OPEN and path != "/health":  # that one answers with what is down
        wanted |= {"503"}
    if operation.get("parameters"):
        wanted |= {"404", "422"}
    for status in sorted(wanted):
        answers.setdefault(status, _problem(status))


def _problem(status: str) -> Json:
    schema = {"$ref": _PARTS.format(name="Problem")}
    content = {problems.MEDIA_TYPE: {"schema": schema, "example": problems.EXAMPLE}}
    return {"description": _STATUS[status], "content": content}


def _of_others(model: Model | None, named: Json) -> Json:
    """Describe what other people's clients speak: MLflow's, and the Open Inference Protocol's."""
    numeric = [f.name for f in model.numeric] if model else []
    infer = _operation(
        "Predict tensors, durably logged",
        "InferBody",
        {
            "id": "night-7",
            "inputs": [
                {
                    "name": "numeric",
                    "shape": [1, len(numeric)],
                    "datatype": "FP64",
                    "data": [0.5] * len(numeric),
                }
            ],
        },
    )
    score = _operation(
        "Predict as MLflow's scoring server does, durably logged",
        "Invocations",
        {"dataframe_records": [_row(model)["features"] if model else {}]},
    )
    for one in (infer, score):
        one["responses"][_MEDIA] = _problem(_MEDIA)
    score["requestBody"]["content"]["text/csv"] = {"schema": {"type": "string"}}
    version = {**named, "name": "version"}
    paths: Json = {path: {"get": _looks(summary)} for path, summary in _LOOKS.items()}
    paths["/invocations"] = {"post": score}
    paths["/models/{model}/invocations"] = {"post": {**score, "parameters": [named]}}
    for path, parameters in (
        ("/v2/models/{model}", [named]),
        ("/v2/models/{model}/versions/{version}", [named, version]),
    ):
        paths[f"{path}/infer"] = {"post": {**infer, "parameters": parameters}}
        for tail, summary in _OF_A_MODEL.items():
            paths[f"{path}{tail}"] = {"get": {**_looks(summary), "parameters": parameters}}
    return paths


def _looks(summary: str) -> Json:
    return {"summary": summary, "responses": {"200": {"description": "So it is"}}}


def _any_value(_kind: type) -> Json:
    """Describe a feature's value: what it may be is said by the model's own schema."""
    return {"type": ["number", "string", "null"]}


def _operation(summary: str, body: str, example: Json) -> Json:
    usual = [status for status in _STATUS if status not in {_MEDIA, _NO_TRAINING}]
    answers: dict[str, Any] = {status: _problem(status) for status in usual}
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
