"""One picture: single rows and batches of 1,000, everybody beside everybody."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.serving.bars import cell
from benchmarks.serving.results import Kept, median
from benchmarks.serving.servers import OURS, SERVERS

_OURS, _THEIRS = "#1b7f6b", "#9aa5b1"


def draw(kept: Kept, path: Path) -> None:
    """Write it as PNG."""
    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(11, 4.6), dpi=110, layout="constrained")
        left, right = figure.subplots(1, 2)
        _bars(left, kept, 1)
        left.set_xlabel("requests/s, one row a request, 16 connections")
        _bars(right, kept, 1_000)
        right.set_xlabel("rows/s, 1,000 rows a request, 16 connections")
        figure.savefig(path, metadata={"Software": None})


def _bars(axes: Axes, kept: Kept, rows: int) -> None:
    """Draw a bar for each server and form; a line goes from the least to the most of a round."""
    at = 0
    labels: list[str] = []
    for server in SERVERS:
        for form in dict.fromkeys(c.form for c in server.cells if c.rows == rows):
            name = cell(server.name, rows, form, workers=server.workers)
            middle = median(kept, name, "rate")
            if middle is None:
                continue
            each = kept["cells"][name]["rate"]
            ours = server.name.startswith(OURS)
            axes.barh(at, middle * rows, color=_OURS if ours else _THEIRS)
            axes.plot([min(each) * rows, max(each) * rows], [at, at], color="black", linewidth=1)
            labels.append(f"{server.full_name}, {form}")
            at += 1
    axes.set_yticks(range(at), labels)
    axes.invert_yaxis()
