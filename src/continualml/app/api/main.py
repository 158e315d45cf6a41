"""The API: routes in, one serving process, drained when it is told to stop."""

import asyncio
import gc
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import uvicorn
from fastapi import FastAPI, Request, Response
from loguru import logger
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from continualml import settings
from continualml.app import logs, ports
from continualml.app.api import (
    columns,
    counts,
    history,
    inference,
    invocations,
    job_routes,
    lag,
    login,
    metrics,
    page,
    problems,
    reading,
    trials,
    trying,
)
from continualml.app.api.connections import Connection
from continualml.app.api.generate import Generate
from continualml.app.api.labels import labels
from continualml.app.api.predict import Predict
from continualml.app.api.provider import Provider
from continualml.app.api.schema import described
from continualml.app.api.serving import Serving, serving_of
from continualml.app.api.tokens import check_file
from continualml.errors import InputError
from continualml.records import Json
from continualml.settings import Project
from continualml.store.engine import StoreUnavailableError

_DRAIN_S = 8
_AGAIN_S = 1.0
# A worker that does not say for so long that it is there is killed. uvicorn's five seconds are less
# than what a machine out of breath lets a healthy one wait.
_HANGS_S = 30
# The writer's thread and the event loop hand over to each other after each batch.
_SWITCH_S = 0.0005
_PREDICTS = re.compile(r"(?:/models/([^/]+))?/predict").fullmatch


class Application(FastAPI):
    """FastAPI, with the way to a prediction past its middlewares and its router.

    What they cost is a quarter of what a prediction costs.
    """

    predict: Final = Predict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and self.predicts(scope):
            await self.predict(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def predicts(self, scope: Scope) -> bool:
        """Tell whether a request is for a prediction; its scope gets what a router would say."""
        model = _PREDICTS(scope["path"]) if scope["method"] == "POST" else None
        if model is None:
            return False
        scope["app"] = self
        scope["path_params"] = {} if model[1] is None else {"model": model[1]}
        return True


def create(project: Project) -> Application:
    """Make the application of one serving process."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            _hold(app, Serving.begin(project))
            later = None
        except StoreUnavailableError as error:
            logger.warning("The store cannot be opened, it is tried again: {}", error)
            later = asyncio.create_task(_begin_later(app, project))
        try:
            yield
        finally:
            if later is not None:
                later.cancel()
            if (serving := getattr(app.state, "serving", None)) is not None:
                serving.end()
            gc.unfreeze()

    app = Application(
        title="Continual ML",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # FastAPI's own pages load their scripts from elsewhere
        redoc_url=None,
        # Nothing is told to anybody unless it is asked for.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.project = project
    plain = (
        ("/predict", app.predict),
        ("/models/{model}/predict", app.predict),
        ("/labels", labels),
        ("/feedback", labels),
        ("/generate", Generate()),
    )
    # Before FastAPI's own: routes are tried one after the other, and these are the busy ones.
    app.router.routes[:0] = [
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in plain),
        *inference.ROUTES,
        *invocations.ROUTES,
    ]
    for part in (reading, history, columns, lag, trials, trying, job_routes, login):
        app.include_router(part.router)
    app.add_api_route("/livez", livez, summary="The process turns; open to all")
    app.add_api_route("/readyz", readyz, summary="A warmed champion and a writable log; open")
    app.add_api_route(
        "/health",
        health,
        summary="Every component's state, as last seen",
        responses={503: {"description": "The same, when the whole is down"}},
    )
    measured = [r.path for r in (*inference.ROUTES, *invocations.ROUTES)]
    metrics.install(app, [*measured, *(path for path, _ in plain)])
    page.install(app)
    problems.install(app)
    described(app)
    return app


async def _begin_later(app: FastAPI, project: Project) -> None:
    """Try again until the store can be opened; all is answered 503 until then.

    To end instead would end the workers beside this one too: uvicorn's parent takes one that does
    not start for a fault of the application.
    """
    while True:
        await asyncio.sleep(_AGAIN_S)
        try:
            serving = await asyncio.to_thread(Serving.begin, project)
        except StoreUnavailableError:
            continue
        except Exception:  # noqa: BLE001  the edge of this task: it goes on, and says so
            logger.exception("The store is there, but serving cannot begin")
            continue
        _hold(app, serving)
        logger.info("The store is open; serving begins")
        return


def _hold(app: FastAPI, serving: Serving) -> None:
    app.state.serving = serving
    # What the start made stays; looking through it again and again holds up requests.
    gc.collect()
    gc.freeze()


async def livez() -> Json:
    """Answer as long as the event loop turns."""
    return {"status": "ok"}


async def readyz(request: Request) -> Json:
    """Answer 200 when predictions can be answered and logged now."""
    return {"status": "ok", "version": await serving_of(request.scope).ready()}


async def health(request: Request, response: Response) -> Json:
    """Tell every component's state; 503 when the whole is down."""
    serving = serving_of(request.scope)
    serving.tokens.require(request.scope, "read")
    now = serving.health.now
    response.status_code = 503 if now.get("status") == "down" else 200
    return now


def from_environment() -> FastAPI:
    """Make the application from the configuration of this environment; each worker calls it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logs.begin()
    project = settings.load()
    logs.begin(project.settings)
    sys.setswitchinterval(_SWITCH_S)
    return create(project)


def _end_with_parent() -> None:
    """End with the process that started this worker: an orphan would keep the port for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def serve(project: Project) -> int:
    """Serve until SIGTERM or SIGINT; requests that are under way are answered first.

    Returns
    -------
    The exit code: 2 if the admin token's file is not safe, the port is taken or an extra is
    missing, 0 after an orderly end.
    """
    said = project.settings
    logs.begin(said)
    try:
        check_file(said.admin_token)
        Provider.of(said)
        ports.check(said)
    except InputError as error:
        logger.error("{}", error)
        return 2
    sys.setswitchinterval(_SWITCH_S)
    several = said.workers > 1
    if several:  # each worker reads the same settings from the environment
        os.environ.update(settings.environment(said))
        os.environ[counts.DIRECTORY] = str(counts.begin(said))
    uvicorn.run(
        "continualml.app.api.main:from_environment" if several else create(project),
        factory=several,
        host=said.host,
        port=said.port,
        workers=said.workers,
        loop="uvloop",
        http=Connection,
        ws="none",
        log_config=None,  # its lines are taken into our log
        access_log=False,
        proxy_headers=False,
        log_level="error",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_DRAIN_S,
        timeout_worker_healthcheck=_HANGS_S,
    )
    return 0
