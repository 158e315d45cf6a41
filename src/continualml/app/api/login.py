"""Logging in and out: what somebody shows becomes a session that may read, for some hours."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool

from continualml.app.api.asked import body_of
from continualml.app.api.logins import LoginBody
from continualml.app.api.problems import ProblemError
from continualml.app.api.provider import VouchedBody
from continualml.app.api.serving import Serving, needs, serving_of
from continualml.app.api.sessions import NAMELESS

router = APIRouter()
_MOST_BYTES: Final = 4_000
_MOST_BYTES_VOUCHED: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A bearer token with the scope ``read``, and when it ends (UTC)."""

    token: str
    ends_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Whether there was a session to end."""

    ended: bool


@router.post("/login", summary="A password or a token becomes a session that may read")
async def login(request: Request) -> Session:
    """Begin a session; tries are limited by source, by address and for the password."""
    serving = serving_of(request.scope)
    body = await body_of(request, LoginBody, _MOST_BYTES)
    peer = request.client.host if request.client else ""
    return _begun(serving, of=await serving.logins.check(serving.tokens, body, peer))


@router.post("/login/oidc", summary="What an OpenID provider vouches for becomes such a session")
async def vouched(request: Request) -> Session:
    """Begin a session for somebody of the allow list, after the provider's own identity token."""
    serving = serving_of(request.scope)
    body = await body_of(request, VouchedBody, _MOST_BYTES_VOUCHED)
    if serving.provider is None:
        raise ProblemError(
            404,
            "no-provider",
            "no OpenID provider is set for the API",
            remedy="set CONTINUAL_OIDC_URL, CONTINUAL_OIDC_CLIENT_ID and CONTINUAL_OIDC_ALLOW",
        )
    await serving.provider.check(body.id_token)
    return _begun(serving, of=NAMELESS)


@router.post("/logout", summary="End the session", dependencies=[Depends(needs("read"))])
async def logout(request: Request) -> Ending:
    """End the session that this was asked with, for every process; a token stays as it is."""
    serving = serving_of(request.scope)
    try:
        return Ending(ended=await run_in_threadpool(serving.tokens.end, request.scope))
    except OSError as error:
        raise ProblemError(
            503, "not-ended", f"the end cannot be written down: {error.strerror}"
        ) from error


def _begun(serving: Serving, *, of: str) -> Session:
    token, ends = serving.tokens.sessions.begin(datetime.now(UTC).timestamp(), of=of)
    at = datetime.fromtimestamp(ends, UTC).isoformat(timespec="seconds")
    return Session(token=token, ends_at=at)
