"""Sessions of people: a short-lived bearer token that may read, signed and not stored."""

import hashlib
import hmac
import os
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from continualml.app.api.ended import Ended
from continualml.errors import InputError
from continualml.store import private
from continualml.store.tokens import Token

PREFIX: Final = "cs_"
NAMELESS: Final = "session"  # what a session names that was begun with no token
LASTS_S: Final = 8 * 3_600
_BYTES: Final = 32
# OWASP's password storage cheat sheet, 2025: 32 MB and three passes.
_N, _R, _P, _MEMORY = 2**15, 8, 3, 64 << 20


class Sessions:
    """Makes sessions and knows its own again, in every process that has the same key.

    A password or an allow list that changes ends all sessions: their signatures hang on both.

    Parameters
    ----------
    key
        32 random bytes, kept in the data directory.
    password
        What people log in with; only its slow hash is kept. None: there is no password.
    allowed
        Whom an OpenID provider may vouch for.
    ended
        Remembers those that people ended; None: nobody does.
    """

    def __init__(
        self,
        key: bytes,
        password: SecretStr | None,
        allowed: Collection[str] = (),
        ended: Ended | None = None,
    ) -> None:
        self._ended = ended
        self._salt = hmac.digest(key, b"salt", "sha256")
        known = None if password is None else self._hash(password.get_secret_value())
        self._known = known
        self._key = hmac.digest(key, known or b"no password", "sha256")
        if allowed:
            self._key = hmac.digest(self._key, "\n".join(sorted(allowed)).encode(), "sha256")

    def is_password(self, secret: str) -> bool:
        """Compare with the password; takes as long where there is none."""
        return hmac.compare_digest(self._hash(secret), self._known or b"") and bool(self._known)

    def begin(
        self, now: float, *, of: str = NAMELESS, lasts_s: float = LASTS_S
    ) -> tuple[str, float]:
        """Make a session; return its token and when it ends, in seconds since 1970.

        Parameters
        ----------
        of
            The id of the token that it was begun with, without which it ends too.
        """
        ends = int(now + lasts_s)
        said = f"{ends:x}.{of}.{secrets.token_urlsafe(12)}"
        return f"{PREFIX}{said}.{self._signed(said)}", float(ends)

    def token(self, secret: str, now: float) -> Token | None:
        """Read a session that was made here and has not ended; its id is what it was begun with."""
        if (said := self._lasting(secret, now)) is None:
            return None
        return Token(
            id=said.split(".")[1],
            name="session",
            hash="",
            scopes=frozenset({"read"}),
            created_at="",
            revoked_at=None,
        )

    def end(self, secret: str, now: float) -> bool:
        """End a session before its time; False where there is none, or nobody remembers it.

        Raises
        ------
        OSError
            If that cannot be written down; the session goes on then.
        """
        said = self._lasting(secret, now)
        if said is None or self._ended is None:
            return False
        self._ended.add(said, _until(said), now)
        return True

    def look(self) -> None:
        """Learn which sessions other processes ended."""
        if self._ended is not None:
            self._ended.look()

    def _lasting(self, secret: str, now: float) -> str | None:
        said, _, signature = secret.removeprefix(PREFIX).rpartition(".")
        if not hmac.compare_digest(self._signed(said).encode(), signature.encode()):
            return None
        ends = _until(said)
        over = now >= ends or (self._ended is not None and self._ended.has(said, ends))
        return None if over else said

    def _signed(self, said: str) -> str:
        return hmac.digest(self._key, said.encode(), "sha256").hex()

    def _hash(self, password: str) -> bytes:
        return hashlib.scrypt(password.encode(), salt=self._salt, n=_N, r=_R, p=_P, maxmem=_MEMORY)


def _until(said: str) -> int:
    return int(said.partition(".")[0], 16)


def key_in(path: Path) -> bytes:
    """Read the key of the sessions, or make one that its owner alone may read.

    Raises
    ------
    InputError
        If the file does not hold a key.
    """
    if not path.exists():
        private.make_folder(path.parent)
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "wb") as out:
            out.write(secrets.token_hex(_BYTES).encode())
            os.fsync(out.fileno())
        try:
            os.link(fresh, path)  # of several processes one makes it
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    try:
        key = bytes.fromhex(path.read_text("ascii"))
    except ValueError:
        key = b""
    if len(key) != _BYTES:
        raise InputError(
            str(path),
            expected=f"{_BYTES} bytes in hexadecimal",
            got=len(key),
            remedy="remove it: a new one is made at the next start, and people log in again",
        )
    return key
