"""The truth, when it comes: ``POST /labels``, through the same group commit as predictions."""

from collections import Counter
from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from continualml.app.api import bodies
from continualml.app.api.serving import serving_of
from continualml.records import Json
from continualml.store.log import LabelAnswer, Labelled


async def labels(request: Request) -> Response:
    """Append labels and say for each what became of it, in the order in which they came."""
    serving = serving_of(request.scope)
    serving.tokens.require(request.scope, "label")
    body = await bodies.receive_body(request.scope, request.receive, serving.most_bytes)
    asked = bodies.labels(body, serving.most_rows)
    model = serving.model(asked.model)
    items = [
        Labelled(observation_id=i.observation_id, label=_plain(i.label), revision=i.revision)
        for i in asked.labels
    ]
    told = await serving.commit.submit_labels(model, items, datetime.now(UTC).timestamp())
    answer = {
        "model": model.name,
        "labels": [_said(t, i.revision) for t, i in zip(told, items, strict=True)],
        "counts": dict(Counter(t.verdict for t in told)),
    }
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _plain(label: object) -> object:
    # JSON has one kind of number: 1.0 is the class "1".
    return int(label) if isinstance(label, float) and label.is_integer() else label


def _said(told: LabelAnswer, revision: int) -> Json:
    said: Json = {
        "observation_id": told.observation_id,
        "revision": revision,
        "verdict": told.verdict,
    }
    return said if told.reason is None else {**said, "reason": told.reason}
