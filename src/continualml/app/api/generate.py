"""Labelled rows of the built-in linear problem, for trying things out."""

from datetime import UTC, datetime

import msgspec
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from continualml import demo
from continualml.app.api import bodies
from continualml.app.api.answering import observed
from continualml.app.api.asking import of_rows
from continualml.app.api.problems import ProblemError
from continualml.app.api.serving import serving_of
from continualml.records import Json
from continualml.store.engine import write
from continualml.store.log import Labelled, append_labels, append_observations, last_seq


class Generate:
    """``POST /generate``."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Append generated observations and their labels; say how many and where they are."""
        serving = serving_of(scope)
        serving.tokens.require(scope, "label")
        asked = bodies.generate(await bodies.receive_body(scope, receive, serving.most_bytes))
        if asked.model not in {None, demo.DEMO.name}:
            raise ProblemError(
                422,
                "not-the-demo",
                f"rows are generated for the model {demo.DEMO.name!r} only, not {asked.model!r}",
                where="model",
            )
        if serving.project.models.get(demo.DEMO.name) is not demo.DEMO:
            raise ProblemError(
                422,
                "not-the-demo",
                f"the model {demo.DEMO.name!r} of this project is one of its own, "
                "not the built-in problem",
                where="model",
                remedy="give it another name in continual.toml, and generate again",
            )
        told = await run_in_threadpool(_generate, serving.engine, asked)
        await Response(msgspec.json.encode(told), media_type="application/json")(
            scope, receive, send
        )


def _generate(engine: Engine, asked: bodies.GenerateBody) -> Json:
    rows, target = demo.generate(asked.n, seed=asked.seed, noise=asked.noise, drift=asked.drift)
    seen = observed(demo.DEMO, of_rows(rows, [None] * asked.n), None, None)
    labels = [
        Labelled(observation_id=o.observation_id, label=demo.DEMO.classes[int(t)])
        for o, t in zip(seen, target, strict=True)
    ]
    with write(engine) as conn:
        before = last_seq(conn)
        append_observations(conn, seen)
        append_labels(conn, demo.DEMO, labels, datetime.now(UTC).timestamp())
        after = last_seq(conn)
    return {"model": demo.DEMO.name, "rows": asked.n, "first_seq": before + 1, "last_seq": after}
