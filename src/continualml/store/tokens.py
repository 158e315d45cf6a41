"""Bearer tokens: random, stored as hashes, with scopes."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, Row, insert, select, update

from continualml.errors import InputError
from continualml.store.tables import tokens

SCOPES = ("predict", "label", "read", "admin")
# Names of the tokens that a start makes, and ends when they are replaced.
OURS = ("admin", "API_KEY")
_PREFIX, _RANDOM_BYTES = "ct_", 32
_DRAWN_PREFIX = _PREFIX.encode()
_DRAWN_LENGTH = len(_PREFIX) + len(secrets.token_urlsafe(_RANDOM_BYTES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token as it is known here: never its secret."""

    id: str
    name: str
    hash: str
    scopes: frozenset[str]
    created_at: str
    revoked_at: str | None

    def allows(self, scope: str) -> bool:
        """Say whether it may do this; ``admin`` may do everything."""
        return scope in self.scopes or "admin" in self.scopes


def create(
    conn: Connection, name: str, scopes: tuple[str, ...], secret: str | None = None
) -> tuple[Token, str]:
    """Make a token and return it with its secret, which is shown this once.

    Raises
    ------
    InputError
        If a scope is unknown or none is given, or the name is one of ours.
    """
    if secret is None and name in OURS:
        remedy = "this one ends when the server's own admin token is replaced"
        raise InputError("name", expected=f"none of {list(OURS)}", got=name, remedy=remedy)
    if not scopes or set(scopes) - set(SCOPES):
        raise InputError("scopes", expected=f"one or more of {list(SCOPES)}", got=list(scopes))
    secret = secret or new_secret()
    values = {
        "id": secrets.token_hex(4),
        "name": name,
        "hash": digest(secret),
        "scopes": " ".join(sorted(set(scopes))),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    conn.execute(insert(tokens).values(**values))
    row = conn.execute(select(tokens).where(tokens.c.id == values["id"])).one()
    return _token(row), secret


def new_secret() -> str:
    """Draw the secret of a new token."""
    return f"{_PREFIX}{secrets.token_urlsafe(_RANDOM_BYTES)}"


def is_drawn(secret: bytes) -> bool:
    """Say whether a secret has the form of those that we draw; people choose others."""
    return len(secret) == _DRAWN_LENGTH and secret.startswith(_DRAWN_PREFIX)


def check(conn: Connection, secret: str) -> Token | None:
    """Find the token of a secret, if it is there and was not revoked."""
    wanted = digest(secret)
    row = conn.execute(select(tokens).where(tokens.c.hash == wanted)).one_or_none()
    if row is None or row.revoked_at or not hmac.compare_digest(row.hash, wanted):
        return None
    return _token(row)


def listed(conn: Connection) -> list[Token]:
    """Read all tokens, the oldest first."""
    return [_token(r) for r in conn.execute(select(tokens).order_by(tokens.c.created_at))]


def revoke(conn: Connection, token_id: str) -> bool:
    """Revoke a token; False when there is none to revoke."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    done = conn.execute(
        update(tokens)
        .where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    return done.rowcount == 1


def digest(secret: str) -> str:
    """Hash a secret; it has 256 random bits, so a plain hash gives nothing away."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _token(row: Row[tuple[object, ...]]) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        hash=row.hash,
        scopes=frozenset(row.scopes.split()),
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
