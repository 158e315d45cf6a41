"""Make the slides: a Marp source becomes one HTML file that needs nothing else.

``python -m docs.slides`` writes ``build/slides.html``; with ``--pdf`` Chromium prints it too, one
slide a page. The arrow keys turn the slides.
"""

import argparse
import base64
import re
import shutil
import subprocess
import sys
from pathlib import Path

import markdown

HERE = Path(__file__).parent
SOURCE = HERE / "slides/slides.md"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_PICTURE = re.compile(r'src="([^"]+\.(png|svg))"')
_TYPES = {"png": "image/png", "svg": "image/svg+xml"}
_TURN = """
const slides = [...document.querySelectorAll("section")];
const turn = {ArrowRight: 1, PageDown: 1, " ": 1, ArrowLeft: -1, PageUp: -1};
addEventListener("keydown", event => {
  if (!(event.key in turn)) return;
  event.preventDefault();
  const now = slides.findIndex(s => s.getBoundingClientRect().bottom > innerHeight / 2);
  slides[Math.max(0, Math.min(slides.length - 1, now + turn[event.key]))].scrollIntoView();
});
"""


def page() -> str:
    """Return all slides as one HTML document, its pictures inside."""
    text = SOURCE.read_text("utf-8")
    _, _, body = text.split("---\n", 2)  # Marp's settings stand between the first two
    parts = re.split(r"^---$", body, flags=re.MULTILINE)
    made = [markdown.markdown(part, extensions=["tables", "fenced_code"]) for part in parts]
    sections = "\n".join(
        f"<section>{html}<footer>{n} / {len(made)}</footer></section>"
        for n, html in enumerate(made, 1)
    )
    style = (HERE / "slides/slides.css").read_text("utf-8")
    return _PICTURE.sub(
        _inside,
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n<title>Continual ML</title>\n'
        '<link rel="icon" href="data:,">\n'
        f"<style>\n{style}</style>\n</head>\n<body>\n{sections}\n"
        f"<script>{_TURN}</script>\n</body>\n</html>\n",
    )


def _inside(found: re.Match[str]) -> str:
    path = (SOURCE.parent / found[1]).resolve()
    written = base64.b64encode(path.read_bytes()).decode()
    return f'src="data:{_TYPES[found[2]]};base64,{written}"'


def main() -> int:
    """Write the slides, and print them if that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE.parent / "build")
    parser.add_argument("--pdf", action="store_true")
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    html = asked.output.absolute() / "slides.html"
    html.write_text(page(), encoding="utf-8")
    if not asked.pdf:
        return 0
    browser = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"--pdf: expected one of {', '.join(_BROWSERS)} to print with, found none")
    run = subprocess.run(  # noqa: S603  the browser that was found, no shell
        (
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
            *("--no-pdf-header-footer", f"--print-to-pdf={html.with_suffix('.pdf')}"),
            html.as_uri(),
        ),
        check=False,
    )
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())
