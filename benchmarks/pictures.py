"""Draw what docs/statistics.md shows, from the Electricity stream.

``evidence.png``: the loss alarm's evidence while the first model stays for ever, and in worlds in
which nothing changes. ``looking.png``: how often a challenger that is no better has been promoted,
by a t-test at every look and by the gate.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.decisions import gate, loops, rules, stream_data
from benchmarks.decisions.worlds import Floats
from continualml.evidence import growth, loss
from continualml.evidence.loss import LossQuestion

_BLOCK, _BUDGET, _PART = 48, 10_000, 0.24
_FIRST, _HELD, _TOLERANCE = 1_000, 200, 0.02
_INK, _MARK, _SOFT = "#1b2733", "#c8442f", "#7f95a8"
_RULES = {
    "t-test every 50 rows": _MARK,
    "t-test every 50 rows, alpha over looks": "#d99a3d",
    "ours, one challenger, block 48": "#0b6e99",
}


def main() -> None:
    """Write both pictures and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=400)
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    asked = parser.parse_args()
    with rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        told = {
            "evidence": draw_evidence(asked.output / "evidence.png"),
            "looking": draw_looking(asked.output / "looking.png", asked.worlds),
        }
    print(json.dumps(told, indent=1))


def draw_evidence(path: Path) -> dict[str, float]:
    """Draw the evidence of the real order of rows beside that of days in a random order."""
    wrong = _errors_of_the_first_model()
    held, later = wrong[:_HELD], wrong[_HELD:]
    level = float(held.mean() + 1.645 * held.std(ddof=1) / np.sqrt(_HELD)) + _TOLERANCE
    question = LossQuestion(promised=level, budget=_BUDGET / _PART, block=_BLOCK)
    means = later[: len(later) // _BLOCK * _BLOCK].reshape(-1, _BLOCK).mean(axis=1)
    real = _evidence(question, means)
    alarm = int(np.flatnonzero(real >= question.threshold)[0])
    rng = np.random.default_rng(0)
    before = means[: alarm // 2]  # days before the model became worse
    quiet = [_evidence(question, rng.choice(before, alarm + 60)) for _ in range(40)]

    figure = Figure(figsize=(9, 4), dpi=110, layout="constrained")
    axes = figure.subplots()
    rows = np.arange(1, alarm + 61) * _BLOCK + _FIRST
    for one in quiet:
        axes.plot(rows, one, color=_SOFT, linewidth=0.6, alpha=0.5)
    axes.plot(
        [], [], color=_SOFT, label="nothing changes: days before the change, at random, 40 times"
    )
    axes.plot(rows[: alarm + 1], real[: alarm + 1], color=_INK, label="as it was", linewidth=1.8)
    axes.axhline(question.threshold, color=_MARK, linestyle="--", linewidth=1)
    axes.annotate(
        "threshold: 10,000 / 48 / .24 = 868", (rows[0], question.threshold * 1.2), color=_MARK
    )
    axes.plot(rows[alarm], real[alarm], "o", color=_MARK, label=f"alarm at row {rows[alarm]:,}")
    axes.set(yscale="log", ylim=(0.01, 5_000), xlabel="row", ylabel="evidence")
    axes.set_title("Is the first model worse than the promised error rate?", loc="left")
    axes.legend(loc="lower right", framealpha=0.95, edgecolor="none")
    figure.savefig(path, metadata={"Software": None})
    return {
        "promised": round(level, 4),
        "alarm_row": int(rows[alarm]),
        "threshold": round(question.threshold, 1),
        "highest_when_quiet": round(max(float(one.max()) for one in quiet), 1),
    }


def draw_looking(path: Path, worlds: int) -> dict[str, float]:
    """Draw the share of worlds in which who is no better has been promoted by a row."""
    rng = np.random.default_rng(8)
    differences = gate.nobody_better(rng, gate.electricity(), worlds)
    figure = Figure(figsize=(9, 3.8), dpi=110, layout="constrained")
    axes = figure.subplots()
    told: dict[str, float] = {}
    for name, colour in _RULES.items():
        at = np.sort(rules.RULES[name](differences))
        came = at[at < rules.NEVER]
        share = np.arange(1, len(came) + 1) / worlds
        told[name] = round(len(came) / worlds, 3)
        axes.step(
            np.concatenate(([0], came, [len(differences)])),
            np.concatenate(([0], share, [told[name]])),
            where="post",
            color=colour,
            label=f"{name}: {told[name]:.0%} in the end",
        )
    axes.axhline(0.05, color=_INK, linestyle=":", linewidth=1)
    axes.annotate("the 5 % that was asked for", (len(differences), 0.06), ha="right")
    axes.set(ylim=(0, 1), xlabel="labels", ylabel="share of worlds with a promotion")
    axes.set_title("Nobody is better: how often has a challenger been promoted?", loc="left")
    axes.legend(frameon=False, loc="center right", bbox_to_anchor=(1, 0.65))
    figure.savefig(path, metadata={"Software": None})
    return told


def _errors_of_the_first_model() -> Floats:
    """(n,) errors, 0 or 1, of a model of the first 800 rows on those after them."""
    stream, begin = stream_data.load("electricity"), _FIRST - _HELD
    answers = loops.fit(stream, 0, begin)(stream.x[begin:])
    wrong: Floats = (answers != stream.target[begin:]).astype(np.float64)
    return wrong


def _evidence(question: LossQuestion, means: Floats) -> Floats:
    """(n,) mean of the bets after each block."""
    laid = loss.bets(question, loss.untouched(question), means)
    first = np.arange(len(means), dtype=np.int64) * question.block
    path = loss.path(loss.untouched(question), growth.grown([laid])[0], first)
    value: Floats = path.wealth.mean(axis=1)
    return value


if __name__ == "__main__":
    main()
