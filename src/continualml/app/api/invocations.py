"""MLflow's scoring protocol beside ``/predict``: the same path, check, predict, append, answer.

MLflow's own client sends no header of its own, but puts what stands before an ``@`` in its host
into basic authentication; so here, and only here, a token is also taken as a password.
"""

import base64
import binascii
import csv
import io
import json
import math
from importlib.metadata import version as installed
from typing import Any, Final

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from continualml.app.api import bodies, trace
from continualml.app.api.asking import Asked, of_rows
from continualml.app.api.predict import answered_by, in_log, prediction
from continualml.app.api.problems import ProblemError
from continualml.app.api.serving import serving_of
from continualml.app.api.tensors import IDS
from continualml.errors import InputError, Said, came
from continualml.model import MISSING, Model, number
from continualml.records import Json
from continualml.scoring import features

FORMS: Final = ("dataframe_split", "dataframe_records", "instances", "inputs")


async def invocations(request: Request) -> Response:
    """Answer the rows of a request; they are on disk before that is sent."""
    serving = serving_of(request.scope)
    serving.tokens.require(_with_bearer(request.scope), "predict")
    model = serving.model(request.path_params.get("model"))
    body = await bodies.receive_body(request.scope, request.receive, serving.most_bytes)
    content_type = request.headers.get("content-type", "application/json")
    try:
        asked = _asked(model, body, content_type, serving.most_rows)
    except Exception as error:
        serving.refusals.count(model.name, error)
        raise
    found = await serving.answering.answer(model, asked, trace.of(request.scope))
    serving.counts.answered(model.name, len(found.rows))
    champion = found.rows[0].version
    logged = in_log(found)
    answers = [prediction(model, np.frombuffer(row.answer or b"", "<f8")) for row in logged]
    told: Json = {"predictions": [a["prediction"] for a in answers]}
    if model.classes:
        told["probabilities"] = [a["probabilities"] for a in answers]
    told["observation_ids"] = [row.observation_id for row in logged]
    headers = {"X-Model-Version": str(answered_by(logged, champion))}
    return Response(msgspec.json.encode(told), headers=headers, media_type="application/json")


def _asked(model: Model, body: bytes, content_type: str, most_rows: int) -> Asked:
    where, rows = _rows(model, body, content_type)
    bodies.check_rows(len(rows), most_rows, where)
    try:
        ids = _ids(model, rows, where)
        return of_rows(features.read(model, rows, where), ids)
    except InputError as error:
        error.rows = max(len(rows), 1)
        raise


async def ping(request: Request) -> Response:
    """Answer 200 when predictions can be answered and logged now; open, as ``/readyz``."""
    await serving_of(request.scope).ready()
    return PlainTextResponse("\n")


async def version(request: Request) -> Response:
    """Tell the version of what serves; MLflow tells its own here."""
    serving_of(request.scope).tokens.require(_with_bearer(request.scope), "predict")
    return PlainTextResponse(installed("continualml"))


def _with_bearer(scope: Scope) -> Scope:
    """Take the password of basic authentication for a token."""
    headers = []
    for name, value in scope["headers"]:
        kind, _, secret = value.partition(b" ")
        if name == b"authorization" and kind.lower() == b"basic":
            try:
                _, _, password = base64.b64decode(secret.strip(), validate=True).partition(b":")
            except binascii.Error:
                password = b""
            headers.append((name, b"Bearer " + password))
        else:
            headers.append((name, value))
    return {**scope, "headers": headers}


def _rows(model: Model, body: bytes, content_type: str) -> tuple[str, list[Json]]:
    """Read any of the forms; give the field that held the rows, and the rows by name."""
    kind, *more = [part.strip().lower() for part in content_type.split(";")]
    if kind not in {"application/json", "text/csv"} or not set(more) <= {"", "charset=utf-8"}:
        raise ProblemError(
            415,
            "unsupported-media-type",
            f"content-type: expected application/json or text/csv in UTF-8, got {content_type!r}",
            where="content-type",
        )
    if kind == "text/csv":
        return "csv", _of_csv(model, body)
    asked = _decode(body)
    if not isinstance(asked, dict) or len(there := [f for f in FORMS if f in asked]) != 1:
        got = Said(f"{sorted(asked)[:5]}") if isinstance(asked, dict) else asked
        raise InputError("body", expected=f"an object with one of {list(FORMS)}", got=got)
    if unknown := [name for name in asked if name not in {*there, "params"}]:
        raise InputError(unknown[0][:60], expected="no such field", got=asked[unknown[0]])
    if asked.get("params"):
        raise InputError("params", expected="none; models here take none", got=asked["params"])
    where = there[0]
    form = asked[where]
    return where, _of_split(form) if where == "dataframe_split" else _of_any(model, form, where)


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except bodies.UNREADABLE:
        pass
    try:  # MLflow's client writes missing values as NaN, which Python's own reader knows
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise bodies.unreadable(body, error) from None


