"""One picture for each part."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.decisions import alarms, gate, rules, streams
from benchmarks.decisions.cells import Cell
from benchmarks.decisions.stream_data import NAMES

COLOURS = [mpl.colormaps["tab20"](i / 20) for i in range(20)]


def draw(part: str, cells: dict[str, Cell], path: Path) -> None:
    """Write the part's picture as PNG."""
    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(11, 5.2), dpi=110, layout="constrained")
        PICTURES[part](figure, cells)
        figure.savefig(path, metadata={"Software": None})


def _alarms(figure: Figure, cells: dict[str, Cell]) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    names = [m.name for m in alarms.METHODS["losses"]]
    default = [cells.get(f"losses | {n} | default") for n in names]
    quiet = [
        [max(c["false_alarms"][rho], 1) if c else np.nan for c in default] for rho in ("0", "0.3")
    ]
    _bars(left, names, quiet, ("independent losses", "autocorrelated, rho .3"), legend=False)
    left.set(
        xscale="log",
        xlabel="false alarms per million quiet rows,\nat the default (1 stands for 0 too)",
    )
    waits = [
        [
            c["delay"][rho]["0.25"]["median"] if c else np.nan
            for n in names
            for c in [cells.get(f"losses | {n} | tuned at rho {rho}")]
        ]
        for rho in ("0", "0.3")
    ]
    _bars(right, names, waits, ("independent losses", "autocorrelated, rho .3"))
    right.set_xlabel(
        "median rows until .15 -> .25 is found,\nall tuned to 100 false alarms per million"
    )


def _gate(figure: Figure, cells: dict[str, Cell]) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    names = list(rules.RULES)
    equal = [*(f"made | {w}" for w, (gain, _) in gate.MADE.items() if not gain)]
    worlds = [*equal, "electricity, nobody better"]
    shares = [
        [c["promoted"] if c else np.nan for n in names for c in [cells.get(f"{w} | {n}")]]
        for w in worlds
    ]
    _bars(left, names, shares, [w.removeprefix("made | ") for w in worlds])
    left.axvline(rules.ALPHA, color="black", linestyle=":", linewidth=1)
    left.set_xlabel("share of worlds in which a challenger that is no better is promoted")
    gains = [f"made | {w}" for w, (gain, _) in gate.MADE.items() if gain]
    waits = [
        [c["median_labels"] if c else np.nan for n in names for c in [cells.get(f"{w} | {n}")]]
        for w in gains
    ]
    _bars(right, names, waits, [w.removeprefix("made | ") for w in gains])
    right.set_xlabel(f"median labels until a better one is promoted (at most {gate.ROWS:,})")


def _streams(figure: Figure, cells: dict[str, Cell]) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for k, way in enumerate(streams.WAYS):
        cell = cells.get(f"electricity | 48 | {way}")
        if cell is None or way.startswith("no change"):
            continue
        at = np.linspace(cell["first"], cell["rows"], len(cell["rolling"]))
        smooth = np.convolve(np.pad(cell["rolling"], 2, mode="edge"), np.ones(5) / 5, mode="valid")
        ours = way.startswith("ours")
        width = 2.4 if ours else 1
        left.plot(at, smooth, label=way, linewidth=width, color=COLOURS[k], zorder=2 + ours)
    left.legend(fontsize=6, loc="lower left")
    left.set(xlabel="row", ylabel="accuracy, rolling", title="Electricity, labels 48 rows late")
    for k, way in enumerate(streams.WAYS):
        there = [cells.get(f"{name} | 48 | {way}") for name in NAMES]
        accuracy = [c["accuracy"] if c else np.nan for c in there]
        right.scatter(accuracy, range(len(NAMES)), s=18, color=COLOURS[k], zorder=3 - k / 20)
    right.set_yticks(range(len(NAMES)), NAMES)
    right.set(xlim=(0.48, 0.96), ylim=(len(NAMES) - 0.5, -0.5))
    right.set(xlabel="accuracy", title="each stream, labels 48 rows late (colours as on the left)")


def _bars(
    axes: Axes,
    names: Sequence[str],
    values: list[list[float]],
    labels: Sequence[str],
    *,
    legend: bool = True,
) -> None:
    at, width = np.arange(len(names)), 0.8 / len(values)
    for k, (some, label) in enumerate(zip(values, labels, strict=True)):
        axes.barh(at + k * width, some, width, label=label, color=f"C{k}")
    axes.set_yticks(at + 0.4 - width / 2, names)
    for tick in axes.get_yticklabels():
        tick.set_fontweight("bold" if tick.get_text().startswith("ours") else "normal")
    axes.set_ylim(len(names) - 0.1, -0.3)  # the first on top
    if legend:
        axes.legend(fontsize=7)


PICTURES: dict[str, Callable[[Figure, dict[str, Cell]], None]] = {
    "alarms": _alarms,
    "gate": _gate,
    "streams": _streams,
}
