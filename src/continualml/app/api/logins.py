"""Who may log in: tries are limited by source, by address and for the password."""

import asyncio
import math
import time
from typing import Annotated, Final

import msgspec
from loguru import logger
from starlette.concurrency import run_in_threadpool

from continualml.app.api.attempts import Attempts, whom
from continualml.app.api.problems import ProblemError
from continualml.app.api.sessions import NAMELESS
from continualml.app.api.tokens import Tokens
from continualml.store.tokens import Token, digest, is_drawn

_MOST_WAITING: Final = 8
_MOST: Final = 10_000  # of those who guess are remembered
_SHARED: Final = "everybody"


class LoginBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The password, or an API token with the scope ``read``; and for whom it is asked, if known.

    ``source`` is an address that a page saw; it can only make the limits stricter.
    """

    secret: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    source: Annotated[str, msgspec.Meta(max_length=100)] | None = None


class Logins:
    """Who may try, and one slow hash at a time: the machine has other things to do as well."""

    def __init__(self) -> None:
        # Pages of many people come from one address, and everybody shares the password.
        self._by_source = Attempts(burst=5, per_s=1 / 60, most=_MOST)
        self._by_peer = Attempts(burst=30, per_s=1 / 30, most=_MOST)
        self._by_account = Attempts(burst=50, per_s=1 / 900, most=1)
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    async def check(self, tokens: Tokens, body: LoginBody, peer: str) -> str:
        """Let a secret pass that is right; return what a session of it names.

        Raises
        ------
        ProblemError
            401 if it is wrong, 429 if it may not be tried now.
        """
        known = tokens.known(body.secret)
        known = known if known is not None and known.allows("read") else None
        if known is not None and is_drawn(body.secret.encode()):
            # Nobody guesses it: the tries of others who come from here do not lock it out.
            return known.id
        if self._waiting >= _MOST_WAITING:
            raise _later(2.0)
        self._waiting += 1
        try:
            async with self._turn:  # one after the other: no failure is counted too late
                return await self._one(tokens, body, peer, known)
        finally:
            self._waiting -= 1

    async def _one(self, tokens: Tokens, body: LoginBody, peer: str, known: Token | None) -> str:
        peer = whom(peer)
        source, now = f"{peer} {body.source or ''}", time.monotonic()
        counted = ((self._by_source, source), (self._by_peer, peer), (self._by_account, _SHARED))
        if wait_s := max(attempts.wait_s(who, now) for attempts, who in counted):
            raise _later(wait_s)
        # Always, so that the time taken does not say whether a chosen token was right.
        right = await run_in_threadpool(tokens.sessions.is_password, body.secret)
        if right or known is not None:
            self._by_source.succeeded(source)
            return NAMELESS if known is None else known.id
        for attempts, who in counted:
            attempts.failed(who, digest(body.secret), now)
        logger.bind(event="login-refused").warning("A login from {} was refused", peer)
        raise ProblemError(
            401,
            "wrong-secret",
            "this is neither the password nor a token with the scope 'read'",
            remedy="the admin token is in the file admin.token of the data directory; `continual "
            "token create NAME --scope read` makes one; a password works once DASHBOARD_PASSWORD "
            "is set for the API",
        )


def _later(wait_s: float) -> ProblemError:
    seconds = math.ceil(wait_s)
    return ProblemError(
        429,
        "too-many-tries",
        f"too many wrong tries; the next one is looked at in {seconds} s",
        headers={"Retry-After": str(seconds)},
        remedy="wait, then try again",
    )
