"""Who may ask: bearer tokens, known by their hashes, looked up without the database."""

import hmac
import os
from pathlib import Path

from loguru import logger
from pydantic import SecretStr
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Scope

from continualml.app.api.problems import ProblemError
from continualml.errors import InputError
from continualml.store import tokens
from continualml.store.engine import StoreUnavailableError, read, write

_SHORTEST = 24
_OTHERS = 0o077


class Tokens:
    """All tokens that hold now; ``look`` reads them again, so a revoked one soon opens nothing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, tokens.Token] = {}

    def ensure_admin(self, file: Path, key: SecretStr | None) -> None:
        """Make sure that an admin token exists: the given key, or a random one written to a file.

        Raises
        ------
        InputError
            If the file is empty, short or readable by others.
        """
        if key is not None:
            self._admit(key.get_secret_value(), "API_KEY")
            return
        if not file.exists():
            self._create(file)
        if file.stat().st_mode & _OTHERS:
            mode = oct(file.stat().st_mode & 0o777)
            raise InputError(str(file), expected="mode 0600", got=mode, remedy=f"chmod 600 {file}")
        secret = file.read_text(encoding="utf-8").strip()
        if len(secret) < _SHORTEST:
            raise InputError(
                str(file),
                expected=f"a token of at least {_SHORTEST} characters",
                got=f"{len(secret)} characters",
                remedy="remove the file, a new one is made at the next start",
            )
        self._admit(secret, "admin.token")

    def look(self) -> None:
        """Read the tokens again; while the store cannot be read the last ones hold."""
        try:
            with read(self._engine) as conn:
                listed = tokens.listed(conn)
        except (SQLAlchemyError, StoreUnavailableError) as error:
            logger.warning("The tokens cannot be read, the last ones hold: {}", error)
            return
        self._known = {t.hash: t for t in listed if t.revoked_at is None}

    def require(self, scope: Scope, wanted: str) -> tokens.Token:
        """Return the token of a request that may do what it wants.

        Raises
        ------
        ProblemError
            401 without a token that holds, 403 with one that may not do this.
        """
        token = self._token(scope)
        if token is None:
            raise ProblemError(
                401,
                "unauthorized",
                "this needs a token that holds: Authorization: Bearer …",
                headers={"WWW-Authenticate": "Bearer"},
                remedy="continual token create makes one",
            )
        if not token.allows(wanted):
            raise ProblemError(
                403,
                "forbidden",
                f"the token {token.name!r} has not the scope {wanted!r}",
                remedy=f"continual token create --scope {wanted}",
            )
        return token

    def _token(self, scope: Scope) -> tokens.Token | None:
        for name, value in scope["headers"]:
            if name == b"authorization" and value[:7].lower() == b"bearer ":
                digest = tokens.digest(value[7:].strip().decode("latin-1"))
                token = self._known.get(digest)
                return token if token and hmac.compare_digest(token.hash, digest) else None
        return None

    def _create(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with write(self._engine) as conn:
            _, secret = tokens.create(conn, "admin", ("admin",))
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "w", encoding="utf-8") as opened:
            opened.write(secret + "\n")
        logger.info("The admin token is in {}", file)

    def _admit(self, secret: str, name: str) -> None:
        with write(self._engine) as conn:
            if tokens.check(conn, secret) is None:
                tokens.create(conn, name, ("admin",), secret)
