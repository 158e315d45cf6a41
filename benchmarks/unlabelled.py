"""Performance without labels beside the labelled mean: made streams, and Electricity."""

import argparse
import csv
import gzip
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import norm, t
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from continualml.evidence.calibration import (
    CalibrationQuestion,
    CalibrationState,
    doubt_edges,
    step_labelled,
    step_unlabelled,
    untouched,
)
from continualml.evidence.unlabelled import estimate

Floats = NDArray[np.float64]
QUESTION = CalibrationQuestion(edges=doubt_edges(2), block=24, measures=2)
DAYS = replace(QUESTION, block=48)
LABELLED = 3_000
FILE = Path(__file__).parents[1] / "examples" / "electricity" / "electricity.csv.gz"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "unlabelled.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Ends of the three intervals, and what the rows cost in truth."""

    ours: tuple[float, float]
    same_care: tuple[float, float]
    usual: tuple[float, float]
    truth: float
    value: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=400, help="made streams of each kind")
    parser.add_argument("--plot", action="store_true")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    for name, rho, before, after, flip, waiting in (
        ("stationary, 48 waiting", 0.0, 1.5, 1.5, 0.0, 48),
        ("stationary, 480 waiting", 0.0, 1.5, 1.5, 0.0, 480),
        ("autocorrelated .3, 480 waiting", 0.3, 1.5, 1.5, 0.0, 480),
        ("surer model, 480 waiting", 0.0, 6.0, 6.0, 0.0, 480),
        ("rows become harder, 480 waiting", 0.0, 1.5, 0.6, 0.0, 480),
        ("rows become easier, 480 waiting", 0.0, 1.5, 4.0, 0.0, 480),
        ("concept change without labels, 480 waiting", 0.0, 1.5, 1.5, 0.3, 480),
    ):
        found = []
        for _ in range(asked.streams):
            a, x = _answered(rng, LABELLED, rho=rho, spread=before)
            b, y = _answered(rng, waiting, rho=rho, spread=after, flip=flip)
            found.append(_compare(np.concatenate((a, b)), np.concatenate((x, y)), LABELLED))
        print(json.dumps({"stream": name, **_figures(found)}))
    answer, loss = _electricity()
    for delay in (48, 480):
        found = list(_walk(answer, loss, delay))
        print(json.dumps({"stream": f"Electricity, delay {delay}", **_figures(found)}))
        if delay == 480 and asked.plot:
            _plot(found, delay, asked.picture)
    print(json.dumps({"fold_us_per_row": _cost(answer, loss)}))


def _answered(
    rng: np.random.Generator, n: int, *, rho: float, spread: float, flip: float = 0.0
) -> tuple[Floats, Floats]:
    noise = rng.standard_normal((2, n))
    noise[:, 1:] *= np.sqrt(1 - rho**2)
    signal, luck = lfilter([1.0], [1.0, -rho], noise, axis=1)
    p = 1 / (1 + np.exp(-spread * signal))
    return _costs(p, (norm.cdf(luck) < p) != (rng.random(n) < flip))


