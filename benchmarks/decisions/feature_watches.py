"""Ways to watch ten features: tests and PSI at every look, and River's detectors column by column.

Each alarms when any column (or the rule's share of the columns) has moved.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import drift as river_drift
from scipy.special import kolmogorov

from benchmarks.decisions.watches import BUDGET, Method, Watch
from benchmarks.decisions.worlds import Floats
from continualml.decide.promise import PARTS
from continualml.evidence import drift
from continualml.evidence.reference import codes, of_columns

WINDOW, EVERY = 200, 100
_BINS = 10
_FLOOR = 1e-4

Look = Callable[[Floats], bool]


class OurDrift:
    """The product's feature alarm, with its default tolerance."""

    def __init__(self, reference: Floats, *, budget: float, block: int) -> None:
        self._reference = of_columns(_named(reference), block=block)
        self._question = drift.DriftQuestion(
            reference=self._reference, budget=max(budget, block), block=block
        )
        self._state, self._read = drift.untouched(self._question), 0

    def feed(self, rows: Floats) -> list[int]:
        seq = np.arange(1, len(rows) + 1) + self._read
        said = codes(self._reference, _named(rows))
        self._read += len(rows)
        found: list[int] = []
        while True:
            self._state, alarms = drift.step(self._question, self._state, seq, said)
            if not alarms:
                return found
            # Afresh, as the others: the product goes on without the columns that it named.
            found.append(alarms[0].seq - int(seq[0]))
            self._state = drift.untouched(self._question, seq=alarms[0].seq)


def _named(rows: Floats) -> dict[str, NDArray[Any]]:
    return {f"x{j}": column for j, column in enumerate(rows.T)}


class Looks:
    """Look at the newest 200 rows every 100 rows; after an alarm wait for 200 new ones."""

    def __init__(self, moved: Look, columns: int) -> None:
        self._moved = moved
        self._open = np.empty((0, columns))

    def feed(self, rows: Floats) -> list[int]:
        alarms = []
        at = 0
        while at < len(rows):
            fill = len(self._open)
            stop = at + (WINDOW - fill if fill < WINDOW else EVERY - (fill - WINDOW))
            self._open = np.concatenate((self._open, rows[at:stop]))
            at = stop
            if len(self._open) not in {WINDOW, WINDOW + EVERY}:
                break
            self._open = self._open[-WINDOW:]
            if self._moved(self._open):
                alarms.append(stop - 1)
                self._open = self._open[:0]
        return alarms


def ks_p_values(ordered: Floats, rows: Floats) -> NDArray[np.float64]:
    """(columns,) p-values of two-sample Kolmogorov-Smirnov tests against an ordered reference.

    Columns are taken to be free of ties; asymptotic with Stephens' correction (1970).
    """
    m, n = len(rows), len(ordered)
    own = np.sort(rows, axis=0)
    below = np.column_stack(
        [np.searchsorted(ordered[:, j], own[:, j]) for j in range(ordered.shape[1])]
    )
    step = np.arange(1, m + 1)[:, None] / m
    distance = np.maximum(step - below / n, below / n - step + 1 / m).max(axis=0)
    root = np.sqrt(m * n / (m + n))
    values: NDArray[np.float64] = kolmogorov((root + 0.12 + 0.11 / root) * distance)
    return values


def _any_ks(alpha: float, reference: Floats) -> Watch:
    ordered = np.sort(reference, axis=0)
    return Looks(lambda rows: bool(ks_p_values(ordered, rows).min() < alpha), reference.shape[1])


def _half_ks(threshold: float, reference: Floats) -> Watch:
    ordered = np.sort(reference, axis=0)
    return Looks(
        lambda rows: bool(np.mean(ks_p_values(ordered, rows) <= threshold) >= 0.5),
        reference.shape[1],
    )


def _psi(threshold: float, reference: Floats) -> Watch:
    edges = np.quantile(reference, np.arange(1, _BINS) / _BINS, axis=0)

    def largest(rows: Floats) -> bool:
        for j in range(rows.shape[1]):
            bins = np.searchsorted(edges[:, j], rows[:, j])
            share = np.maximum(np.bincount(bins, minlength=_BINS) / len(rows), _FLOOR)
            if float(((share - 1 / _BINS) * np.log(share * _BINS)).sum()) > threshold:
                return True
        return False

    return Looks(largest, reference.shape[1])


class EachColumn:
    """One of River's detectors for each column; the one that alarms is made anew."""

    def __init__(self, make: Callable[[], Any], columns: int) -> None:
        self._make = make
        self._detectors = [make() for _ in range(columns)]

    def feed(self, rows: Floats) -> list[int]:
        alarmed: set[int] = set()
        for j, column in enumerate(rows.T):
            detector = self._detectors[j]
            for i, value in enumerate(column.tolist()):
                detector.update(value)
                if detector.drift_detected:
                    alarmed.add(i)
                    detector = self._make()
            self._detectors[j] = detector
        return sorted(alarmed)


def _ours(block: int) -> Method:
    return Method(
        name=f"ours, block {block}, tolerance .03",
        make=lambda budget, reference: OurDrift(reference, budget=budget, block=block),
        parameter="budget in rows",
        default=BUDGET / PARTS["columns"],  # the part that all columns together have of it
        least=block,
        most=1e7,
        quieter="larger",
        share=0.2 if block == 1 else 0.5,
    )


METHODS: tuple[Method, ...] = (
    *(_ours(block) for block in (1, 48)),
    Method(
        name="KS test of each column at every look, any",
        make=_any_ks,
        parameter="alpha",
        default=0.05,
        least=1e-12,
        most=0.9,
        quieter="smaller",
    ),
    Method(
        name="PSI of each column at every look, any",
        share=0.5,
        make=_psi,
        parameter="threshold",
        default=0.1,
        least=0.01,
        most=2.0,
        quieter="larger",
    ),
    # evidently 0.7.23 does not import beside pandas 3, so its default rule is written out:
    # DataDriftPreset(drift_share=0.5) and, for numbers with up to 1,000 reference rows, ks_2samp
    # with p <= 0.05 (evidently/legacy/calculations/stattests/registry.py, data_drift.py).
    Method(
        name="Evidently's default preset (half of the columns)",
        share=0.4,
        make=_half_ks,
        parameter="stattest_threshold",
        default=0.05,
        least=1e-3,
        most=0.9,
        quieter="smaller",
    ),
    Method(
        name="River: ADWIN on each column",
        make=lambda v, reference: EachColumn(
            lambda: river_drift.ADWIN(delta=v), reference.shape[1]
        ),
        parameter="delta",
        default=0.002,
        least=1e-12,
        most=0.9,
        quieter="smaller",
        share=0.1,
    ),
    Method(
        name="River: PageHinkley on each column",
        make=lambda v, reference: EachColumn(
            lambda: river_drift.PageHinkley(threshold=v), reference.shape[1]
        ),
        parameter="threshold",
        default=50,
        least=5,
        most=5_000,
        quieter="larger",
        share=0.1,
    ),
)
