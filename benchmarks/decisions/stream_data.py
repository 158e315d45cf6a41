"""The streams: Electricity, those that ship in River's wheel, and made ones with known drift."""

import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import datasets
from river.datasets import synth

ROOT = Path(__file__).parents[2]
_FIRST = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Rows in time order.

    Parameters
    ----------
    x, target
        (n, features) numbers, and (n,) the class of each row, from 0 on.
    first
        How many rows there are, with labels, before anything is judged; at most 1,000, and a
        fifth of a short stream.
    """

    name: str
    x: NDArray[np.float64]
    target: NDArray[np.int64]
    first: int

    def head(self, rows: int) -> "Stream":
        """Only the first ``rows`` rows."""
        return _stream(self.name, self.x[:rows], self.target[:rows])


def known(row: int, delay: int, first: int) -> int:
    """How many labels are known when ``row`` is answered.

    The label of row i is there before row i + delay is answered, and never before row i + 1;
    those of the first rows are there from the start.
    """
    return max(first, row - max(delay, 1) + 1)


def load(name: str) -> Stream:
    """Make or read one of ``NAMES``."""
    return _LOADERS[name]()


def _electricity() -> Stream:
    path = ROOT / "examples/electricity/electricity.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        next(file)
        rows = [line.strip().split(",") for line in file]
    x = np.array([row[:-1] for row in rows], dtype=np.float64)
    return _stream("electricity", x, np.array([row[-1] == "up" for row in rows], dtype=np.int64))


def _hyperplane() -> Stream:
    made = synth.Hyperplane(
        seed=7, n_features=10, n_drift_features=5, mag_change=0.001, noise_percentage=0.05
    )
    return _from_river("hyperplane", made.take(40_000))


def _sea() -> Stream:
    parts = [synth.SEA(variant=v, noise=0.1, seed=40 + v).take(10_000) for v in range(4)]
    return _from_river("sea", chain(*parts))


def _from_river(name: str, rows: Iterable[tuple[dict[Any, Any], Any]]) -> Stream:
    pairs = list(rows)
    x = np.array([list(row.values()) for row, _ in pairs], dtype=np.float64)
    labels = [str(label) for _, label in pairs]
    index = {label: i for i, label in enumerate(sorted(set(labels)))}
    return _stream(name, x, np.array([index[label] for label in labels], dtype=np.int64))


def _stream(name: str, x: NDArray[np.float64], target: NDArray[np.int64]) -> Stream:
    return Stream(name=name, x=x, target=target, first=min(_FIRST, len(x) // 5))


_LOADERS: dict[str, Callable[[], Stream]] = {
    "electricity": _electricity,
    "hyperplane": _hyperplane,
    "sea": _sea,
    "bananas": lambda: _from_river("bananas", datasets.Bananas()),
    "phishing": lambda: _from_river("phishing", datasets.Phishing()),
    "segments": lambda: _from_river("segments", datasets.ImageSegments()),
}
NAMES = tuple(_LOADERS)