def _costs(p: Floats, truth: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    answer = np.column_stack((1 - p, p))
    return answer, np.column_stack(((p - truth) ** 2, (p > 0.5) != truth)).astype(float)


def _electricity() -> tuple[Floats, Floats]:
    """Give the answers of the first model (first 1,000 rows) to all later ones, and their costs."""
    with gzip.open(FILE, "rt", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    x = np.array([r[:-1] for r in rows], dtype=np.float64)
    truth = np.array([r[-1] == "up" for r in rows])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    model.fit(x[:1_000], truth[:1_000])
    return _costs(model.predict_proba(x[1_000:])[:, 1], truth[1_000:])


def _known(
    question: CalibrationQuestion, answer: Floats, loss: Floats, n_labelled: int
) -> CalibrationState:
    seq = np.arange(1, len(answer) + 1)
    state = step_unlabelled(question, untouched(seq=0), seq, answer)
    done = slice(0, n_labelled)
    return step_labelled(
        question, state, seq[done] + len(seq), answer[done], loss[done], row_seq=seq[done]
    )


def _compare(answer: Floats, loss: Floats, n_labelled: int) -> Compared:
    return _beside(
        QUESTION,
        _known(QUESTION, answer, loss, n_labelled),
        _known(replace(QUESTION, edges=()), answer, loss, n_labelled),
        loss[:n_labelled, 1],
        loss[n_labelled:, 1],
    )


def _beside(
    question: CalibrationQuestion,
    state: CalibrationState,
    plain: CalibrationState,
    labelled: Floats,
    waiting: Floats,
) -> Compared:
    ours = estimate(question, state, measure=1)
    same = estimate(replace(question, edges=()), plain, measure=1)
    if ours is None or same is None:
        raise RuntimeError("expected an estimate from that many labels")
    labelled = labelled[-3_072:]
    block = question.block
    blocks = labelled[len(labelled) % block :].reshape(-1, block).mean(axis=1)
    reach = t.ppf(0.975, len(blocks) - 1) * blocks.std(ddof=1)
    reach *= np.sqrt(1 / len(blocks) + block / len(waiting))
    return Compared(
        ours=(ours.low, ours.high),
        same_care=(same.low, same.high),
        usual=(float(blocks.mean() - reach), float(blocks.mean() + reach)),
        truth=float(waiting.mean()),
        value=ours.value,
    )


def _walk(answer: Floats, loss: Floats, delay: int) -> Iterator[Compared]:
    """Go through the stream with every label ``delay`` rows late, looking once a delay."""
    ours, plain, without = untouched(seq=0), untouched(seq=0), replace(DAYS, edges=())
    for end in range(delay, len(answer) + 1, delay):
        seq, here = np.arange(end - delay + 1, end + 1), slice(end - delay, end)
        ours = step_unlabelled(DAYS, ours, seq, answer[here])
        plain = step_unlabelled(without, plain, seq, answer[here])
        if end > 1_000 + delay:
            yield _beside(DAYS, ours, plain, loss[: end - delay, 1], loss[here, 1])
        ours = step_labelled(DAYS, ours, seq, answer[here], loss[here], row_seq=seq)
        plain = step_labelled(without, plain, seq, answer[here], loss[here], row_seq=seq)


def _figures(found: list[Compared]) -> dict[str, float]:
    truth = np.array([c.truth for c in found])
    figures = {}
    for name in ("ours", "same_care", "usual"):
        ends = np.array([getattr(c, name) for c in found])
        figures[f"{name}_holds"] = float(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean())
        figures[f"{name}_width"] = float(np.diff(ends).mean())
    figures["missed_by"] = float(np.abs(np.array([c.value for c in found]) - truth).mean())
    middle = np.array([np.mean(c.usual) for c in found])
    figures["labelled_mean_missed_by"] = float(np.abs(middle - truth).mean())
    return {k: round(v, 4) for k, v in figures.items()}


def _cost(answer: Floats, loss: Floats) -> float:
    """Microseconds for each row, answered and labelled, in portions of 1,000."""
    state, began = untouched(seq=0), time.perf_counter()
    for at in range(0, 40_000, 1_000):
        seq, here = np.arange(at + 1, at + 1_001), slice(at, at + 1_000)
        state = step_unlabelled(QUESTION, state, seq, answer[here])
        state = step_labelled(QUESTION, state, seq, answer[here], loss[here], row_seq=seq)
        estimate(QUESTION, state)
    return round((time.perf_counter() - began) / 40_000 * 1e6, 2)


def _plot(found: list[Compared], delay: int, picture: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415  only for the picture

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  only for the picture

    figure, axes = plt.subplots(figsize=(9, 3.4), dpi=110)
    at = 1_000 + delay * np.arange(2, len(found) + 2)
    ours, usual = (np.array([getattr(c, n) for c in found]) for n in ("ours", "usual"))
    axes.fill_between(at, ours[:, 0], ours[:, 1], alpha=0.25, label="estimate, 95 %")
    axes.plot(at, [c.value for c in found], lw=1, label="estimate before the labels came")
    axes.plot(at, usual.mean(axis=1), lw=1, ls=":", color="grey", label="mean of the last labels")
    axes.plot(at, [c.truth for c in found], lw=1, color="black", label="truth, ten days later")
    axes.set(xlabel="row", ylabel="error rate of the waiting rows", ylim=(0, 0.8))
    axes.legend(fontsize=8, ncols=2)
    axes.set_title("Electricity, labels 480 rows (ten days) late, the first model for ever", size=9)
    figure.tight_layout()
    figure.savefig(picture)


if __name__ == "__main__":
    main()
