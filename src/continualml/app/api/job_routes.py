"""Jobs that people ask for: a replay of the decisions, or a backtest of another policy."""

import importlib.util
import json
from typing import Final, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from continualml.app.api.asked import body_of
from continualml.app.api.history import looking
from continualml.app.api.jobs import KEPT, Job
from continualml.app.api.problems import ProblemError
from continualml.errors import InputError
from continualml.settings import PolicyTable

router = APIRouter()
_MOST_BYTES: Final = 20_000


class JobBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """``replay`` recomputes every decision; ``backtest`` tries another policy on the own log.

    ``policy`` changes single keys of ``[models.NAME.policy]``, as they stand in continual.toml.
    """

    kind: Literal["replay", "backtest"]
    policy: dict[str, str | int | float | bool] = {}


@router.post(
    "/models/{model}/jobs",
    status_code=202,
    summary="Replay, or backtest another policy; one at once",
)
async def begin(request: Request, model: str, response: Response) -> Job:
    """Start a job; it runs at the lowest priority, for at most 15 minutes."""
    serving = looking(request)
    name = serving.model(model).name
    body = await body_of(request, JobBody, _MOST_BYTES)
    if body.kind == "backtest" and importlib.util.find_spec("sklearn") is None:
        raise ProblemError(
            501,
            "cannot-train",
            "a backtest trains, and what serves here was installed without what trains",
            remedy="install continualml[learn] for the API, or run `continual backtest` where the "
            "loop runs",
        )
    command = [body.kind, "--json", "--model", name, *_policy(body.policy)]
    job = await run_in_threadpool(serving.jobs.start, command)
    if job is None:
        raise ProblemError(
            409,
            "another-job-runs",
            "one job runs at a time, so that serving does not feel it",
            headers={"Retry-After": "10"},
            remedy="wait until it has ended",
        )
    response.headers["Location"] = f"/jobs/{job}"
    return Job(job=job, state="running")


@router.get("/jobs/{job}", summary="How a job stands, and its result")
def job(request: Request, job: str) -> Job:
    """Tell how a job stands."""
    found = looking(request).jobs.state(job)
    if found is None:
        raise ProblemError(404, "unknown-job", f"there is no such job; the newest {KEPT} are kept")
    return found


def _policy(changes: dict[str, str | int | float | bool]) -> list[str]:
    """Check the changed keys, and write them as flags."""
    try:
        PolicyTable.model_validate(changes)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["policy", *(str(p) for p in first["loc"][:1])])
        said = str(first["msg"]).removeprefix("Value error, ").removeprefix("expected ")
        if first["type"] == "extra_forbidden":
            said = f"one of {sorted(PolicyTable.model_fields)}"
        raise InputError(where, expected=said, got=first.get("input")) from None
    return [part for k, v in changes.items() for part in ("--set", f"{k}={json.dumps(v)}")]
