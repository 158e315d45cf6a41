"""A prediction, the whole path on one screen: check, predict, append, answer."""

import time
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.types import Receive, Scope, Send

from continualml.app import logs
from continualml.app.api import bodies, problems, trace
from continualml.app.api.answering import Answered
from continualml.app.api.problems import ProblemError
from continualml.app.api.serving import Serving, serving_of
from continualml.model import Model
from continualml.records import Json
from continualml.store.log import Observed

_JSON = (b"content-type", b"application/json")
_ROUTE, _OF_MODEL = "/predict", "/models/{model}/predict"
_encode = msgspec.json.Encoder().encode


class Predict:
    """``POST /predict`` and ``POST /models/{model}/predict``, as plain ASGI: the hot path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what is answered is on disk before it is sent."""
        began, serving = time.perf_counter(), serving_of(scope)
        counts = serving.counts
        route = _OF_MODEL if scope["path_params"] else _ROUTE
        if (traced := trace.of(scope)) is not None:
            logs.TRACE.set(traced)  # not set back: the server logs an error at the end of this task
        try:
            version, content = await _answer(serving, scope, receive, traced)
        except Exception as error:
            problem = problems.of(error)
            await problems.answer(problem)(scope, receive, send)
            counts.observe(route, problem.status, time.perf_counter() - began)
            if problem.kind == problems.INTERNAL:
                raise  # the server's log gets the traceback
            return
        headers = [_JSON, (b"x-model-version", version), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        counts.observe(route, 200, time.perf_counter() - began)


async def _answer(
    serving: Serving, scope: Scope, receive: Receive, traced: str | None
) -> tuple[bytes, bytes]:
    """Check, predict, append; give the version that answered, and the answer."""
    serving.tokens.require(scope, "predict")
    model = serving.model(scope["path_params"].get("model"))
    body = await bodies.receive_body(scope, receive, serving.most_bytes)
    found = await serving.answering.answer(model, serving.readers[model.name].read(body), traced)
    serving.counts.answered(model.name, len(found.rows))
    champion = found.rows[0].version
    return b"%d" % (champion or 0), _encode(_told(model, in_log(found), champion))


def in_log(found: Answered) -> Sequence[Observed]:
    """Take the rows as they stand in the log.

    Raises
    ------
    ProblemError
        409 if an id is recorded with other features, or without a prediction.
    """
    if not any(found.there):
        return found.rows
    for i, (row, log) in enumerate(zip(found.rows, found.there, strict=True)):
        if log is not None:
            _check_same(row, log, i)
    return [log or row for row, log in zip(found.rows, found.there, strict=True)]


def _check_same(row: Observed, log: Observed, i: int) -> None:
    same = row.categorical == log.categorical and (
        row.numeric == log.numeric
        or np.array_equal(
            np.frombuffer(row.numeric), np.frombuffer(log.numeric), equal_nan=True
        )  # 0.0 and -0.0 are one number in JSON
    )
    if same and log.answer is not None:
        return
    raise ProblemError(
        409,
        "observation-conflict",
        f"instances[{i}]: observation {row.observation_id!r} is recorded already, "
        + ("with other features" if not same else "without a prediction"),
        where=f"instances[{i}].observation_id",
        remedy="send a new observation_id; rows of this request that were new are recorded, and "
        "sending those again gives their answers",
    )


def _told(model: Model, rows: Sequence[Observed], champion: int | None) -> Json:
    """Write the answer; a row that an earlier version answered names that version itself."""
    version = answered_by(rows, champion)
    predictions: list[Json] = []
    for row in rows:
        said: Json = {
            "observation_id": row.observation_id,
            **prediction(model, np.frombuffer(row.answer or b"", "<f8")),
        }
        if row.version != version:
            said["version"] = row.version
        predictions.append(said)
    return {"model": model.name, "version": version, "predictions": predictions}


def answered_by(rows: Sequence[Observed], champion: int | None) -> int | None:
    """Tell the version of an answer: the champion, unless its one row was answered before."""
    return rows[0].version if len(rows) == 1 else champion


def prediction(model: Model, answer: NDArray[np.float64]) -> Json:
    """Say one answer as JSON: the likeliest class with all probabilities, or the value."""
    values = answer.tolist()
    if model.kind == "regression":
        return {"prediction": values[0]}
    return {
        "prediction": model.classes[values.index(max(values))],
        "probabilities": dict(zip(model.classes, values, strict=True)),
    }
