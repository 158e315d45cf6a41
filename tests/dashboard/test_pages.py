"""What a person sees in a browser: logging in and out, every page with the example's data."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser import PATIENCE_MS, Seen, browser, is_elsewhere, watched
from tests.dashboard.conftest import PASSWORD, Site, served

pytestmark = [pytest.mark.journey, pytest.mark.patient]
__all__ = ["browser"]


@contextmanager
def opened(browser: Browser, url: str) -> Iterator[tuple[Page, Seen]]:
    """Open the dashboard somewhere else in the world, and note what happens behind it."""
    context = browser.new_context(
        viewport={"width": 1_400, "height": 1_000}, timezone_id="Pacific/Auckland"
    )
    page = context.new_page()
    seen = watched(page)
    page.on("websocket", lambda w: seen.elsewhere.append(w.url) if is_elsewhere(w.url) else None)
    page.goto(url)
    yield page, seen
    context.close()


@pytest.fixture(scope="module")
def inside(browser: Browser, site: Site) -> Iterator[tuple[Page, Seen]]:
    """Be logged in with the password."""
    with opened(browser, site.dashboard) as (page, seen):
        log_in(page, PASSWORD)
        expect(page.get_by_role("link", name="Evidence")).to_be_visible(timeout=PATIENCE_MS)
        yield page, seen


def log_in(page: Page, secret: str) -> None:
    field = page.get_by_label("Password or API token").first
    field.fill(secret)
    field.press("Enter")  # without a mouse


def sees(page: Page, *texts: str) -> None:
    for text in texts:
        expect(page.get_by_text(text).first).to_be_visible(timeout=PATIENCE_MS)


def charts_of(page: Page) -> Locator:
    return page.locator('[data-testid="stVegaLiteChart"]:visible')


def has_no_error(page: Page) -> None:
    alerts = page.get_by_test_id("stAlertContentError").all_inner_texts()
    assert [*alerts, *page.get_by_test_id("stException").all_inner_texts()] == []


PAGES = {
    "Now": (1, ("Champion", "Next check", "promised: at least", "Decided last")),
    "Evidence": (2, ("Loss: share of its threshold", "Has a feature, an answer or a label moved")),
    "Versions": (2, ("Trial in progress", "A challenger is promoted when", "on the same")),
    "Decisions": (0, ("Every decision follows from the log alone", "Choose a row")),
    "Data": (10, ("Columns, at the proof and now", "How late labels come", "Nine of ten within")),
    "Try it": (0, ("nothing is logged", "nswprice")),
    "Backtest": (0, ("What would have happened comes here", "Cooldown")),
}


@pytest.mark.parametrize("name", PAGES)
def test_every_page_shows_the_examples_data_and_asks_nobody_else(
    inside: tuple[Page, Seen], name: str
) -> None:
    page, seen = inside
    charts, texts = PAGES[name]

    page.get_by_role("link", name=name, exact=True).click()

    sees(page, *texts)
    expect(charts_of(page)).to_have_count(charts, timeout=PATIENCE_MS)
    has_no_error(page)
    assert seen == Seen()


def test_times_are_those_of_the_viewers_zone(inside: tuple[Page, Seen]) -> None:
    page, _ = inside
    sees(page, "Logged in until")
    expect(page.get_by_text("Logged in until")).to_contain_text(re.compile("NZ[DS]T"))


def test_a_row_typed_into_the_form_is_answered_and_explained(inside: tuple[Page, Seen]) -> None:
    page, seen = inside
    page.get_by_role("link", name="Try it", exact=True).click()
    page.get_by_label("nswprice").first.fill("0.9")
    page.get_by_role("button", name="Predict").click()

    sees(page, "would answer:", "What makes the difference")
    expect(charts_of(page)).to_have_count(2, timeout=PATIENCE_MS)
    has_no_error(page)
    assert seen == Seen()


def test_a_replay_shows_that_every_decision_comes_out_the_same(inside: tuple[Page, Seen]) -> None:
    page, seen = inside
    page.get_by_role("link", name="Decisions", exact=True).click()
    page.get_by_role("button", name="Replay").click()

    sees(page, "None differs.")
    assert seen == Seen()


def test_logging_out_shows_nothing_any_more(browser: Browser, site: Site) -> None:
    with opened(browser, site.dashboard) as (page, seen):
        log_in(page, site.token)
        sees(page, "Decided last")
        page.get_by_role("button", name="Log out").click()
        sees(page, "Log in to see what the loop does and why.")
        assert page.get_by_text("Decided last").count() == 0
        assert (site.folder / "sessions.ended").exists()
        page.goto(f"{site.dashboard}/evidence")
        sees(page, "Log in to see what the loop does and why.")
    assert seen.elsewhere == []


def test_a_wrong_password_is_refused_then_locked_out_and_a_silent_api_is_said(
    browser: Browser, logged: Path
) -> None:
    with (
        served(logged, dashboard=True) as own,
        opened(browser, own.dashboard) as (page, seen),
    ):
        for i in range(4):  # from the same address, as the dashboard asks
            assert own.api.post("/login", json={"secret": f"guess {i}"}).status_code == 401
        log_in(page, "a wrong password")
        sees(page, "this is neither the password nor a token")
        log_in(page, PASSWORD)
        sees(page, "too many wrong tries")
        assert page.get_by_role("link", name="Evidence").count() == 0

        own.server.terminate()
        own.server.wait(timeout=30)
        page.reload()
        log_in(page, PASSWORD)
        sees(page, "The API does not answer", "Start it with")
    assert seen.elsewhere == []
