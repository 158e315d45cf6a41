"""Draw the diagrams of the documentation as SVG: boxes on a grid, and arrows between them.

``python -m docs.diagrams`` writes ``docs/images/*.svg``.
"""

from dataclasses import dataclass
from html import escape
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
_COLUMN, _ROW, _WIDE, _HIGH, _EDGE = 210, 112, 150, 58, 24
_FILL = {"plain": "#eef3f7", "mark": "#d9edf6", "store": "#fdf1d9", "outside": "#f4f0f7"}
_STYLE = (
    "text{font:14px system-ui,sans-serif;fill:#1b2733;text-anchor:middle}"
    ".small{font-size:11.5px;fill:#4a5b6a}"
    "rect{stroke:#8496a6;stroke-width:1.2}"
    ".arrow{stroke:#5b6b7a;stroke-width:1.5;fill:none;marker-end:url(#tip)}"
    ".said{font-size:11.5px;fill:#33424f;paint-order:stroke;stroke:#fff;stroke-width:5px}"
)
_TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
    'orient="auto"><path d="M0 0L8 4L0 8z" fill="#5b6b7a"/></marker></defs>'
)


@dataclass(frozen=True, slots=True)
class Box:
    """A thing at a place of the grid; ``small`` says in a second line what it does."""

    column: float
    row: float
    name: str
    small: str = ""
    kind: str = "plain"

    @property
    def middle(self) -> tuple[float, float]:
        """Where its middle is, in pixels."""
        x = _EDGE + self.column * _COLUMN + _WIDE / 2
        return x, _EDGE + self.row * _ROW + _HIGH / 2


@dataclass(frozen=True, slots=True)
class Arrow:
    """From one box to another, with what goes along; ``aside`` pixels off the middle."""

    start: str
    end: str
    said: str = ""
    aside: float = 0.0


@dataclass(frozen=True, slots=True)
class Diagram:
    """Boxes and arrows, with a title for those who cannot see them."""

    title: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


FLOW = Diagram(
    "Who writes the log, who reads it, and what follows",
    (
        Box(0, 0, "client", "/predict", "outside"),
        Box(0, 1, "world", "/labels, later", "outside"),
        Box(1, 0.5, "API", "answers, guards", "mark"),
        Box(2.15, 0.5, "log", "and ledger, pointers", "store"),
        Box(3.3, 0.5, "cycle", "fold, decide", "mark"),
        Box(4.4, 0, "trainer", "fits in a child process"),
        Box(4.4, 1, "timer", "a block of labels waits"),
        Box(3.3, 1.7, "Prefect", "every 30 s", "outside"),
        Box(2.15, 1.7, "courier", "empties the outbox"),
        Box(1, 1.7, "MLflow", "versions, aliases", "outside"),
    ),
    (
        Arrow("client", "API"),
        Arrow("world", "API"),
        Arrow("API", "log", "one append", aside=-12),
        Arrow("log", "API", "pointer", aside=12),
        Arrow("log", "cycle", "labelled rows", aside=-12),
        Arrow("cycle", "log", "decision", aside=12),
        Arrow("cycle", "trainer", aside=-7),
        Arrow("trainer", "cycle", aside=7),
        Arrow("timer", "cycle"),
        Arrow("Prefect", "cycle"),
        Arrow("log", "courier", "outbox"),
        Arrow("courier", "MLflow"),
    ),
)
VERSIONS = Diagram(
    "What becomes of a version",
    (
        Box(0, 0.7, "refit", "of a strategy"),
        Box(1.2, 0.7, "challenger", "answers in shadow", "mark"),
        Box(1.2, 1.8, "refused", "the one before stays"),
        Box(2.5, 0.7, "champion", "answers", "mark"),
        Box(4.1, 0, "anchor", "what was proven"),
        Box(4.1, 1.4, "previous", "the champion before"),
        Box(2.5, 1.8, "follower", "a later refit answers"),
    ),
    (
        Arrow("refit", "challenger", "accept"),
        Arrow("refit", "refused", "refuse"),
        Arrow("challenger", "champion", "promote", aside=0),
        Arrow("champion", "anchor", "stays as", aside=-11),
        Arrow("anchor", "champion", "rollback", aside=11),
        Arrow("champion", "previous", "becomes", aside=-11),
        Arrow("previous", "champion", "rollback", aside=11),
        Arrow("champion", "follower", "follow"),
    ),
)
DIAGRAMS = {"flow.svg": FLOW, "versions.svg": VERSIONS}


def svg(diagram: Diagram) -> str:
    """Return the picture as text, the same every time."""
    places = {box.name: box for box in diagram.boxes}
    wide = max(box.middle[0] for box in diagram.boxes) + _WIDE / 2 + _EDGE
    high = max(box.middle[1] for box in diagram.boxes) + _HIGH / 2 + _EDGE
    drawn = [_arrow(places[a.start], places[a.end], a) for a in diagram.arrows]
    drawn += [_box(box) for box in diagram.boxes]
    size = f'viewBox="0 0 {wide:g} {high:g}" width="{wide:g}" height="{high:g}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(diagram.title)}</title>",
            f"<style>{_STYLE}</style>",
            _TIP,
            '<rect width="100%" height="100%" fill="#fff" style="stroke:none"/>',
            *drawn,
            "</svg>\n",
        ]
    )


def _box(box: Box) -> str:
    x, y = box.middle
    left, top = x - _WIDE / 2, y - _HIGH / 2
    up = -4 if box.small else 5
    return (
        f'<rect x="{left:g}" y="{top:g}" width="{_WIDE}" height="{_HIGH}" rx="7" '
        f'fill="{_FILL[box.kind]}"/><text x="{x:g}" y="{y + up:g}">{escape(box.name)}</text>'
        f'<text class="small" x="{x:g}" y="{y + 15:g}">{escape(box.small)}</text>'
    )


def _arrow(start: Box, end: Box, arrow: Arrow) -> str:
    (x0, y0), (x1, y1) = start.middle, end.middle
    length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
    across = (-(y1 - y0) / length * arrow.aside, (x1 - x0) / length * arrow.aside)
    # Mirrored for the way back, so that both keep to their own side of the line.
    sign = 1 if (x1, y1) >= (x0, y0) else -1
    dx, dy = across[0] * sign, across[1] * sign
    ax, ay = _edge(x0, y0, x1, y1)
    bx, by = _edge(x1, y1, x0, y0)
    line = f'<path class="arrow" d="M{ax + dx:.1f} {ay + dy:.1f}L{bx + dx:.1f} {by + dy:.1f}"/>'
    if not arrow.said:
        return line
    x, y = (ax + bx) / 2 + dx, (ay + by) / 2 + dy + (-6 if arrow.aside <= 0 else 14)
    return f'{line}<text class="said" x="{x:.1f}" y="{y:.1f}">{escape(arrow.said)}</text>'


def _edge(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float]:
    """Return where the line from one middle to another leaves the first box."""
    dx, dy = x1 - x0, y1 - y0
    share = min(
        _WIDE / 2 / abs(dx) if dx else float("inf"), _HIGH / 2 / abs(dy) if dy else float("inf")
    )
    return x0 + dx * share, y0 + dy * share


def main() -> None:
    """Write all diagrams."""
    for name, diagram in DIAGRAMS.items():
        (IMAGES / name).write_text(svg(diagram), encoding="utf-8")


if __name__ == "__main__":
    main()
