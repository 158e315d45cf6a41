import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest
from pydantic import SecretStr

from continualml.app.api import logins
from continualml.app.api.sessions import Sessions, key_in
from continualml.errors import InputError
from continualml.settings import ConfigError, Project, check_password

PASSWORD = "violet tram 47 orchard"  # noqa: S105  of this test alone


@pytest.fixture
def project(project: Project) -> Project:
    said = project.settings.model_copy(update={"dashboard_password": SecretStr(PASSWORD)})
    return replace(project, settings=said)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no guess come back meanwhile, however slow this machine is."""
    monkeypatch.setattr(logins, "time", SimpleNamespace(monotonic=lambda: 1_000.0))


def login(api: httpx.Client, secret: str, source: str | None = None) -> httpx.Response:
    body = {"secret": secret, **({"source": source} if source else {})}
    return httpx.post(f"{api.base_url}/login", json=body, timeout=30)


def test_the_password_opens_a_session_that_may_read_and_nothing_else(api: httpx.Client) -> None:
    session = login(api, PASSWORD).json()

    bearer = {"Authorization": f"Bearer {session['token']}"}
    assert api.get("/models", headers=bearer).status_code == 200
    row = {"features": {"age": 1.0, "debt": None}}
    for path, body in (("/predict", row), ("/labels", {"labels": []}), ("/generate", {"n": 1})):
        assert api.post(path, json=body, headers=bearer).status_code == 403, path


def test_a_token_with_the_scope_read_opens_a_session_another_does_not(
    api: httpx.Client, token: Callable[..., str]
) -> None:
    reads, labels = token("read"), token("label")
    time.sleep(1.0)  # the server looks for new tokens every 0.4 s

    assert login(api, reads).status_code == 200
    refused = login(api, labels)
    assert refused.status_code == 401
    assert "admin.token" in refused.json()["remedy"]
    assert labels not in refused.text


@pytest.mark.usefixtures("stopped")
def test_who_guesses_is_locked_out_and_others_are_not(api: httpx.Client) -> None:
    for i in (*[0] * 6, 1, 2, 3, 4):  # the same one again is no new guess
        assert login(api, f"guess {i} of mine", "10.0.0.7").status_code == 401

    locked = login(api, PASSWORD, "10.0.0.7")
    assert locked.status_code == 429
    assert 1 <= int(locked.headers["Retry-After"]) <= 60
    assert login(api, PASSWORD, "10.0.0.8").status_code == 200


@pytest.mark.usefixtures("stopped")
def test_a_drawn_token_opens_whatever_others_of_its_address_tried(
    api: httpx.Client, token: Callable[..., str]
) -> None:
    reads = token("read")
    for i in range(30):  # from one address, as it is behind a proxy
        assert login(api, f"guess {i} of theirs", f"10.0.1.{i // 5}").status_code == 401

    assert login(api, PASSWORD, "10.0.0.9").status_code == 429
    assert login(api, reads, "10.0.0.9").status_code == 200
    assert login(api, reads, "10.0.1.0").status_code == 200


def test_without_a_password_no_password_opens() -> None:
    sessions = Sessions(b"k" * 32, None)

    assert not sessions.is_password("")
    assert not sessions.is_password(PASSWORD)


def test_a_session_ends_and_cannot_be_changed_or_carried_over_to_another_password() -> None:
    sessions = Sessions(b"k" * 32, SecretStr(PASSWORD))
    token, ends = sessions.begin(1_000.0, lasts_s=60)

    assert sessions.token(token, 1_059.0) is not None
    assert sessions.token(token, 1_060.0) is None
    longer = token.replace(f"{int(ends):x}", f"{int(ends) + 999:x}")
    assert longer != token
    assert sessions.token(longer, 1_000.0) is None
    assert sessions.token("cs_", 1_000.0) is None
    assert sessions.token("cs_zz.é.00", 1_000.0) is None
    other = Sessions(b"k" * 32, SecretStr(f"{PASSWORD}!"))
    assert other.token(token, 1_000.0) is None
    assert Sessions(b"k" * 32, SecretStr(PASSWORD)).token(token, 1_000.0) is not None


def test_the_key_is_made_once_and_only_its_owner_may_read_it(project: Project) -> None:
    path = project.settings.session_key

    key = key_in(path)

    assert (len(key), path.stat().st_mode & 0o777) == (32, 0o600)
    assert key_in(path) == key
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    path.write_text("no key", encoding="ascii")
    with pytest.raises(InputError, match="log in again"):
        key_in(path)


@pytest.mark.parametrize(
    "password", ["short", "aaaaaaaaaaaaaaaa", "password1234", "changeme-admin"]
)
def test_a_password_that_is_easily_guessed_is_refused(password: str) -> None:
    with pytest.raises(ConfigError, match="DASHBOARD_PASSWORD"):
        check_password(password)
    check_password(PASSWORD)
