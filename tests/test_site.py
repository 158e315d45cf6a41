"""The site is whole, as fresh as the code, and needs no other host."""

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from docs import build, diagrams, reference, slides
from tests.browser import browser

ROOT = Path(__file__).parents[1]
__all__ = ["browser"]
KINDS = (
    *("no-champion", "log-not-writable", "cycle-too-old", "label-lag", "alarm-drift"),
    *("broken-feed", "label-fault", "promotion", "rejected", "rolled-back", "training-failed"),
    *("component-down", "outbox-parked", "high-error-rate", "high-latency", "disk-full"),
    *("artifact-corrupt", "clock", "all-is-well"),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("docs")
    assert build.build(output) == []
    return output / "site"


def test_the_references_and_diagrams_say_what_the_code_says() -> None:
    for name, text in reference.pages().items():
        assert (reference.PAGES / name).read_text("utf-8") == text, "python -m docs.reference"
    for name, diagram in diagrams.DIAGRAMS.items():
        path = diagrams.IMAGES / name
        assert path.read_text("utf-8") == diagrams.svg(diagram), "python -m docs.diagrams"


def test_every_page_is_in_the_navigation_and_each_kind_has_its_section(site: Path) -> None:
    front = (site / "index.html").read_text("utf-8")
    for page in ROOT.glob("docs/*.md"):
        assert f"docs/{page.stem}.html" in front, page.name
    runbook = (site / "docs/runbook.html").read_text("utf-8")
    for kind in KINDS:
        assert f'id="{kind}"' in runbook, kind


def test_every_figure_of_the_slides_stands_where_it_was_measured() -> None:
    parts = ("", "serving/", "decisions/")
    measured = ("README.md", *(f"benchmarks/{part}README.md" for part in parts))
    there = {f for name in measured for f in _figures((ROOT / name).read_text("utf-8"))}
    there |= _figures((ROOT / "docs/statistics.md").read_text("utf-8"))
    told = _figures(slides.SOURCE.read_text("utf-8"))
    assert len(told) > 40
    assert told - there == set()


def _figures(text: str) -> set[str]:
    """Read the numbers; .50 and 0.5 are one."""
    found = re.findall(r"\d[\d,]*(?:\.\d+)?|\.\d+", text)
    return {f"{float(f.replace(',', '')):g}" for f in found}


def test_a_page_that_no_part_names_stands_among_the_guides() -> None:
    named = [name for part in build.NAVIGATION.values() for name in part]
    assert build.navigation([*named, "docs/new.md"])[build.GUIDES][-1] == "docs/new.md"
    with pytest.raises(FileNotFoundError, match=r"no page docs/tutorial\.md"):
        build.navigation([name for name in named if name != "docs/tutorial.md"])


def test_what_leads_nowhere_or_is_fetched_from_elsewhere_is_named(
    site: Path, tmp_path: Path
) -> None:
    shutil.copytree(site, tmp_path, dirs_exist_ok=True)
    bad = '<a href="gone.html"></a><a href="laws.html#gone"></a><img src="//elsewhere/a.png">'
    page = tmp_path / "docs/statistics.html"
    page.write_text(page.read_text("utf-8").replace("</article>", f"{bad}</article>"), "utf-8")

    assert sorted(build.faults(tmp_path)) == [
        "docs/statistics.html: fetches //elsewhere/a.png from another host",
        "docs/statistics.html: gone.html leads nowhere",
        "docs/statistics.html: laws.html#gone leads nowhere",
    ]


@pytest.mark.journey
@pytest.mark.patient
def test_a_browser_opens_it_from_disk_searches_and_asks_no_host(
    site: Path, browser: Browser
) -> None:
    asked, said = set[str](), list[str]()
    page = browser.new_page(color_scheme="dark")
    page.on("request", lambda request: asked.add(request.url.split(":")[0]))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    for path in ("docs/slides", "docs/reference/http", "docs/statistics"):
        page.goto(f"{(site / path).as_uri()}.html")
        broken = "() => [...document.images].filter(i => !i.naturalWidth).length"
        assert page.evaluate(broken) == 0, path
    page.keyboard.press("/")
    page.keyboard.type("supermartingale")
    page.get_by_role("link", name="The gate").first.wait_for()
    page.close()
    assert asked <= {"file", "data", "blob"}
    assert said == []
