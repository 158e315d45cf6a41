"""A prediction, the whole path on one screen: check, predict, append, answer."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.types import Receive, Scope, Send

from continualml.app.api import bodies
from continualml.app.api.problems import ProblemError
from continualml.app.api.serving import Serving, serving_of
from continualml.errors import InputError
from continualml.model import Model
from continualml.records import Json, Rows
from continualml.scoring import features
from continualml.store.log import Observed

_JSON = (b"content-type", b"application/json")
_encode = msgspec.json.Encoder().encode


class Predict:
    """``POST /predict`` and ``POST /models/{model}/predict``, as plain ASGI: the hot path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what is answered is on disk before it is sent."""
        serving = serving_of(scope)
        serving.tokens.require(scope, "predict")
        model = serving.model(scope["path_params"].get("model"))
        asked = bodies.predict(
            await bodies.receive_body(scope, receive, serving.most_bytes), serving.most_rows
        )
        rows = _checked(model, asked)
        champion = serving.champions.of(model.name)
        answer = await champion.answer(rows)
        told = await _append(
            serving,
            observed(
                model, rows, asked.ids, champion.known.version, answer, revision=champion.revision
            ),
        )
        content = _encode(_told(model, told, champion.known.version))
        headers = [_JSON, champion.header, (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def observed(
    model: Model,
    rows: Rows,
    ids: Sequence[str | None],
    version: int | None,
    answer: NDArray[np.float64] | None,
    *,
    revision: int | None = None,
) -> list[Observed]:
    """Make rows of the log; a row without an id gets a new one that sorts by time.

    Parameters
    ----------
    answer
        (n, width) what ``version`` answered; None, like the version, where nothing was asked.
    revision
        That of the version's weights, if it is a blend.
    """
    now = datetime.now(UTC).timestamp()
    numeric, width = rows.numeric.astype("<f8", copy=False).tobytes(), rows.numeric.shape[1] * 8
    texts: list[str | None] = [None] * len(rows)
    if model.categorical:
        texts = [_encode(row).decode() for row in rows.categorical.tolist()]
    said: list[bytes | None] = [None] * len(rows)
    if answer is not None:
        packed, step = answer.astype("<f8", copy=False).tobytes(), model.width * 8
        said = [packed[at : at + step] for at in range(0, len(packed), step)]
    return [
        Observed(
            model=model.name,
            observation_id=ids[i] or new_id(now),
            numeric=numeric[i * width : (i + 1) * width],
            categorical=texts[i],
            version=version,
            answer=said[i],
            recorded_at=now,
            revision=revision,
        )
        for i in range(len(rows))
    ]


def new_id(now: float) -> str:
    """Make an id as UUID version 7 does: milliseconds first, so that ids sort by time."""
    tail = os.urandom(10).hex()
    return f"{int(now * 1000):012x}7{tail[1:4]}{'89ab'[int(tail[4], 16) & 3]}{tail[5:]}"


def _checked(model: Model, asked: bodies.Asked) -> Rows:
    try:
        return features.read(model, asked.instances)
    except InputError as error:
        if asked.single:  # then the client wrote no list
            error.where = error.where.removeprefix("instances[0].")
        raise


async def _append(serving: Serving, rows: list[Observed]) -> list[Observed]:
    """Append the rows that are new; return for each what stands in the log.

    Raises
    ------
    ProblemError
        409 if an id is recorded with other features, or without a prediction.
    """
    first = {row.observation_id: row for row in reversed(rows)}
    asked = rows
    if len(first) < len(rows):  # an id twice in one request
        asked = [row for row in rows if first[row.observation_id] is row]
    there = await serving.commit.submit(asked)
    for new, old in zip(asked, there, strict=True):
        if old is not None:
            first[new.observation_id] = old
    told = [first[row.observation_id] for row in rows]
    for i, (row, log) in enumerate(zip(rows, told, strict=True)):
        if row is not log:
            _check_same(row, log, i)
    return told


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


def _told(model: Model, rows: list[Observed], champion: int) -> Json:
    """Write the answer; a row that an earlier version answered names that version itself."""
    version = rows[0].version if len(rows) == 1 else champion
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


def prediction(model: Model, answer: NDArray[np.float64]) -> Json:
    """Say one answer as JSON: the likeliest class with all probabilities, or the value."""
    values = answer.tolist()
    if model.kind == "regression":
        return {"prediction": values[0]}
    return {
        "prediction": model.classes[values.index(max(values))],
        "probabilities": dict(zip(model.classes, values, strict=True)),
    }
