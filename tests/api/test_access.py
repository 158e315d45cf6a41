import stat
import time
from collections.abc import Callable

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from continualml.app.api.tokens import ensure_admin
from continualml.errors import InputError
from continualml.settings import Project
from continualml.store import tokens
from continualml.store.engine import open_store, read, write

FIRST, SECOND = "first-0123456789-0123456789", "second-0123456789-0123456789"


def test_the_open_routes_need_no_token(api: httpx.Client) -> None:
    for path in ("/livez", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready"):
        assert httpx.get(f"{api.base_url}{path}").status_code == 200


def test_a_revoked_token_opens_nothing_within_a_second(
    api: httpx.Client, project: Project, token: Callable[..., str]
) -> None:
    secret = token("read")
    _until_known(api, secret)
    engine = open_store(project.settings.database_url)
    with read(engine) as conn:
        found = tokens.check(conn, secret)
    assert found is not None
    with write(engine) as conn:
        tokens.revoke(conn, found.id)
    engine.dispose()

    time.sleep(1)

    headers = {"Authorization": f"Bearer {secret}"}
    assert api.get("/models", headers=headers).status_code == 401


def test_the_first_start_writes_an_admin_token_that_only_its_owner_reads(
    api: httpx.Client, project: Project
) -> None:
    file = project.settings.admin_token

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert api.get("/models").status_code == 200
    with (project.settings.data / "log.sqlite").open("rb") as log:
        assert file.read_bytes().strip() not in log.read()  # its hash is there, not itself


def test_a_second_start_keeps_the_admin_token(project: Project) -> None:
    engine = open_store(project.settings.database_url)
    file = project.settings.admin_token
    ensure_admin(engine, file, None)
    before = file.read_bytes()

    ensure_admin(engine, file, None)

    assert file.read_bytes() == before
    with read(engine) as conn:
        assert len(tokens.listed(conn)) == 1
    engine.dispose()


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("", 0o600, "at least 24 characters"),
        ("\n", 0o600, "at least 24 characters"),
        ("changeme\n", 0o600, "at least 24 characters"),
        ("a-long-and-random-token-0123456789\n", 0o644, "mode 0600"),
        ("a-long-and-random-token-0123456789\n", 0o660, "mode 0600"),
    ],
)
def test_it_refuses_to_start_with_an_unsafe_token_file(
    project: Project, text: str, mode: int, said: str
) -> None:
    engine = open_store(project.settings.database_url)
    file = project.settings.admin_token
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)

    with pytest.raises(InputError, match=said):
        ensure_admin(engine, file, None)

    with read(engine) as conn:
        assert tokens.listed(conn) == []
    engine.dispose()


def test_a_configured_key_is_the_admin_token_and_its_predecessor_stops(project: Project) -> None:
    engine = open_store(project.settings.database_url)
    file = project.settings.admin_token
    ensure_admin(engine, file, SecretStr(FIRST))

    ensure_admin(engine, file, SecretStr(SECOND))

    assert not file.exists()
    with read(engine) as conn:
        assert tokens.check(conn, FIRST) is None
        found = tokens.check(conn, SECOND)
    assert found is not None
    assert found.allows("predict")
    with pytest.raises(InputError, match="at least 24 characters"):
        ensure_admin(engine, file, SecretStr("short"))
    engine.dispose()


def holds(engine: Engine, secret: str) -> bool:
    with read(engine) as conn:
        return tokens.check(conn, secret) is not None


def test_a_token_whose_file_was_removed_stops_when_a_new_one_is_made(project: Project) -> None:
    engine = open_store(project.settings.database_url)
    file = project.settings.admin_token
    ensure_admin(engine, file, None)
    old = file.read_text("utf-8").strip()
    with write(engine) as conn:
        app = tokens.create(conn, "app", ("predict",))[1]
    file.unlink()

    ensure_admin(engine, file, None)

    assert holds(engine, file.read_text("utf-8").strip())
    assert not holds(engine, old)
    assert holds(engine, app)  # what others made is theirs
    engine.dispose()


def test_a_configured_key_ends_the_files_token_and_ends_itself_when_it_is_removed(
    project: Project,
) -> None:
    engine = open_store(project.settings.database_url)
    file = project.settings.admin_token
    ensure_admin(engine, file, None)
    old = file.read_text("utf-8").strip()

    ensure_admin(engine, file, SecretStr(FIRST))
    assert (holds(engine, old), holds(engine, FIRST)) == (False, True)

    ensure_admin(engine, file, None)
    new = file.read_text("utf-8").strip()
    assert (holds(engine, new), holds(engine, FIRST), new == old) == (True, False, False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(InputError, match="API_KEY: expected a token that was not revoked"):
        ensure_admin(engine, file, SecretStr(FIRST))
    assert holds(engine, new)  # what was refused has changed nothing
    engine.dispose()


def test_the_key_may_be_what_the_file_holds(project: Project) -> None:
    engine = open_store(project.settings.database_url)
    file = project.settings.admin_token
    ensure_admin(engine, file, None)
    same = file.read_text("utf-8").strip()

    ensure_admin(engine, file, SecretStr(same))
    ensure_admin(engine, file, None)

    assert holds(engine, same)
    assert file.read_text("utf-8").strip() == same
    engine.dispose()


def test_a_token_made_by_hand_cannot_take_a_name_that_is_ours(project: Project) -> None:
    engine = open_store(project.settings.database_url)
    for name in tokens.OURS:
        with pytest.raises(InputError, match="name: expected none of"), write(engine) as conn:
            tokens.create(conn, name, ("read",))
    engine.dispose()


def _until_known(api: httpx.Client, secret: str) -> None:
    until = time.monotonic() + 5
    headers = {"Authorization": f"Bearer {secret}"}
    while api.get("/models", headers=headers).status_code == 401:
        assert time.monotonic() < until
        time.sleep(0.05)
