"""Who may ask: bearer tokens and their scopes, known in the process without a read."""

import hashlib
import hmac
import math
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from loguru import logger
from pydantic import SecretStr
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Scope

from continualml.app.api.attempts import Attempts, whom
from continualml.app.api.problems import ProblemError
from continualml.app.api.sessions import NAMELESS, PREFIX, Sessions
from continualml.errors import InputError
from continualml.store import private, tokens
from continualml.store.engine import StoreUnavailableError, read, write

_SHORTEST = 24
# Different wrong tokens that one address may try at once, and how many more in a second.
_BURST, _PER_S, _MOST = 20, 0.2, 4_096


class Tokens:
    """The tokens that are valid now; ``look`` reads them anew, in a thread.

    Whoever tries too many different wrong tokens is told to wait. Meanwhile a token that people
    chose (``API_KEY``) is not looked at from there, so that it cannot be guessed; one that was
    drawn goes on to work, because nobody guesses 256 bits and nobody shall be locked out by
    another client of the same address.

    Parameters
    ----------
    sessions
        Knows the sessions of people, which are not stored.
    """

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        self._engine = engine
        self.sessions = sessions
        self._valid: dict[str, tokens.Token] = {}
        self._begin_sessions = {NAMELESS}
        self._attempts = Attempts(burst=_BURST, per_s=_PER_S, most=_MOST)
        self._counting = threading.Lock()  # routes that read the store run in threads
        self._unread = False

    def look(self) -> None:
        """Read which tokens are valid; while the store cannot be read, the known ones stay."""
        try:
            with read(self._engine) as conn:
                listed = tokens.listed(conn)
        except (SQLAlchemyError, StoreUnavailableError) as error:
            if not self._unread:
                logger.warning("Tokens cannot be read, the known ones stay valid: {}", error)
            self._unread = True
            return
        self._unread = False
        self._valid = {t.hash: t for t in listed if t.revoked_at is None}
        # A session ends with the token that it was begun with.
        self._begin_sessions = {NAMELESS, *(t.id for t in self._valid.values())}

    def require(self, scope: Scope, needed: str) -> None:
        """Let a request pass that has the scope; ``admin`` may do everything.

        Raises
        ------
        ProblemError
            401 without a valid token, 403 if the token lacks the scope, 429 after too many
            different wrong ones.
        """
        token = self._found(scope)
        if token is None:
            raise ProblemError(
                401,
                "no-valid-token",
                "this needs a valid bearer token",
                headers={"WWW-Authenticate": "Bearer"},
                remedy="send `Authorization: Bearer <token>`; the admin token is in the file "
                "admin.token of the data directory",
            )
        if not token.allows(needed):
            raise ProblemError(
                403,
                "wrong-scope",
                f"this needs the scope {needed!r}; the token {token.name!r} has "
                f"{' '.join(sorted(token.scopes))}",
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope" scope="{needed}"'},
            )

    def known(self, secret: str) -> tokens.Token | None:
        """Return the valid token with this secret; a session is none."""
        return self._valid.get(tokens.digest(secret))

    def end(self, scope: Scope) -> bool:
        """End the session that a request was sent with; False if it was sent with a token."""
        sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        said = sent.partition(b" ")[2].strip().decode("ascii", "replace")
        now = datetime.now(UTC).timestamp()
        return said.startswith(PREFIX) and self.sessions.end(said, now)

    def _found(self, scope: Scope) -> tokens.Token | None:
        for name, value in scope["headers"]:
            if name == b"authorization":
                kind, _, secret = value.partition(b" ")
                secret = secret.strip()
                if secret.startswith(PREFIX.encode()) and kind.lower() == b"bearer":
                    said = secret.decode("ascii", "replace")
                    session = self.sessions.token(said, datetime.now(UTC).timestamp())
                    return session if session and session.id in self._begin_sessions else None
                # Found by its hash, which tells nothing about the bytes of a valid one in time.
                digest = hashlib.sha256(secret).hexdigest()
                token = self._valid.get(digest)
                there = token is not None and hmac.compare_digest(token.hash, digest)
                if kind.lower() != b"bearer" or not secret:
                    return None
                if there and tokens.is_drawn(secret):
                    return token
                return self._guessed(scope, token if there else None, digest)
        return None

    def _guessed(
        self, scope: Scope, token: tokens.Token | None, digest: str
    ) -> tokens.Token | None:
        """Let a chosen token pass, and count a wrong one, while its sender may still guess."""
        client, now = scope.get("client"), time.monotonic()
        who = whom(client[0]) if client else ""
        with self._counting:
            wait_s = self._attempts.wait_s(who, now)
            if not wait_s and token is not None:
                return token
            refused = token is not None or self._attempts.failed(who, digest, now)
            last = not wait_s and self._attempts.wait_s(who, now) > 0
        if refused:
            raise ProblemError(
                429,
                "too-many-attempts",
                "too many different wrong tokens came from this address",
                headers={"Retry-After": str(math.ceil(wait_s))},
                remedy="send a token that holds; one of `continual token create` works at once, "
                "a chosen API_KEY after the time of Retry-After",
            )
        if last:
            logger.warning("Too many different wrong tokens came from {}", who)
        return None


def ensure_admin(engine: Engine, path: Path, api_key: SecretStr | None) -> None:
    """Make sure that there is one admin token of ours: the configured one, or one in a file.

    The one before, from the file or from ``API_KEY``, stops to work; so does the file's while a
    key is configured. A file whose token was revoked gets a new one.

    Parameters
    ----------
    path
        The file for a new token, readable by its owner only.
    api_key
        Becomes the admin token, instead of the file's.

    Raises
    ------
    InputError
        If the token is too short, or others may read the file.
    """
    if api_key is not None:
        secret = _long_enough(api_key.get_secret_value(), "API_KEY")
        with write(engine) as conn:
            _only(conn, "API_KEY", secret)
        return
    check_file(path)
    with write(engine) as conn:  # the write lock: of several processes one makes the file
        there = private.read_own(path)
        ended = {t.hash for t in tokens.listed(conn) if t.revoked_at is not None}
        if there is None or tokens.digest(there) in ended:
            there = tokens.new_secret()
            private.write_own(path, there)
            logger.info("A new admin token is in {}", path)
        _only(conn, "admin", _long_enough(there, str(path)))


def check_file(path: Path) -> None:
    """Refuse a file with an admin token that is not safe; none at all is well.

    Raises
    ------
    InputError
        If it is empty or too short, or others than its owner may read it.
    """
    if (there := private.read_own(path)) is not None:
        _long_enough(there, str(path))


def _only(conn: Connection, name: str, secret: str) -> None:
    """Make this the only admin token that we made: those that it replaces stop to work."""
    wanted = tokens.digest(secret)
    listed = tokens.listed(conn)
    for old in listed:
        if old.name in tokens.OURS and old.hash != wanted and old.revoked_at is None:
            tokens.revoke(conn, old.id)
            logger.info("The admin token {} ({}) is replaced, and revoked", old.id, old.name)
    known = next((t for t in listed if t.hash == wanted), None)
    if known is None:
        tokens.create(conn, name, ("admin",), secret)
    elif known.revoked_at is not None:
        raise InputError(
            name,
            expected="a token that was not revoked",
            got=f"the token {known.id}, revoked {known.revoked_at}",
            remedy="set another one",
        )


def _long_enough(secret: str, where: str) -> str:
    if len(secret) < _SHORTEST:
        raise InputError(
            where,
            expected=f"a random token of at least {_SHORTEST} characters",
            got=f"{len(secret)} characters",
            remedy="remove it, and a new one is made at the next start",
        )
    return secret
