"""Rolling accuracy as a picture, with what happened marked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROLLING = 2_000


def draw(
    right: Mapping[str, NDArray[np.bool_]],
    moves: Sequence[Mapping[str, Any]],
    *,
    start: int,
    title: str,
    path: Path,
) -> None:
    """Draw the rolling accuracy of each; the first one is the one that matters.

    Parameters
    ----------
    right
        (n,) for each name whether a row was answered rightly, rows from ``start`` on.
    moves
        With ``row`` and ``kind``: where a line is drawn.
    """
    import matplotlib as mpl  # noqa: PLC0415  an extra

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  an extra

    figure, axes = plt.subplots(figsize=(11, 5), layout="constrained")
    n = min(_ROLLING, max(2, len(next(iter(right.values()))) // 4))
    for place, (name, was) in enumerate(right.items()):
        total = np.concatenate(([0], np.cumsum(was)))
        rolling = (total[n:] - total[:-n]) / n
        axes.plot(
            np.arange(n, len(was) + 1) + start,
            rolling,
            label=f"{name}: {was.mean():.3f}",
            linewidth=1.1 if place else 2.2,
            zorder=2 if place else 3,
        )
    for move in moves:
        axes.axvline(move["row"], color="0.4", linestyle=":", linewidth=1)
        axes.annotate(
            move["kind"],
            (move["row"], 0.01),
            xycoords=("data", "axes fraction"),
            rotation=90,
            fontsize=8,
            ha="right",
        )
    axes.set_xlabel("row")
    axes.set_ylabel(f"accuracy over the last {n} rows")
    axes.set_title(title)
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)
