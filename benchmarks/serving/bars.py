"""What was asked of the serving process before it was built, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from benchmarks.serving import champions
from benchmarks.serving.results import Kept, median, ratio
from benchmarks.serving.servers import OURS

Figure = tuple[float, float, float]
_TUTORIAL: Final = "tutorial"


def cell(
    server: str, rows: int = 1, form: str = "named", *, connections: int = 16, workers: int = 1
) -> str:
    """Name a cell as ``servers.cell_name`` does."""
    n, each = ("s" * (count > 1) for count in (workers, rows))
    return f"{server}, {workers} worker{n} | {rows:,} row{each} {form} | {connections} connections"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One figure that was wanted.

    Parameters
    ----------
    must, goal
        What it has to reach, and what would be better; None where nothing was said.
    better
        Whether more or less of it is.
    figure
        The median with the least and the most of a round; None where it was not measured.
    """

    name: str
    must: float | None
    goal: float | None
    better: Literal["more", "less"]
    figure: Callable[[Kept], Figure | None]

    def verdict(self, kept: Kept) -> str:
        """Say whether it is reached."""
        found = self.figure(kept)
        if found is None:
            return "not measured"
        if self._reached(found[0], self.goal):
            return "goal met"
        if self.must is None:
            return "goal missed" if self.goal is not None else ""
        return "met" if self._reached(found[0], self.must) else "**missed**"

    def _reached(self, value: float, bar: float | None) -> bool:
        if bar is None:
            return False
        return value >= bar if self.better == "more" else value <= bar


def _over(one: str, other: str, part: str = "rate") -> Callable[[Kept], Figure | None]:
    return lambda kept: ratio(kept, one, other, part)


def _alone(one: str, part: str) -> Callable[[Kept], Figure | None]:
    def figure(kept: Kept) -> Figure | None:
        found = kept["cells"].get(one)
        middle = median(kept, one, part)
        return None if middle is None else (middle, min(found[part]), max(found[part]))

    return figure


def _of_process(key: str) -> Callable[[Kept], Figure | None]:
    def figure(kept: Kept) -> Figure | None:
        value = kept["servers"].get(f"{OURS}, 1 worker", {}).get(key)
        return None if value is None else (value, value, value)

    return figure


_BLEND: Final = f"{OURS}, {champions.BLEND}"
BARS: Final = (
    Bar(
        name="`/predict`, 16 connections, requests/s over the tutorial's",
        must=3.5,
        goal=5,
        better="more",
        figure=_over(cell(OURS), cell(_TUTORIAL)),
    ),
    Bar(
        name="the same over the tutorial's whose route is `def`",
        must=None,
        goal=None,
        better="more",
        figure=_over(cell(OURS), cell("tutorial, def")),
    ),
    Bar(
        name="the same over MLflow models serve",
        must=5,
        goal=8,
        better="more",
        figure=_over(cell(OURS), cell("MLflow models serve", form="split")),
    ),
    Bar(
        name="p99 at 16 connections over the tutorial's",
        must=0.25,
        goal=None,
        better="less",
        figure=_over(cell(OURS), cell(_TUTORIAL), "p99_ms"),
    ),
    Bar(
        name="p99 at 16 connections, ms",
        must=None,
        goal=5,
        better="less",
        figure=_alone(cell(OURS), "p99_ms"),
    ),
    Bar(
        name="one connection, p50 over the tutorial's",
        must=1,
        goal=0.6,
        better="less",
        figure=_over(cell(OURS, connections=1), cell(_TUTORIAL, connections=1), "p50_ms"),
    ),
    Bar(
        name="kept of our own speed without the log",
        must=0.55,
        goal=0.75,
        better="more",
        figure=_over(cell(OURS), cell("without log")),
    ),
    Bar(
        name="1,000 rows as a V2 tensor on both sides, 16 connections, rows/s over MLServer's",
        must=0.4,
        goal=1,
        better="more",
        figure=_over(cell(OURS, 1_000, "tensor"), cell("MLServer", 1_000, "tensor")),
    ),
    Bar(
        name="blend of four members, single row, requests/s over one model's",
        must=0.7,
        goal=0.9,
        better="more",
        figure=_over(cell(_BLEND), cell(OURS)),
    ),
    Bar(
        name="serving process after single rows, resident MB",
        must=120,
        goal=80,
        better="less",
        figure=_of_process("memory_rss_mb"),
    ),
    Bar(
        name="start to first right answer, s",
        must=1,
        goal=0.5,
        better="less",
        figure=_of_process("start_s"),
    ),
)
