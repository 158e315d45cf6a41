"""What a person sees in a browser: the page of the API, of Prefect and of MLflow."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.tree.conftest import Tree
from tests.tree.registry import Registry

pytestmark = pytest.mark.journey

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",  # it runs as root in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 60_000


@dataclass(slots=True)
class Seen:
    """What went wrong behind a page, and whom it asked beyond this machine."""

    errors: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed; as root: apt-get install chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=found, args=QUIET)


@contextmanager
def opened(browser: Browser, url: str) -> Iterator[tuple[Page, Seen]]:
    """Open a page and note what happens behind it."""
    page, seen = browser.new_page(viewport={"width": 1_400, "height": 1_000}), Seen()
    page.set_default_timeout(PATIENCE_MS)
    page.on("console", lambda m: seen.errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: seen.broken.append(str(e)))
    page.on("request", lambda r: seen.elsewhere.append(r.url) if is_elsewhere(r.url) else None)
    page.on("response", lambda r: seen.broken.append(r.url) if r.status >= 500 else None)
    page.goto(url)
    yield page, seen
    page.close()


def is_elsewhere(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in {"data", "blob"} and parts.hostname != "127.0.0.1"


def sees(page: Page, text: str) -> None:
    expect(page.get_by_text(text).first).to_be_visible(timeout=PATIENCE_MS)


def test_the_page_of_the_api_shows_every_route_and_answers_its_example(
    tree: Tree, browser: Browser
) -> None:
    with opened(browser, f"{tree.api.base_url}/docs") as (page, seen):
        operations = page.locator(".opblock")
        expect(operations.first).to_be_visible()
        paths = tree.api.get("/openapi.json").json()["paths"]
        shown = {
            p.replace("\u200b", "") for p in page.locator(".opblock-summary-path").all_inner_texts()
        }
        assert shown == set(paths)
        page.get_by_role("button", name="Authorize").click()
        page.locator(".auth-container input").fill(tree.token)
        page.locator(".auth-btn-wrapper button[type=submit]").click()
        page.locator(".btn-done").click()
        predict = operations.filter(has=page.locator('[data-path="/predict"]'))
        predict.locator(".opblock-summary-control").click()
        expect(predict.locator("textarea")).to_contain_text("nswdemand")
        predict.get_by_role("button", name="Execute").click()
        answer = predict.locator(".live-responses-table .response").first
        expect(answer.locator(".response-col_status")).to_contain_text("200")
        expect(answer).to_contain_text('"probabilities"')
    assert seen == Seen()


def test_prefect_shows_the_flow_and_its_runs_and_asks_nobody(tree: Tree, browser: Browser) -> None:
    with opened(browser, tree.prefect) as (page, seen):  # the address that is printed
        sees(page, "Flow Runs")
        page.goto(f"{tree.prefect}/flows")
        sees(page, "continual-cycle")
        page.goto(f"{tree.prefect}/runs")
        sees(page, "every-20-s")
        sees(page, "Completed")
    assert seen.broken == []
    assert seen.elsewhere == []


def test_mlflow_shows_the_model_and_who_is_champion_and_asks_nobody(
    tree: Tree, browser: Browser
) -> None:
    registry = Registry(tree.mlflow, "electricity")
    tree.until(lambda: registry.aliased("champion") is not None, 90)
    with opened(browser, f"{tree.mlflow}/#/models") as (page, seen):
        sees(page, "electricity")
        page.goto(f"{tree.mlflow}/#/models/electricity")
        sees(page, "continualml.version")
        page.goto(registry.page_of("champion"))
        sees(page, "champion")
        sees(page, "sha256")
    assert seen.broken == []
    assert seen.elsewhere == []