def _of_split(form: Any) -> list[Json]:
    where = "dataframe_split"
    columns = form.get("columns") if isinstance(form, dict) else None
    data = form.get("data") if isinstance(form, dict) else None
    if not isinstance(columns, list) or not isinstance(data, list):
        raise InputError(where, expected="an object with the lists columns and data", got=form)
    _check_columns(columns, f"{where}.columns")
    return [_named(columns, row, f"{where}.data[{i}]") for i, row in enumerate(data)]


def _of_any(model: Model, form: Any, where: str) -> list[Json]:
    """Read rows by name, rows in the order of the features, or columns by name."""
    if isinstance(form, dict) and where == "inputs":
        return _of_columns(form, where)
    if not isinstance(form, list):
        raise InputError(where, expected="a list of rows", got=Said(came(form)[:200]))
    names = [f.name for f in model.features]
    rows: list[Json] = []
    for i, row in enumerate(form):
        at = f"{where}[{i}]"
        if isinstance(row, dict):
            rows.append({name: _plain(value) for name, value in row.items()})
        elif isinstance(row, list) and where != "dataframe_records":
            rows.append(_named(names, row, at))
        else:
            raise InputError(at, expected="a row, as an object", got=row)
    return rows


def _of_columns(form: dict[str, Any], where: str) -> list[Json]:
    """Read columns by name; each is a list of values, or of lists of one value."""
    columns: dict[str, list[Any]] = {}
    for name, values in form.items():
        if not isinstance(values, list):
            raise InputError(f"{where}.{name[:60]}", expected="a list of values", got=values)
        columns[name] = [v[0] if isinstance(v, list) and len(v) == 1 else v for v in values]
    sizes = {name: len(values) for name, values in columns.items()}
    if len(set(sizes.values())) > 1:
        expected = "as many values in each column"
        raise InputError(where, expected=expected, got=Said(str(sizes)[:200]))
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, map(_plain, row), strict=True)) for row in rows]


def _of_csv(model: Model, body: bytes) -> list[Json]:
    try:
        lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError("csv", expected="a table in UTF-8", got=Said(str(error))) from None
    columns, *data = [[value.strip() for value in line] for line in lines if line] or [[]]
    _check_columns(columns, "csv:1")
    numeric = {f.name for f in model.numeric}
    rows = []
    for i, line in enumerate(data):
        row = _named(columns, line, f"csv[{i}]")
        rows.append({n: _of_text(v, numeric=n in numeric, is_id=n == IDS) for n, v in row.items()})
    return rows


def _of_text(text: str, *, numeric: bool, is_id: bool) -> object:
    if text == "" or (text.lower() in MISSING and not is_id):
        return None
    value = number(text) if numeric else None
    return text if value is None else value


def _check_columns(columns: list[Any], where: str) -> None:
    fits = columns and all(isinstance(c, str) for c in columns)
    if not fits or len(set(columns)) < len(columns):
        raise InputError(where, expected="names, each once", got=Said(str(columns)[:200]))


def _named(columns: list[str], row: Any, where: str) -> Json:
    if not isinstance(row, list) or len(row) != len(columns):
        got = Said(f"{len(row)} values") if isinstance(row, list) else row
        raise InputError(where, expected=f"{len(columns)} values", got=got)
    return dict(zip(columns, map(_plain, row), strict=True))


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _ids(model: Model, rows: list[Json], where: str) -> list[str | None]:
    """Take the column of ids out of the rows, unless it is a feature."""
    if any(f.name == IDS for f in model.features):
        return [None] * len(rows)
    ids = [row.pop(IDS, None) for row in rows]
    try:
        return msgspec.convert(ids, list[bodies.ObservationId | None])
    except msgspec.ValidationError as error:
        raise InputError(f"{where}.{IDS}", expected="text", got=Said(str(error))) from None


ROUTES: Final = [
    Route("/invocations", invocations, methods=["POST"]),
    Route("/models/{model}/invocations", invocations, methods=["POST"]),
    Route("/ping", ping, methods=["GET"]),
    Route("/version", version, methods=["GET"]),
]
