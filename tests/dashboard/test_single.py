"""Logging in at a real OpenID provider, in a browser: who is let in, what others are told."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import PATIENCE_MS, browser
from tests.dashboard.conftest import Site, answers, served
from tests.dashboard.test_pages import opened, sees
from tests.tree.conftest import free_port, own_environment, until

pytestmark = [pytest.mark.journey, pytest.mark.patient]
__all__ = ["browser"]
PEOPLE: tuple[dict[str, object], ...] = (
    {"sub": "ada", "email": "Ada@Example.org", "email_verified": True},
    {"sub": "cleo", "email": "cleo@firm.example", "email_verified": True},
    {"sub": "eve", "email": "eve@example.org", "email_verified": True},
    {"sub": "mallory", "email": "ada@example.org", "email_verified": False},
)


STYLES = "cdn.jsdelivr.net"  # of the provider's own pages; nothing is asked there


@contextmanager
def provided() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start the provider's process."""
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    people = [f"--user-claims={json.dumps(one)}" for one in PEOPLE]
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", port, *people]
    process = subprocess.Popen(command, env=own_environment(), stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(f"{url}/jwks"), 60, lambda: "the provider did not start")
        yield url, process
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def site_of(url: str, folder: Path) -> Iterator[Site]:
    variables = {
        "CONTINUAL_OIDC_URL": url,
        "CONTINUAL_OIDC_CLIENT_ID": "the-dashboard",
        "CONTINUAL_OIDC_CLIENT_SECRET": "of-this-test-alone",  # pragma: allowlist secret
        "CONTINUAL_OIDC_ALLOW": "ada@example.org, @firm.example",
        "CONTINUAL_OIDC_NAME": "Firm",
    }
    with served(folder, dashboard=True, **variables) as site:
        yield site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with provided() as (url, _), site_of(url, tmp_path_factory.mktemp("single")) as one:
        yield one


def go(page: Page, who: str) -> None:
    page.route(f"https://{STYLES}/**", lambda route: route.abort())
    page.get_by_role("button", name="Log in with Firm").click()
    page.get_by_role("button", name=who, exact=True).first.click()


@pytest.mark.parametrize("who", ["ada", "cleo"])
def test_whoever_is_on_the_list_gets_in_stays_in_and_gets_out(
    browser: Browser, site: Site, who: str
) -> None:
    with opened(browser, site.dashboard) as (page, seen):
        go(page, who)
        expect(page.get_by_role("link", name="Evidence")).to_be_visible(timeout=PATIENCE_MS)
        page.reload()
        expect(page.get_by_role("link", name="Evidence")).to_be_visible(timeout=PATIENCE_MS)

        page.get_by_role("button", name="Log out").click()
        page.get_by_role("button", name="End session").click()  # of the provider

        expect(page.get_by_role("button", name="Log in with Firm")).to_be_visible(
            timeout=PATIENCE_MS
        )
        assert {urlsplit(url).hostname for url in seen.elsewhere} <= {STYLES}


@pytest.mark.parametrize(
    ("who", "why"), [("eve", "not among those that may log in"), ("mallory", "is verified")]
)
def test_nobody_else_gets_in_and_is_told_why(
    browser: Browser, site: Site, who: str, why: str
) -> None:
    with opened(browser, site.dashboard) as (page, _):
        go(page, who)
        sees(page, "You are not let in", why)

        assert page.get_by_role("link", name="Evidence").count() == 0
        expect(page.get_by_role("button", name="Log in as somebody else")).to_be_visible()


def test_a_provider_that_is_down_is_said_and_a_token_still_opens(
    browser: Browser, tmp_path: Path
) -> None:
    with provided() as (url, process), site_of(url, tmp_path) as site:
        process.terminate()
        process.wait(timeout=30)
        with opened(browser, site.dashboard) as (page, _):
            page.get_by_role("button", name="Log in with Firm").click()
            sees(page, "Firm does not answer")

            field = page.get_by_label("Password or API token").first
            field.fill(site.token)
            field.press("Enter")
            expect(page.get_by_role("link", name="Evidence")).to_be_visible(timeout=PATIENCE_MS)


def test_the_secret_is_in_a_file_of_its_owner_and_in_nothing_else(site: Site) -> None:
    path = site.folder / "dashboard.secrets.toml"

    assert path.stat().st_mode & 0o777 == 0o600
    assert "of-this-test-alone" in path.read_text("utf-8")
    assert [p.name for p in site.folder.glob("dashboard.secrets*")] == [path.name]
