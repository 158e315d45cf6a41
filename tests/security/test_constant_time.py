"""No comparison tells by its time how much of a secret was right."""

import hashlib
import hmac
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from continualml.app.api.sessions import Sessions
from continualml.app.api.tokens import Tokens
from continualml.store import tokens
from continualml.store.engine import write

PASSWORD = "violet tram 47 orchard"  # noqa: S105  of this test alone
Pairs = list[set[str | bytes]]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Pairs:
    """What was compared in constant time, pair by pair."""
    pairs: Pairs = []
    real: Any = hmac.compare_digest

    def compare(a: str | bytes, b: str | bytes) -> bool:
        pairs.append({a, b})
        return bool(real(a, b))

    monkeypatch.setattr(hmac, "compare_digest", compare)
    return pairs


def test_a_token_is_found_by_its_hash_and_compared_as_one(engine: Engine, compared: Pairs) -> None:
    with write(engine) as conn:
        _, secret = tokens.create(conn, "app", ("predict",))
    known = Tokens(engine, Sessions(b"k" * 32, None))
    known.look()
    header = (b"authorization", f"Bearer {secret}".encode())
    known.require({"type": "http", "client": ("192.0.2.1", 1), "headers": [header]}, "predict")

    assert {hashlib.sha256(secret.encode()).hexdigest()} in compared
    assert not any(secret in pair or secret.encode() in pair for pair in compared)


def test_signatures_of_sessions_and_passwords_are_compared_whole(compared: Pairs) -> None:
    sessions = Sessions(b"k" * 32, SecretStr(PASSWORD))
    token, _ = sessions.begin(1_000.0)
    forged = token[:-4] + "0000"
    signature = token.rpartition(".")[2]

    assert sessions.token(token, 1_001.0) is not None
    assert sessions.token(forged, 1_001.0) is None
    assert {signature} in [{_text(s) for s in pair} for pair in compared]
    assert {signature, forged.rpartition(".")[2]} in [{_text(s) for s in pair} for pair in compared]

    before = len(compared)
    assert not sessions.is_password(f"{PASSWORD}?")
    assert sessions.is_password(PASSWORD)
    assert len(compared) == before + 2


def test_a_password_takes_its_slow_hash_also_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashed: list[bytes] = []
    real = hashlib.scrypt

    def scrypt(password: bytes, **how: int) -> bytes:
        hashed.append(password)
        return real(password, **how)  # type: ignore[arg-type]

    nobody = Sessions(b"k" * 32, None)
    monkeypatch.setattr(hashlib, "scrypt", scrypt)

    assert not nobody.is_password("anything")
    assert hashed == [b"anything"]


def _text(said: str | bytes) -> str:
    return said if isinstance(said, str) else said.decode()
