"""Build the site and the slides from the repository's own pages; a broken link is a failure.

``python -m docs.build`` writes ``build/site``; ``--output FOLDER`` another folder.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from docs import slides

ROOT = Path(__file__).parents[1]
# What becomes a page or is shown on one; everything keeps its place beside the others.
SHOWN = (
    "*.md",
    "LICENSE",
    ".env.example",
    "docs/*.md",
    "docs/reference/*.md",
    "docs/images/*",
    "docs/theme/*",
    "benchmarks/README.md",
    "benchmarks/serving/README.md",
    "benchmarks/serving/*.png",
    "benchmarks/decisions/README.md",
    "benchmarks/decisions/results/*.png",
    "benchmarks/chaos/README.md",
    "benchmarks/soak/README.md",
    "benchmarks/soak/*.png",
    "examples/*/README.md",
)
GUIDES = "Guides"
NAVIGATION: dict[str, tuple[str, ...]] = {
    "Start": ("README.md", "docs/tutorial.md"),
    GUIDES: (
        "docs/own-data.md",
        "docs/dashboard.md",
        "docs/clients.md",
        "docs/postgresql.md",
        "docs/s3.md",
        "docs/scaling.md",
        "docs/upgrade.md",
        "docs/backup.md",
    ),
    "Reference": (
        "docs/reference/http.md",
        "docs/reference/command-line.md",
        "docs/reference/configuration.md",
        "docs/configuration.md",
        "docs/command-line.md",
        "docs/decisions.md",
    ),
    "Explanation": (
        "docs/laws.md",
        "docs/statistics.md",
        "docs/guarantees.md",
        "docs/diagnosis.md",
        "docs/strategies.md",
        "docs/without-labels.md",
        "docs/architecture.md",
        "docs/simulation.md",
        "docs/retrospective.md",
    ),
    "When something is wrong": ("docs/runbook.md", "docs/observability.md", "docs/faults.md"),
    "Figures": (
        "benchmarks/README.md",
        "benchmarks/serving/README.md",
        "benchmarks/decisions/README.md",
        "benchmarks/chaos/README.md",
        "benchmarks/soak/README.md",
        "examples/electricity/README.md",
    ),
    "Project": (
        "docs/slides.html",
        "CHANGELOG.md",
        "SECURITY.md",
        "docs/dependencies.md",
        "CONTRIBUTING.md",
    ),
}
TITLES = {"README.md": "Continual ML", "docs/slides.html": "Slides"}
_PAGES = {".md", ".html"}
# Tags whose address a browser fetches by itself.
_FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
# Relations of <link> that name a page and fetch nothing.
_NAMED = {"canonical", "next", "prev", "alternate"}


class _Page(HTMLParser):
    """The addresses of one page, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag asks for."""
        given = {name: value or "" for name, value in attrs}
        self.anchors.update(given[n] for n in ("id", "name") if given.get(n))
        address = given.get(_FETCHED.get(tag, ""))
        if address and given.get("rel") not in _NAMED:
            self.fetched.append(address)
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])


def build(output: Path) -> list[str]:
    """Build into ``output / "site"`` and return what is wrong with it, one line a fault."""
    pages, site = output / "pages", output / "site"
    shutil.rmtree(pages, ignore_errors=True)
    shutil.rmtree(site, ignore_errors=True)
    found = [p for pattern in SHOWN for p in sorted(ROOT.glob(pattern)) if p.is_file()]
    for path in found:
        there = pages / path.relative_to(ROOT)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, there)
    (pages / "docs/slides.html").write_text(slides.page(), encoding="utf-8")
    names = [str(p.relative_to(pages)) for p in sorted(pages.rglob("*")) if p.suffix in _PAGES]
    written = output / "zensical.toml"
    written.write_text(_settings(pages, site, navigation(names)), encoding="utf-8")
    run = subprocess.run(  # noqa: S603  the generator of our own environment, no shell
        (sys.executable, "-m", "zensical", "build", "--strict", "--clean", "-f", str(written)),
        cwd=output,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        said = re.sub(r"\x1b\[[\d;]*m", "", run.stderr)  # it colours what no terminal reads
        told, _, why = said.partition("Traceback")  # its own frames help nobody
        return [told or said, *why.splitlines()[-1:]]
    return faults(site)


def navigation(names: list[str]) -> dict[str, list[str]]:
    """Order the pages; one that no part names stands among the guides.

    Raises
    ------
    FileNotFoundError
        If a part names a page that is not there: Zensical would link to nothing.
    """
    named = [name for part in NAVIGATION.values() for name in part]
    if missing := set(named) - set(names):
        raise FileNotFoundError(f"docs/build.py, NAVIGATION: no page {', '.join(sorted(missing))}")
    ordered = {title: list(part) for title, part in NAVIGATION.items()}
    ordered[GUIDES] += [name for name in names if name not in named]
    return ordered


def faults(site: Path) -> list[str]:
    """Look through every built page: what it fetches is here, and what it links to exists."""
    pages = {p: _Page(p.read_text("utf-8")) for p in sorted(site.rglob("*.html"))}
    wrong = [
        f"{path.relative_to(site)}: fetches {address} from another host"
        for path, page in pages.items()
        for address in page.fetched
        if urlsplit(address).netloc
    ]
    for path, page in pages.items():
        for address in [*page.fetched, *page.links]:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue  # 404.html is served for any address, so its own begin at the root
            to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            to = to / "index.html" if to.is_dir() else to
            anchors = pages[to].anchors if to in pages else set[str]()
            if not to.exists() or (
                parts.fragment and to in pages and unquote(parts.fragment) not in anchors
            ):
                wrong.append(f"{path.relative_to(site)}: {address} leads nowhere")
    return wrong


def _settings(pages: Path, site: Path, ordered: dict[str, list[str]]) -> str:
    """Write Zensical's settings: ours, and where things are. JSON's strings are TOML's."""
    parts = [
        f"{{ {json.dumps(title)} = [{', '.join(_entry(name) for name in names)}] }}"
        for title, names in ordered.items()
    ]
    ours = (ROOT / "docs/site.toml").read_text("utf-8")
    added = f"docs_dir = {json.dumps(pages.name)}\nsite_dir = {json.dumps(site.name)}\n"
    return ours.replace("[project]\n", f"[project]\n{added}nav = [{', '.join(parts)}]\n", 1)


def _entry(name: str) -> str:
    title = TITLES.get(name)
    return f"{{ {json.dumps(title)} = {json.dumps(name)} }}" if title else json.dumps(name)


def main() -> int:
    """Build, say what is wrong, and return 1 if anything is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "build")
    output = parser.parse_args().output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    wrong = build(output)
    print("\n".join(wrong) or f"built: {output / 'site/index.html'}")  # noqa: T201  a program
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
