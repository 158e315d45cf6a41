"""Measuring requests as they pass, and ``/metrics``, which says what was measured.

The way of a prediction leads past the middleware; what ends it calls ``Counts.observe`` itself.
"""

import time
from collections.abc import Iterable
from contextlib import suppress

from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from continualml.app import logs
from continualml.app.api import trace
from continualml.app.api.problems import ProblemError
from continualml.app.api.serving import serving_of

_OTHER = "other"


class Measured:
    """Counts every request by route and status, and carries its trace into the log's lines.

    Parameters
    ----------
    plain
        Paths of the routes that are no FastAPI ones.
    """

    def __init__(self, app: ASGIApp, plain: Iterable[str]) -> None:
        self._app = app
        self._plain = frozenset(plain)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; one that raises counts as 500, as its client gets it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        if (traced := trace.of(scope)) is not None:
            # Not set back: the server logs an error behind us, at the end of the same task.
            logs.TRACE.set(traced)
        try:
            await self._app(scope, receive, sent)
        finally:
            seconds = time.perf_counter() - began
            with suppress(ProblemError):  # there is nothing to count in before the store is open
                serving_of(scope).counts.observe(self._route(scope), status, seconds)

    def _route(self, scope: Scope) -> str:
        """Name the route as it was declared; whatever is none has one name for all."""
        if (route := scope.get("route")) is not None:
            return str(route.path)
        path: str = scope["path"]
        return path if path in self._plain else _OTHER


def install(app: FastAPI, plain: Iterable[str]) -> None:
    """Measure the application's requests, and answer ``/metrics``."""
    app.add_middleware(Measured, plain=tuple(plain))
    app.add_api_route(
        "/metrics",
        metrics,
        summary="Figures for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )


def metrics(request: Request) -> Response:
    """Tell all figures as Prometheus reads them."""
    serving = serving_of(request.scope)
    serving.tokens.require(request.scope, "read")
    text, media_type = serving.figures.text(request.headers.get("accept", ""))
    return Response(text, headers={"content-type": media_type})
