"""Logging in: a password or a token becomes a session that may read, for some hours."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter, Request

from continualml.app.api.asked import body_of
from continualml.app.api.logins import LoginBody
from continualml.app.api.serving import serving_of

router = APIRouter()
_MOST_BYTES: Final = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A bearer token with the scope ``read``, and when it ends (UTC)."""

    token: str
    ends_at: str


@router.post("/login", summary="A password or a token becomes a session that may read")
async def login(request: Request) -> Session:
    """Begin a session; tries are limited by source, by address and for the password."""
    serving = serving_of(request.scope)
    body = await body_of(request, LoginBody, _MOST_BYTES)
    peer = request.client.host if request.client else ""
    await serving.logins.check(serving.tokens, body, peer)
    token, ends = serving.tokens.sessions.begin(datetime.now(UTC).timestamp())
    at = datetime.fromtimestamp(ends, UTC).isoformat(timespec="seconds")
    return Session(token=token, ends_at=at)
