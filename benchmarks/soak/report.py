"""Page and picture of a soak."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.soak.week import Course

mpl.use("Agg")
from matplotlib import pyplot as plt

_HEAD = """\
# What grows

    python -m benchmarks.soak        # or: make soak

"""
_WEEK = """\
## A week in minutes

{rows:,} answered rows in requests of 50 and as many labels, twenty requests later, in {took_s} s,
through everything that `continual up` starts; {at}, {machine}, load {load} over 15 minutes.
Slopes are medians of the slopes between all pairs of samples after the first third.

![what each process takes over time](week.png)

| figure | median | largest | rise after the warm-up | bound | held |
| --- | --- | --- | --- | --- | --- |
"""
_LENGTH = """\
## The length of the log

Two logs of one model: {short:,} rows ({short_mb:,.0f} MB) and {long:,} rows ({long_mb:,.0f} MB),
each row answered and labelled, one in a hundred labelled early, one in two hundred corrected. Both
are turned one after the other, with 100 new labelled rows each; median of {rounds} turns.
{at}, {machine}, load {load} over 15 minutes.

| | short log | long log | ratio | must / goal |
| --- | --- | --- | --- | --- |
{cycles}| start of the API until it is ready, s | {start_s[short]} | {start_s[long]} | | |

| page | short log, ms | long log, ms | ratio |
| --- | --- | --- | --- |
"""
_CYCLES = {
    "plain": "a cycle, nothing is fitted, ms",
    "often": "a cycle with the default strategies' fits, ms",
}


def page(told: dict[str, Any]) -> str:
    """Write what is known by now."""
    text = _HEAD
    if "week" in told:
        found = told["week"]
        text += _WEEK.format(**found)
        for one in found["figures"]:
            held = "yes" if one["held"] else "**no**"
            cells = [one["figure"], one["median"], one["largest"], one["rise_after_warm_up"]]
            text += f"| {' | '.join(str(c) for c in cells)} | {one['bound']} | {held} |\n"
    if "length" in told:
        found = told["length"]
        short, long = found["logs"]
        text += "\n" + _LENGTH.format(
            **found,
            cycles="".join(_cycle(name, found[key]) for key, name in _CYCLES.items()),
            rounds=found["plain"]["rounds"],
            short=short["rows"],
            long=long["rows"],
            short_mb=short["size_mb"],
            long_mb=long["size_mb"],
        )
        for route, one in found["pages"].items():
            text += f"| `{route}` | {one['short_ms']} | {one['long_ms']} | {one['ratio']} |\n"
    return text


def _cycle(name: str, one: dict[str, Any]) -> str:
    return f"| {name} | {one['short_ms']} | {one['long_ms']} | **{one['ratio']}** | 1.5 / 1.1 |\n"


def picture(course: Course, path: Path) -> None:
    """Draw memory, descriptors and files over time."""
    figure, axes = plt.subplots(3, 1, figsize=(9, 10), sharex=True, layout="constrained")
    for axis, ending, label in zip(
        axes,
        (" memory MB", " descriptors", " MB"),
        ("memory, MB", "open descriptors", "files, MB"),
        strict=True,
    ):
        for name, values in sorted(course.figures.items()):
            if name.endswith(ending) and (ending != " MB" or not name.endswith(" memory MB")):
                axis.plot(course.at_s, values, label=name.removesuffix(ending), linewidth=1)
        axis.set_ylabel(label)
        axis.legend(fontsize=7, ncols=3)
    axes[-1].set_xlabel("seconds")
    figure.savefig(path, dpi=90)
    plt.close(figure)
