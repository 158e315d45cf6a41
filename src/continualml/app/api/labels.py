"""The truth comes in: labels are appended, each with its verdict."""

from datetime import UTC, datetime

import msgspec
from starlette.types import Receive, Scope, Send

from continualml.app.api import bodies
from continualml.app.api.serving import serving_of
from continualml.store.log import Labelled


class Labels:
    """``POST /labels``, alias ``/feedback``."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Append the labels; they are on disk before their verdicts are sent."""
        serving = serving_of(scope)
        serving.tokens.require(scope, "label")
        body = await bodies.receive_body(scope, receive, serving.most_bytes)
        asked = bodies.labels(body, serving.most_rows)
        model = serving.model(asked.model)
        items = [
            Labelled(observation_id=i.observation_id, label=i.label, revision=i.revision)
            for i in asked.labels
        ]
        verdicts = await serving.commit.submit_labels(model, items, datetime.now(UTC).timestamp())
        told = [
            {"observation_id": v.observation_id, "status": v.verdict}
            | ({"reason": v.reason} if v.reason else {})
            for v in verdicts
        ]
        await reply(send, {"model": model.name, "labels": told})


async def reply(send: Send, content: object) -> None:
    """Send a JSON document."""
    body = msgspec.json.encode(content)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
