"""Wrong tokens: told to wait, and nobody who holds a drawn one notices."""

import time
from collections.abc import Iterator

import httpx
import pytest
from loguru import logger
from sqlalchemy import Engine
from starlette.types import Scope

from continualml.app.api import tokens as access
from continualml.app.api.problems import ProblemError
from continualml.app.api.sessions import Sessions
from continualml.app.api.tokens import Tokens
from continualml.store import tokens
from continualml.store.engine import write

CHOSEN = "correct-horse-battery-staple-7"


@pytest.fixture
def guarded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Tokens:
    """Tokens of a store that knows a chosen admin token; a guess comes back after half a second."""
    with write(engine) as conn:
        tokens.create(conn, "API_KEY", ("admin",), CHOSEN)
    monkeypatch.setattr(access, "_PER_S", 2.0)
    made = Tokens(engine, Sessions(b"k" * 32, None))
    made.look()
    return made


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING", format="{message}")
    yield lines
    logger.remove(sink)


def scope(secret: str, address: str = "192.0.2.1") -> Scope:
    header = (b"authorization", f"Bearer {secret}".encode())
    return {"type": "http", "client": (address, 4_711), "headers": [header]}


def status(guarded: Tokens, secret: str, address: str = "192.0.2.1") -> int:
    try:
        guarded.require(scope(secret, address), "predict")
    except ProblemError as problem:
        return problem.status
    return 200


def test_a_chosen_token_cannot_be_guessed_on_and_on(guarded: Tokens) -> None:
    guesses = [status(guarded, f"correct-horse-battery-staple-{i}x") for i in range(100)]

    assert guesses[:20] == [401] * 20
    assert guesses.count(429) >= 75  # one more comes free in half a second
    assert status(guarded, CHOSEN) == 429  # the right guess is not told from a wrong one
    assert status(guarded, CHOSEN, "192.0.2.2") == 200  # others are not held up
    time.sleep(0.6)
    assert status(guarded, CHOSEN) == 200


def test_a_drawn_token_works_while_others_of_its_address_guess(
    guarded: Tokens, engine: Engine
) -> None:
    with write(engine) as conn:
        _, drawn = tokens.create(conn, "app", ("predict",))
    guarded.look()
    assert [status(guarded, f"guess-{i}") for i in range(30)][-1] == 429

    assert [status(guarded, drawn) for _ in range(100)] == [200] * 100


def test_a_client_with_an_outdated_token_locks_nobody_out(guarded: Tokens) -> None:
    assert [status(guarded, "outdated-since-last-week") for _ in range(1_000)] == [401] * 1_000

    assert status(guarded, CHOSEN) == 200


def test_no_token_at_all_is_no_guess(guarded: Tokens) -> None:
    bare: Scope = {"type": "http", "client": ("192.0.2.1", 1), "headers": []}
    for _ in range(100):
        with pytest.raises(ProblemError, match="needs a valid bearer token"):
            guarded.require(bare, "predict")

    assert status(guarded, CHOSEN) == 200


def test_it_is_logged_once_and_no_guess_stands_in_the_log(guarded: Tokens, said: list[str]) -> None:
    for i in range(50):
        status(guarded, f"my-other-password-{i}", "2001:db8::1")

    assert len(said) <= 3  # again only where a guess came free meanwhile
    assert "2001:db8::/64" in said[0]
    assert not any("password" in line for line in said)


def test_over_http_it_is_a_problem_that_says_when_to_come_back(api: httpx.Client) -> None:
    answers = [
        api.get("/models", headers={"Authorization": f"Bearer guess-{i}"}) for i in range(25)
    ]

    assert [a.status_code for a in answers[:20]] == [401] * 20
    last = next(a for a in answers if a.status_code == 429)
    assert 1 <= int(last.headers["retry-after"]) <= 5
    assert last.json()["type"] == "urn:continualml:problem:too-many-attempts"
    assert api.get("/models").status_code == 200  # the admin's own, drawn at the first start
