"""What a person sees in a browser: the page of the API, of Prefect and of MLflow."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import PATIENCE_MS, Seen, browser, watched
from tests.tree.conftest import Tree
from tests.tree.registry import Registry

pytestmark = pytest.mark.journey

__all__ = ["browser"]


@contextmanager
def opened(
    browser: Browser, url: str, login: tuple[str, str] | None = None
) -> Iterator[tuple[Page, Seen]]:
    """Open a page, with a login for the browser's own question, and note what happens behind it."""
    page = browser.new_page(
        viewport={"width": 1_400, "height": 1_000},
        http_credentials={"username": login[0], "password": login[1]} if login else None,
    )
    seen = watched(page)
    page.on("response", lambda r: seen.broken.append(r.url) if r.status >= 500 else None)
    page.goto(url)
    yield page, seen
    page.close()


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
        page.get_by_placeholder("admin:pass").fill(":".join(tree.login))  # what the file holds
        page.get_by_role("button", name="Login").click()
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
    registry = Registry(tree.mlflow, "electricity", tree.login)
    tree.until(lambda: registry.aliased("champion") is not None, 90)
    with opened(browser, f"{tree.mlflow}/#/models", tree.login) as (page, seen):
        sees(page, "electricity")
        page.goto(f"{tree.mlflow}/#/models/electricity")
        sees(page, "continualml.version")
        page.goto(registry.page_of("champion"))
        sees(page, "champion")
        sees(page, "sha256")
    assert seen.broken == []
    assert seen.elsewhere == []
