"""Identity tokens that do not hold, at an API whose provider publishes its keys over HTTP."""

import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from continualml.app.api.sessions import Sessions
from continualml.settings import Project

CLIENT = "the-dashboard"
KEY = RSAKey.generate_key(2048, {"kid": "one"})
LATER = RSAKey.generate_key(2048, {"kid": "two"})
STRANGE = RSAKey.generate_key(2048, {"kid": "one"})


class Publisher(ThreadingHTTPServer):
    """What the API reads of a provider: its description and its keys."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Published)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.issuer = self.url
        self.keys = [KEY]
        self.asked: list[str] = []
        self.broken = False


class Published(BaseHTTPRequestHandler):
    server: Publisher

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        keys: list[Any] = [k.as_dict(private=False) for k in self.server.keys]
        told = (
            {"keys": [*keys, {"kty": "PQ", "kid": "new"}]}
            if self.path == "/keys"
            else {"issuer": self.server.issuer, "jwks_uri": f"{self.server.url}/keys"}
        )
        self.send_response(502 if self.server.broken else 200)
        self.end_headers()
        self.wfile.write(json.dumps(told).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def provider() -> Iterator[Publisher]:
    server = Publisher()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def project(project: Project, provider: Publisher) -> Project:
    said = {
        "oidc_url": provider.url,
        "oidc_client_id": CLIENT,
        "oidc_allow": "ada@example.org,@firm.example",
    }
    return replace(project, settings=project.settings.model_copy(update=said))


def claims(provider: Publisher, **other: Any) -> dict[str, Any]:
    now = int(time.time())  # noqa: TID251  the instant itself is what a token says
    said = {
        "iss": provider.url,
        "aud": CLIENT,
        "sub": "1",
        "iat": now,
        "exp": now + 600,
        "email": "Ada@example.org",
        "email_verified": True,
        **other,
    }
    return {name: value for name, value in said.items() if value is not None}


def signed(said: dict[str, Any], key: RSAKey = KEY) -> str:
    return jwt.encode({"alg": "RS256", "kid": str(key.kid)}, said, key)


def signed_with_the_public_key(said: dict[str, Any]) -> str:
    """Sign as if what the provider publishes were a secret that it shares with us."""
    parts = ({"alg": "HS256", "kid": "one"}, said)
    text = b".".join(part(json.dumps(one).encode()) for one in parts)
    tag = hmac.digest(KEY.as_pem(private=False), text, "sha256")
    return (text + b"." + part(tag)).decode()


def part(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def shown(api: httpx.Client, id_token: str) -> httpx.Response:
    return httpx.post(f"{api.base_url}/login/oidc", json={"id_token": id_token}, timeout=30)


def test_a_token_of_the_provider_opens_a_session_that_may_read_and_nothing_else(
    api: httpx.Client, provider: Publisher
) -> None:
    for email in ("Ada@example.org", "anybody@FIRM.example"):
        session = shown(api, signed(claims(provider, email=email))).json()
        bearer = {"Authorization": f"Bearer {session['token']}"}
        assert api.get("/models", headers=bearer).status_code == 200
        assert api.post("/generate", json={"n": 1}, headers=bearer).status_code == 403
    assert provider.asked == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize(
    "other",
    [
        {"iss": "https://elsewhere.example"},
        {"iss": None},
        {"aud": "another-client"},
        {"aud": None},
        {"aud": [CLIENT, "another-client"]},
        {"azp": "another-client"},
        {"exp": 1_700_000_000},
        {"exp": None},
        {"iat": 4_000_000_000},
    ],
    ids=str,
)
def test_a_token_that_is_not_for_us_or_over_is_refused(
    api: httpx.Client, provider: Publisher, other: dict[str, Any]
) -> None:
    refused = shown(api, signed(claims(provider, **other)))

    assert refused.status_code == 401, refused.text


@pytest.mark.parametrize(
    "other",
    [
        {"email": "eve@example.org"},
        {"email": "ada@example.org.firm"},
        {"email": "eve@evil-firm.example"},
        {"email": "eve@sub.firm.example"},
        {"email": '"x@firm.example"@evil.example'},
        {"email": "@"},
        {"email": None},
        {"email": ["ada@example.org"]},
        {"email_verified": False},
        {"email_verified": None},
        {"email_verified": "true"},
    ],
    ids=str,
)
def test_who_is_not_allowed_or_not_verified_is_refused(
    api: httpx.Client, provider: Publisher, other: dict[str, Any]
) -> None:
    refused = shown(api, signed(claims(provider, **other)))

    assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (403, "not-allowed")


def test_a_signature_of_anybody_else_is_refused(api: httpx.Client, provider: Publisher) -> None:
    good = claims(provider)
    head, body, signature = signed(good).split(".")
    other = signed(claims(provider, email="eve@firm.example")).split(".")[1]
    forged = (
        signed(good, STRANGE),
        signed_with_the_public_key(good),
        f"eyJhbGciOiJub25lIn0.{body}.",
        f"{head}.{body}.{signature}x",
        f"{head}.{other}.{signature}",
        "no token",
        "é.é.é",
        "e30.e30.",
        "bnVsbA.bnVsbA.bnVsbA",
    )

    assert [shown(api, token).status_code for token in forged] == [401] * len(forged)


def test_a_new_key_is_read_but_invented_ones_do_not_make_anybody_busy(
    api: httpx.Client, provider: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(api, signed(claims(provider))).status_code == 200
    provider.keys = [LATER]
    for _ in range(5):
        assert shown(api, signed(claims(provider), LATER)).status_code == 401
    assert provider.asked.count("/keys") == 1

    monkeypatch.setattr("continualml.app.api.provider._PAUSE_S", 0.0)
    assert shown(api, signed(claims(provider), LATER)).status_code == 200
    assert shown(api, signed(claims(provider))).status_code == 401


@pytest.mark.parametrize("how", ["broken", "another issuer"])
def test_without_a_provider_that_can_be_believed_nobody_gets_in_and_others_go_on(
    api: httpx.Client, provider: Publisher, how: str
) -> None:
    provider.broken = how == "broken"
    provider.issuer = provider.url if provider.broken else "https://elsewhere.example"

    refused = shown(api, signed(claims(provider)))

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
    assert api.get("/models").status_code == 200


def test_a_changed_allow_list_ends_all_sessions() -> None:
    token, _ = Sessions(b"k" * 32, None, {"ada@example.org", "@firm.example"}).begin(0.0)

    assert Sessions(b"k" * 32, None, {"@firm.example", "ada@example.org"}).token(token, 1.0)
    for others in ({"@firm.example"}, set[str]()):
        assert Sessions(b"k" * 32, None, others).token(token, 1.0) is None
