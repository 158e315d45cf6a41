"""A prediction, the whole path on one screen: check, predict, append, answer."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.types import Receive, Scope, Send

from continualml.app import logs
from continualml.app.api import bodies, problems, trace
from continualml.app.api.answering import Answered, Told
from continualml.app.api.problems import ProblemError
from continualml.app.api.serving import Serving, serving_of
from continualml.model import Model
from continualml.records import Json
from continualml.store.log import Observed
from continualml.store.tickets import settle

_JSON = (b"content-type", b"application/json")
_ROUTE, _OF_MODEL = "/predict", "/models/{model}/predict"
_encode = msgspec.json.Encoder().encode


class Asking:
    """One request for a prediction, wherever it came from.

    Parameters
    ----------
    began
        When, as ``time.perf_counter`` tells it.
    traced
        Its trace, if it has one.
    """

    __slots__ = ("_began", "_model", "_scope", "_serving", "_traced")

    def __init__(self, serving: Serving, scope: Scope, began: float, traced: str | None) -> None:
        self._serving = serving
        self._scope = scope
        self._began = began
        self._traced = traced

    def allow(self) -> None:
        """Let it pass if it may ask.

        Raises
        ------
        ProblemError
            401, 403 or 429 without a token that may.
        """
        self._serving.tokens.require(self._scope, "predict")

    def begin(self, body: bytes, told: Told) -> None:
        """Check its rows, and let them be answered and appended.

        Raises
        ------
        ProblemError
            404 if there is no such model, 400 or 413 if the body is no request.
        InputError
            Names the first field that is wrong.
        """
        serving = self._serving
        self._model = serving.model(self._scope["path_params"].get("model"))
        try:
            rows = serving.readers[self._model.name].read(body)
        except Exception as error:
            serving.refusals.count(self._model.name, error)
            raise
        serving.answering.begin(self._model, rows, self._traced, told)

    def said(self, found: Answered) -> tuple[bytes, bytes]:
        """Write what is on disk now: the version that answered, and the answer.

        Raises
        ------
        ProblemError
            409 if an id is recorded with other features, or without a prediction.
        """
        self._serving.counts.answered(self._model.name, len(found.rows))
        champion = found.rows[0].version
        told = _told(self._model, in_log(found), champion)
        return b"%d" % (champion or 0), _encode(told)

    async def refuse(self, error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a problem; an unforeseen one is raised again for the server's log."""
        if self._traced is not None:
            logs.TRACE.set(self._traced)  # not set back: it is logged at the end of this task
        problem = problems.of(error)
        await problems.answer(problem)(scope, receive, send)
        self.count(problem.status)
        if problem.kind == problems.INTERNAL:
            raise error

    def count(self, status: int) -> None:
        """Count that it was answered."""
        route = _OF_MODEL if self._scope["path_params"] else _ROUTE
        self._serving.counts.observe(route, status, time.perf_counter() - self._began)


class Predict:
    """``POST /predict`` and ``POST /models/{model}/predict``, as plain ASGI."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what is answered is on disk before it is sent."""
        began = time.perf_counter()
        try:
            serving = serving_of(scope)
        except ProblemError as early:
            await problems.answer(early)(scope, receive, send)
            return
        asking = Asking(serving, scope, began, trace.of(scope))
        try:
            asking.allow()
            body = await bodies.receive_body(scope, receive, serving.most_bytes)
            found: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
            asking.begin(body, partial(settle, found))
            version, content = asking.said(await found)
        except Exception as error:  # noqa: BLE001  it tells, and raises what nobody foresaw
            await asking.refuse(error, scope, receive, send)
            return
        headers = [_JSON, (b"x-model-version", version), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        asking.count(200)


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
