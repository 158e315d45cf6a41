"""Streams whose drift is known, and how well a policy did on one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from continualml.errors import InputError
from continualml.model import Feature, Model, Policy
from continualml.records import Rows

Kind = Literal["none", "abrupt", "gradual", "recurring", "covariate", "label_fault", "broken_feed"]
LabelFault = Literal["flipped", "constant"]
FeedFault = Literal["missing", "constant", "unit"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FAULTS: tuple[Kind, ...] = ("label_fault", "broken_feed")

# With this slope the best possible accuracy is about .87; a regression's noise explains a tenth.
_SLOPE = 4.0
_NOISE = 1 / 3
_UNIT = 1_000.0
_FEWEST_ROWS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From ``row`` to before ``until`` (places in the stream, from 0) the world is another one.

    While a gradual change is under way its rows lie between the worlds; it ends with the stream,
    as every change that is not taken back.
    """

    row: int
    kind: Kind
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Rows in time order with their labels.

    ``target`` (n,) is what the labels say (a class's index, or the value), ``truth`` (n,) what
    they would say without a label fault.
    """

    model: Model
    rows: Rows
    target: NDArray[np.float64]
    truth: NDArray[np.float64]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a policy did on a stream.

    Parameters
    ----------
    false_alarms
        Alarms while no change was in force, nor had just ended.
    delays
        For each change, the rows until the first alarm in its time; None where there was none.
    promotions, promotions_in_faults
        All of them, and those while labels or a column were broken, when nothing can be learned.
    accuracy, accuracy_after
        Share of right answers in the whole stream, and in each change's time.
    """

    false_alarms: int
    delays: tuple[int | None, ...]
    promotions: int
    promotions_in_faults: int
    accuracy: float
    accuracy_after: tuple[float, ...]


def stream(
    kind: Kind,
    n: int,
    rng: np.random.Generator,
    *,
    task: Literal["classification", "regression"] = "classification",
    n_features: int = 8,
    turn: float = np.pi / 2,
    shift: float = 1.5,
    label_fault: LabelFault = "flipped",
    feed_fault: FeedFault = "missing",
    policy: Policy | None = None,
) -> Stream:
    """Draw a stream of standard normal features and a linear truth, and change it as ``kind`` says.

    The same generator draws the same rows for every kind: they differ from the change on only.

    Parameters
    ----------
    n
        Rows, at least 100.
    turn
        Radians by which the truth's weights turn (abrupt, gradual, recurring); at pi / 2 the new
        weights know nothing of the old ones, at pi every label is turned around.
    shift
        Standard deviations by which the first half of the features moves (covariate); the law of
        the label for given features stays.
    label_fault
        ``flipped`` turns the labels of a span around, ``constant`` says the first class, or 0.
    feed_fault
        What the most telling column is in a span: ``missing``, ``constant``, or in another unit
        (1,000 times as large).

    Raises
    ------
    InputError
        If ``kind`` is unknown, or there are too few rows or features.
    """
    if kind not in KINDS:
        raise InputError("kind", expected=f"one of {list(KINDS)}", got=kind)
    if n < _FEWEST_ROWS:
        raise InputError("n", expected=f"at least {_FEWEST_ROWS} rows", got=n)
    if n_features < 2:  # noqa: PLR2004  a plane to turn in
        raise InputError("n_features", expected="at least 2", got=n_features)
    plane, _ = np.linalg.qr(rng.standard_normal((n_features, 2)))
    x, luck = rng.standard_normal((n, n_features)), rng.random(n)
    changes = _changes(kind, n)
    if kind == "covariate":
        x[changes[0].row :, : n_features // 2] += shift
    angle = turn * _progress(kind, n, changes)
    signal = np.einsum("ij,ij->i", x @ plane, np.column_stack((np.cos(angle), np.sin(angle))))
    if task == "classification":
        truth = (luck < 1 / (1 + np.exp(-_SLOPE * signal))).astype(np.float64)
    else:
        truth = signal + _NOISE * np.sqrt(12) * (luck - 0.5)
    target = truth.copy()
    if kind == "label_fault":
        span = slice(changes[0].row, changes[0].until)
        turned = 1 - truth[span] if task == "classification" else -truth[span]
        target[span] = turned if label_fault == "flipped" else 0.0
    if kind == "broken_feed":
        _break(x, int(np.abs(plane[:, 0]).argmax()), changes[0], feed_fault)
    return Stream(
        model=_model(task, n_features, policy or Policy()),
        rows=Rows(numeric=x, categorical=np.empty((n, 0), dtype=object)),
        target=target,
        truth=truth,
        changes=changes,
    )


def score(
    made: Stream,
    alarms: Sequence[int],
    promotions: Sequence[int],
    correct: NDArray[np.bool_],
    *,
    grace: int = 500,
) -> Score:
    """Hold what a policy did against what really happened.

    Parameters
    ----------
    alarms, promotions
        Rows (places in the stream, from 0) at which they happened.
    correct
        (n,) whether the champion's answer was the truth, for every row.
    grace
        Rows after the end of a change in which an alarm may still speak of it, or of its end.

    Raises
    ------
    InputError
        If ``correct`` does not fit the stream, or a row is not one of its.
    """
    n = len(made.target)
    if correct.shape != (n,):
        raise InputError("correct", expected=f"shape ({n},)", got=correct.shape)
    if outside := [r for r in (*alarms, *promotions) if not 0 <= r < n]:
        raise InputError("alarms, promotions", expected=f"rows in [0, {n})", got=outside[0])
    begins = [c.row for c in made.changes]
    heard = [_until(c.until + grace, begins[i + 1 :]) for i, c in enumerate(made.changes)]
    of_change = [
        sorted(a for a in alarms if c.row <= a < end)
        for c, end in zip(made.changes, heard, strict=True)
    ]
    return Score(
        false_alarms=len(alarms) - sum(map(len, of_change)),
        delays=tuple(
            found[0] - c.row if found else None
            for c, found in zip(made.changes, of_change, strict=True)
        ),
        promotions=len(promotions),
        promotions_in_faults=sum(
            c.row <= p < c.until for p in promotions for c in made.changes if c.kind in FAULTS
        ),
        accuracy=float(correct.mean()),
        accuracy_after=tuple(float(correct[c.row : c.until].mean()) for c in made.changes),
    )


def _changes(kind: Kind, n: int) -> tuple[Change, ...]:
    """Say when the world is another one: each quarter, from the middle on, or for a tenth."""
    if kind == "none":
        return ()
    if kind == "recurring":
        return tuple(Change(row=n * q // 4, kind=kind, until=n * (q + 1) // 4) for q in (1, 2, 3))
    begin = n // 3 if kind == "gradual" else n // 2
    return (Change(row=begin, kind=kind, until=begin + n // 10 if kind in FAULTS else n),)


def _progress(kind: Kind, n: int, changes: tuple[Change, ...]) -> NDArray[np.float64]:
    """(n,) how far the truth has turned, from 0 to 1."""
    place, there = np.arange(n), np.zeros(n)
    if kind == "abrupt":
        there[changes[0].row :] = 1
    elif kind == "gradual":  # it takes a third of the stream
        there = np.clip((place - changes[0].row) / (n // 3), 0, 1)
    elif kind == "recurring":
        for c in changes[::2]:
            there[c.row : c.until] = 1
    return there


def _break(x: NDArray[np.float64], column: int, change: Change, fault: FeedFault) -> None:
    broken = x[change.row : change.until, column]
    if fault == "missing":
        broken[:] = np.nan
    elif fault == "constant":
        broken[:] = broken[0]
    else:
        broken *= _UNIT


def _until(end: int, later: list[int]) -> int:
    return min(end, later[0]) if later else end


def _model(task: Literal["classification", "regression"], n_features: int, policy: Policy) -> Model:
    model = Model(
        name="simulated",
        kind="classification",
        target="y",
        classes=("no", "yes"),
        features=tuple(Feature(name=f"x{i}") for i in range(1, n_features + 1)),
        policy=policy,
    )
    if task == "classification":
        return model
    return replace(model, kind="regression", classes=(), bound=3.0)
