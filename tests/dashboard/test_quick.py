"""What the pages say where there is nothing to show; no server, no browser."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import continualml.app.dashboard
from continualml.app.dashboard.__main__ import command
from continualml.app.dashboard.words import number, span
from continualml.settings import Settings

PAGE = Path(continualml.app.dashboard.__file__).with_name("page.py")


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setattr("continualml.app.dashboard.asking._URL", "http://127.0.0.1:9")
    return AppTest.from_file(PAGE, default_timeout=30)


def test_who_is_not_logged_in_sees_a_form_and_where_the_token_is(app: AppTest) -> None:
    app.run()

    assert not app.exception
    assert [field.label for field in app.text_input] == ["Password or API token"]
    assert "admin.token" in app.caption[0].value
    assert "no default one" in app.caption[0].value
    assert not app.sidebar.selectbox


def test_where_no_api_answers_the_form_says_what_to_do(app: AppTest) -> None:
    app.run()
    app.text_input[0].input("anything at all")
    app.button[0].click().run()

    assert not app.exception
    assert "The API does not answer" in app.error[0].value
    assert "continual serve" in app.error[0].value


def test_the_server_listens_on_loopback_and_tells_nobody() -> None:
    said = command(Settings())

    assert "--server.address=127.0.0.1" in said
    assert "--browser.gatherUsageStats=false" in said
    assert "--client.showErrorDetails=none" in said


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.26, "0.3 s"), (59, "59 s"), (61, "1 min 1 s"), (90_061, "1 d 1 h"), (None, "-")],
)
def test_a_span_has_two_units_at_most(seconds: float | None, written: str) -> None:
    assert span(seconds) == written


def test_numbers_have_as_many_digits_as_say_something() -> None:
    assert [number(v) for v in (None, 12_345, 0.123456, 1_234.5)] == [
        "-",
        "12,345",
        "0.123",
        "1,234",
    ]
