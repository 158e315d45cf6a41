from pathlib import Path

import httpx
import pytest

from continualml.app.api.ended import Ended
from continualml.app.api.sessions import Sessions
from continualml.errors import InputError
from continualml.settings import Project
from continualml.store import tokens
from continualml.store.engine import open_store, write
from tests.api.test_champion import until

KEY = b"k" * 32


@pytest.fixture
def ended(tmp_path: Path) -> Ended:
    return another(tmp_path)


def another(folder: Path) -> Ended:
    """Remember as a further process of the same data directory does."""
    lock = folder / "session.key"
    lock.touch()
    return Ended(folder / "sessions.ended", lock, most=3)


def test_logging_out_ends_the_session_and_no_other(api: httpx.Client, project: Project) -> None:
    secret = (project.settings.admin_token).read_text("utf-8").strip()
    one, other = (
        {"Authorization": f"Bearer {api.post('/login', json={'secret': secret}).json()['token']}"}
        for _ in range(2)
    )

    assert api.post("/logout", headers=one).json() == {"ended": True}

    assert api.get("/models", headers=one).status_code == 401
    assert api.post("/logout", headers=one).status_code == 401
    assert api.get("/models", headers=other).status_code == 200
    assert api.post("/logout").json() == {"ended": False}  # an API token is no session
    assert api.get("/models").status_code == 200


def test_a_session_ends_with_the_token_that_it_was_begun_with(
    api: httpx.Client, project: Project
) -> None:
    engine = open_store(project.settings.database_url)
    with write(engine) as conn:
        token, drawn = tokens.create(conn, "reader", ("read",))
    until(lambda: api.post("/login", json={"secret": drawn}).is_success)
    began = api.post("/login", json={"secret": drawn}).json()["token"]
    session = {"Authorization": f"Bearer {began}"}
    assert api.get("/models", headers=session).status_code == 200

    with write(engine) as conn:
        tokens.revoke(conn, token.id)
    engine.dispose()

    until(lambda: api.get("/models", headers=session).status_code == 401)


def test_other_processes_and_the_next_ones_know_that_it_ended(tmp_path: Path) -> None:
    first, second = (Sessions(KEY, None, ended=another(tmp_path)) for _ in range(2))
    one, other = first.begin(0.0)[0], first.begin(0.0)[0]
    second.look()

    assert first.end(one, 1.0)
    second.look()

    for sessions in (first, second):
        assert sessions.token(one, 2.0) is None
        assert sessions.token(other, 2.0) is not None
    third = Sessions(KEY, None, ended=another(tmp_path))
    third.look()
    assert third.token(one, 2.0) is None
    assert second.end(other, 2.0)
    assert first.end(one, 3.0) is False
    first.look()
    assert first.token(other, 3.0) is None
    file = tmp_path / "sessions.ended"
    assert file.stat().st_mode & 0o777 == 0o600
    assert one.rpartition(".")[2] not in file.read_text("ascii")


def test_two_processes_that_end_sessions_at_once_lose_none(tmp_path: Path) -> None:
    first, second = another(tmp_path), another(tmp_path)

    first.add("a", 10, 1.0)
    second.add("b", 20, 1.0)

    first.look()
    assert first.has("a", 10)
    assert first.has("b", 20)


def test_what_is_over_anyway_is_forgotten(ended: Ended, tmp_path: Path) -> None:
    ended.add("a", 10, 1.0)
    ended.add("b", 20, 11.0)

    assert (tmp_path / "sessions.ended").read_text("ascii") == "b 20\n"


def test_of_too_many_none_comes_back_to_life(ended: Ended, tmp_path: Path) -> None:
    for i in range(20):
        ended.add(f"s{i}", 100 + i, 1.0)

    assert all(ended.has(f"s{i}", 100 + i) for i in range(20))
    assert not ended.has("never ended", 200)
    assert len((tmp_path / "sessions.ended").read_text("ascii").splitlines()) == 3


def test_what_cannot_be_written_down_is_said_and_the_session_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    sessions = Sessions(KEY, None, ended=another(folder))
    token = sessions.begin(0.0)[0]
    (folder / "session.key").unlink()
    folder.rmdir()

    with pytest.raises(FileNotFoundError):
        sessions.end(token, 1.0)

    assert sessions.token(token, 1.0) is not None


def test_a_file_that_was_spoilt_is_said(ended: Ended, tmp_path: Path) -> None:
    (tmp_path / "sessions.ended").write_text("what is this", encoding="ascii")

    with pytest.raises(InputError, match=r"sessions\.ended: expected a session.*session\.key too"):
        ended.look()
