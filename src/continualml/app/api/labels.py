"""The truth, when it comes: ``POST /labels``, through the same group commit as predictions."""

from collections import Counter
from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from continualml.app.api import bodies, counts, trace
from continualml.app.api.serving import serving_of
from continualml.errors import InputError
from continualml.records import Json
from continualml.store.log import LabelAnswer, Labelled

_EXACT = 2**53
_LARGEST = 2**63


async def labels(request: Request) -> Response:
    """Append labels and say for each what became of it, in the order in which they came."""
    serving = serving_of(request.scope)
    serving.tokens.require(request.scope, "label")
    body = await bodies.receive_body(request.scope, request.receive, serving.most_bytes)
    asked = bodies.labels(body, serving.most_rows)
    model = serving.model(asked.model)
    traced = trace.of(request.scope)
    items = [
        Labelled(
            observation_id=item.observation_id,
            label=_plain(item.label, i),
            revision=item.revision,
            trace=traced,
        )
        for i, item in enumerate(asked.labels)
    ]
    told = await serving.commit.submit_labels(model, items, datetime.now(UTC).timestamp())
    verdicts = Counter(t.verdict for t in told)
    for verdict, n in verdicts.items():
        serving.counts.add((counts.LABELS, model.name, verdict), n)
    answer = {
        "model": model.name,
        "labels": [_said(t, i.revision) for t, i in zip(told, items, strict=True)],
        "counts": dict(verdicts),
    }
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _plain(label: object, i: int) -> object:
    # JSON has one kind of number: 1.0 is the class "1".
    if isinstance(label, float) and label.is_integer() and abs(label) <= _EXACT:
        return int(label)
    # No float holds it; in the group commit it would fail everyone who waits beside it.
    if isinstance(label, int) and abs(label) > _LARGEST:
        raise InputError(f"labels[{i}].label", expected="an integer of 64 bits", got=label)
    return label


def _said(told: LabelAnswer, revision: int) -> Json:
    said: Json = {
        "observation_id": told.observation_id,
        "revision": revision,
        "verdict": told.verdict,
    }
    return said if told.reason is None else {**said, "reason": told.reason}
