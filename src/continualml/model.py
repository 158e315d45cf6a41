"""What a user declares: a model, its features and the policy that keeps it right. Values only."""

import math
from dataclasses import dataclass, field
from typing import Literal

from continualml.errors import InputError

Parameter = bool | int | float | str | None


# How tables write that a value is not known, in small letters.
MISSING = frozenset({"", "na", "nan", "null", "none", "?"})


def number(text: str) -> float | None:
    """Read a finite number; None when the text is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column of the schema; a missing value is allowed only where ``nullable``."""

    name: str
    kind: Literal["numeric", "categorical"] = "numeric"
    nullable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """A scikit-learn estimator by dotted name, with its keyword arguments in sorted order.

    ``module:function`` names a function of the user's own instead, which makes an estimator.
    """

    name: str = "sklearn.linear_model.LogisticRegression"
    parameters: tuple[tuple[str, Parameter], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """One standing way to make versions: fit ``learner`` on the newest ``window`` labelled rows.

    It is trained again after every ``refit`` labelled rows: anew, or, if it ``resumes``, on the
    rows that came since, from where it was.
    """

    name: str
    window: int
    refit: int
    learner: Learner = field(default_factory=Learner)
    resumes: bool = False

    def __post_init__(self) -> None:
        """Refuse a window or a refit period that is not a positive number of rows."""
        where = f"policy.strategies.{self.name}"
        if self.window < 20:  # noqa: PLR2004  fewer rows cannot hold a fit and a check
            raise InputError(f"{where}.window", expected="at least 20 rows", got=self.window)
        if self.refit < 1:
            raise InputError(f"{where}.refit", expected="at least 1 row", got=self.refit)


DEFAULT_STRATEGIES: tuple[Strategy, ...] = (
    Strategy(name="newest-500", window=500, refit=100),
    Strategy(name="newest-1000", window=1_000, refit=200),
    Strategy(name="newest-2000", window=2_000, refit=500),
    Strategy(name="newest-8000", window=8_000, refit=500),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The user's numbers; all spans are counted in labelled rows.

    Parameters
    ----------
    retrain
        ``standing``: challengers always run in shadow. ``on_alarm``: learn only after the loss
        alarm, that is, when performance has fallen below what was promised.
    threshold
        Lowest acceptable performance in (0, 1), which is 1 - loss ("retrain below 0.8"); without
        one the promise comes from the champion's hold-back rows.
    threshold_metric
        What the threshold is about: ``accuracy`` (classification) or ``brier`` (1 - Brier loss).
    tolerance
        Added to the promised loss when no threshold is set, in [0, 1).
    drift_tolerance
        By how much the share of rows in a part of a feature may differ from the reference, in
        [0, 1), before it counts as moved.
    false_alarms
        Rows, at least, that are expected to pass until an alarm without a change.
    false_promotion_chance
        Chance, at most, that a champion is ever replaced by what is not better, in (0, 1).
    false_promotions
        Instead of that chance: rows, at least, that are expected to pass until it happens.
    block_days, false_alarm_days, false_promotion_days
        The block and the same budgets in days; they become rows when the policy is declared
        (loop/periods.py), as soon as ``rows_per_day`` is known.
    rows_per_day
        Labelled rows in a day: the user's, or as it was measured.
    block
        Consecutive labelled rows that make one bet; None is estimated from the hold-back rows.
    hold
        Newest labelled rows kept out of a fit, to check it on.
    fit_seconds
        Seconds that fits may take per 1,000 labelled rows; None: as many as they need. When they
        are short, the strategies that count least in the blend go without a refit.
    cooldown
        Rows after a promotion or a way back before the next promotion.
    """

    retrain: Literal["standing", "on_alarm"] = "standing"
    threshold: float | None = None
    threshold_metric: Literal["accuracy", "brier"] = "accuracy"
    tolerance: float = 0.02
    drift_tolerance: float = 0.03
    false_alarms: int = 10_000
    false_promotion_chance: float = 0.05
    false_promotions: int | None = None
    block_days: float | None = None
    false_alarm_days: float | None = None
    false_promotion_days: float | None = None
    rows_per_day: float | None = None
    block: int | None = None
    hold: int = 50
    cooldown: int = 0
    fit_seconds: float | None = None
    strategies: tuple[Strategy, ...] = DEFAULT_STRATEGIES

    def __post_init__(self) -> None:
        """Refuse numbers with which no promise could be kept."""
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise InputError("policy.threshold", expected="a number in (0, 1)", got=self.threshold)
        if not 0 <= self.tolerance < 1:
            raise InputError("policy.tolerance", expected="a number in [0, 1)", got=self.tolerance)
        if not 0 <= self.drift_tolerance < 1:
            got = self.drift_tolerance
            raise InputError("policy.drift_tolerance", expected="a number in [0, 1)", got=got)
        if self.fit_seconds is not None and not 0 < self.fit_seconds < math.inf:
            got = self.fit_seconds
            raise InputError("policy.fit_seconds", expected="a positive number", got=got)
        self._check_rows()
        for name in ("block_days", "false_alarm_days", "false_promotion_days", "rows_per_day"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"policy.{name}", expected="a positive number", got=value)
        names = [s.name for s in self.strategies]
        if len(set(names)) < len(names) or not names:
            raise InputError("policy.strategies", expected="one or more, named apart", got=names)

    def _check_rows(self) -> None:
        smallest = self.block or 1
        for name, least, got in (
            ("block", 1, self.block),
            ("false_alarms", smallest, self.false_alarms),
            ("false_promotions", smallest, self.false_promotions),
            ("hold", 10, self.hold),
            ("cooldown", 0, self.cooldown),
        ):
            if got is not None and got < least:
                raise InputError(f"policy.{name}", expected=f"at least {least} rows", got=got)
        if not 0 < self.false_promotion_chance < 1:
            chance = self.false_promotion_chance
            raise InputError("policy.false_promotions", expected="a chance in (0, 1)", got=chance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A named prediction problem.

    Parameters
    ----------
    classes
        The labels a classification may have, as text, in the order of the probabilities; empty
        for a regression.
    bound
        Regression only: the error that counts as a loss of 1; larger errors count as 1 too.
    learner
        Makes the first champion; the strategies name their own.
    """

    name: str
    kind: Literal["classification", "regression"]
    target: str
    features: tuple[Feature, ...]
    classes: tuple[str, ...] = ()
    bound: float = 1.0
    learner: Learner = field(default_factory=Learner)
    policy: Policy = field(default_factory=Policy)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a schema that could not be served."""
        where = f"models.{self.name}"
        names = [f.name for f in self.features]
        if not names or len(set(names)) < len(names):
            raise InputError(f"{where}.features", expected="one or more, named apart", got=names)
        if self.target in names:
            raise InputError(f"{where}.target", expected="no feature's name", got=self.target)
        if self.kind == "classification" and len(set(self.classes)) < 2:  # noqa: PLR2004
            raise InputError(
                f"{where}.classes", expected="two or more different classes", got=self.classes
            )
        if not 0 < self.bound < math.inf:
            raise InputError(f"{where}.bound", expected="a positive number", got=self.bound)

    @property
    def numeric(self) -> tuple[Feature, ...]:
        """Numeric features in the order of their columns."""
        return tuple(f for f in self.features if f.kind == "numeric")

    @property
    def categorical(self) -> tuple[Feature, ...]:
        """Categorical features in the order of their columns."""
        return tuple(f for f in self.features if f.kind == "categorical")

    def class_of(self, label: object) -> str | None:
        """Find the class that a label names, as text or as a number; None when it is none.

        1, 1.0, "1" and "1.0" name one class, however that is written: a table's reader turns
        whole numbers into fractions as soon as one value is missing.
        """
        text = str(label).lower() if isinstance(label, bool) else str(label)
        if text in self.classes:
            return text
        value = None if isinstance(label, bool) else number(text)
        equal = [c for c in self.classes if value is not None and number(c) == value]
        return equal[0] if len(equal) == 1 else None

    @property
    def width(self) -> int:
        """Numbers in one answer: a probability for each class, or the predicted value."""
        return len(self.classes) if self.kind == "classification" else 1
