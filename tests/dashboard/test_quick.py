"""What the pages say where there is nothing to show; no server, no browser."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from streamlit.testing.v1 import AppTest

import continualml.app.dashboard
from continualml.app.dashboard.__main__ import command
from continualml.app.dashboard.words import number, span
from continualml.model import Policy
from continualml.settings import PolicyTable, Settings

HELD = "False promotions are held to"
CHANCE, ROWS = "Chance of any false promotion", "One false promotion in … rows"
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


def form_of(policy: dict[str, object]) -> None:
    """Show the form of a policy, as a script of its own; what was changed is written down."""
    import streamlit as st  # noqa: PLC0415  the script begins here

    from continualml.app.dashboard import backtest  # noqa: PLC0415

    st.session_state["changed"] = backtest._form(policy)  # noqa: SLF001


@pytest.mark.parametrize(
    ("force", "typed", "changed"),
    [
        (Policy(), {}, {}),
        (Policy(false_promotion_chance=0.0001), {}, {}),
        (Policy(false_promotions=5_000), {}, {}),
        (Policy(), {CHANCE: 0.01}, {"false_promotions": 0.01}),
        (Policy(), {HELD: "a rate", ROWS: 20_000}, {"false_promotions": 20_000}),
        (Policy(false_promotions=5_000), {HELD: "a chance"}, {"false_promotions": 0.05}),
        (Policy(false_promotions=5_000), {ROWS: 6_000}, {"false_promotions": 6_000}),
    ],
)
def test_a_backtest_sets_the_chance_of_a_false_promotion_or_its_rows(
    force: Policy, typed: dict[str, Any], changed: dict[str, float]
) -> None:
    declared = msgspec.to_builtins(force)
    app = AppTest.from_function(form_of, default_timeout=30, kwargs={"policy": declared}).run()
    shown: dict[str, Any] = {w.label: w for w in (*app.number_input, *app.selectbox)}
    assert shown[CHANCE].value == force.false_promotion_chance
    assert shown[ROWS].value == (force.false_promotions or 10_000)
    assert shown[HELD].value == ("a rate" if force.false_promotions else "a chance")
    for label, value in typed.items():
        shown[label].set_value(value)
    app.run()

    assert not app.exception
    assert app.session_state["changed"] == changed
    PolicyTable.model_validate(changed)


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
