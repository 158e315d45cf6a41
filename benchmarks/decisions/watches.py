"""Ways to watch losses: ours, River's detectors, and a repeated t-test."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from river import drift
from river.drift import binary
from scipy.stats import ttest_ind

from benchmarks.decisions.kswin import Kswin
from benchmarks.decisions.worlds import LEVEL, Floats
from continualml.decide.promise import PARTS
from continualml.evidence import fold
from continualml.evidence.gate import Rate
from continualml.evidence.loss import LossQuestion
from continualml.model import Policy

_PORTION = 1_000
TOLERANCE = 0.02
BUDGET = Policy().false_alarms


class Watch(Protocol):
    """Something that reads rows and alarms now and then."""

    def feed(self, rows: Floats) -> list[int]:
        """Read rows; return places in ``rows`` after which it alarmed. It goes on afresh."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A way to watch, with the one parameter that makes it quieter or louder.

    Parameters
    ----------
    make
        From the parameter's value and 1,000 reference rows, a watch.
    quieter
        Whether a larger or a smaller value gives fewer alarms.
    share
        Part of the rows that a slow way is measured on.
    """

    name: str
    make: Callable[[float, Floats], Watch]
    parameter: str
    default: float
    least: float
    most: float
    quieter: Literal["larger", "smaller"]
    share: float = 1.0


class OurLoss:
    """The product's fold with nothing but the loss alarm in it."""

    def __init__(self, *, promised: float, budget: float, block: int) -> None:
        question = LossQuestion(promised=promised, budget=max(budget, block), block=block)
        self._questions = fold.Questions(alarms=(question,), promotion=Rate(rows=1e12), shares=())
        self._state = fold.untouched(self._questions, seq=0)
        self._read = 0

    def feed(self, rows: Floats) -> list[int]:
        alarms = []
        for at in range(0, len(rows), _PORTION):
            portion = rows[at : at + _PORTION]
            seq = np.arange(1, len(portion) + 1) + self._read
            none = np.empty((len(portion), 0))
            while True:
                self._state, crossing = fold.step(
                    self._questions, self._state, seq, portion[:, None], none, present=()
                )
                if crossing is None:
                    break
                alarms.append(at + crossing.seq - self._read - 1)
                self._state = fold.silenced(self._questions, self._state)
            self._read += len(portion)
        return alarms


class Fed:
    """One of River's detectors, made anew after each alarm."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._detector = make, make()

    def feed(self, rows: Floats) -> list[int]:
        alarms = []
        for i, value in enumerate(rows.tolist()):
            self._detector.update(value)
            if self._detector.drift_detected:
                alarms.append(i)
                self._detector = self._make()
        return alarms


class TTest:
    """Is the mean of the newest 100 rows above the reference's? Asked every 100 rows, one-sided."""

    def __init__(self, alpha: float, reference: Floats, every: int = 100) -> None:
        self._alpha, self._reference, self._every = alpha, reference, every
        self._open: list[float] = []

    def feed(self, rows: Floats) -> list[int]:
        alarms = []
        for i, value in enumerate(rows.tolist()):
            self._open.append(value)
            if len(self._open) == self._every:
                test = ttest_ind(
                    self._open, self._reference, equal_var=False, alternative="greater"
                )
                alarms += [i] if test.pvalue < self._alpha else []
                self._open = []
        return alarms


def _promised(reference: Floats) -> float:
    """Give the promise that the product makes from held-back rows: mean, 1.645 errors, .02."""
    error = float(reference.std()) / len(reference) ** 0.5
    upper: float = reference.mean() + 1.645 * error
    return upper + TOLERANCE


def _ours(block: int, *, known: bool) -> Method:
    def make(budget: float, reference: Floats) -> Watch:
        promised = LEVEL if known else _promised(reference)
        return OurLoss(promised=promised, budget=budget, block=block)

    what = "level known" if known else "promise from 1,000 rows, tolerance .02"
    return Method(
        name=f"ours, block {block}, {what}",
        make=make,
        parameter="budget in rows",
        # The product's loss alarm has its part of the policy's budget; alone it has all of it.
        default=BUDGET if known else BUDGET / PARTS["loss"],
        least=block,
        most=1e7,
        quieter="larger",
        share=0.3 if block == 1 else 1.0,
    )


def _river(
    name: str,
    make: Callable[[float], Any],
    parameter: str,
    default: float,
    span: tuple[float, float],
    quieter: Literal["larger", "smaller"],
    *,
    share: float = 1.0,
) -> Method:
    return Method(
        name=f"River: {name}",
        make=lambda value, _: Fed(lambda: make(value)),
        parameter=parameter,
        default=default,
        least=span[0],
        most=span[1],
        quieter=quieter,
        share=share,
    )


METHODS: tuple[Method, ...] = (
    *(_ours(block, known=known) for known in (True, False) for block in (1, 48)),
    _river("ADWIN", lambda v: drift.ADWIN(delta=v), "delta", 0.002, (1e-9, 0.99), "smaller"),
    _river("DDM", lambda v: binary.DDM(drift_threshold=v), "drift_threshold", 3, (1, 12), "larger"),
    _river(
        "PageHinkley",
        lambda v: drift.PageHinkley(threshold=v),
        "threshold",
        50,
        (1, 1_000),
        "larger",
    ),
    _river(
        "PageHinkley, increases only",
        lambda v: drift.PageHinkley(threshold=v, mode="up"),
        "threshold",
        50,
        (1, 1_000),
        "larger",
    ),
    _river(
        "EDDM",
        lambda v: binary.EDDM(alpha=max(0.95, v), beta=v),
        "beta",
        0.9,
        (0.3, 0.99),
        "smaller",
    ),
    _river(
        "HDDM_W",
        lambda v: binary.HDDMW(drift_confidence=v, warning_confidence=min(5 * v, 0.5)),
        "drift_confidence",
        0.001,
        (1e-12, 0.1),
        "smaller",
        share=0.2,
    ),
    Method(
        name="t-test every 100 rows",
        make=TTest,
        parameter="alpha",
        default=0.05,
        least=1e-9,
        most=0.5,
        quieter="smaller",
    ),
    _river(
        "KSWIN",
        lambda v: Kswin(alpha=v, seed=1),
        "alpha",
        0.005,
        (1e-7, 0.2),
        "smaller",
        share=0.2,
    ),
)
