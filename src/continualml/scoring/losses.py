"""What an answer costs once the truth is known; every loss lies in [0, 1]."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from continualml.model import Model

Floats = NDArray[np.float64]

# A probability below this one costs as much as this one: log loss has no largest value.
_LEAST: Final = 0.01
_METRICS: Final = {
    "classification": ("brier", "error_rate", "log_loss"),
    "regression": ("quadratic", "absolute"),
}


def metrics(model: Model) -> tuple[str, ...]:
    """Name the losses that are watched; the first is the one that versions are compared by."""
    return _METRICS[model.kind]


def loss(model: Model, answer: Floats, target: Floats) -> Floats:
    """Brier loss of probabilities, or quadratic loss of values: what versions are compared by.

    Parameters
    ----------
    answer
        (n, model.width) probabilities in the order of the classes, or values.
    target
        (n,) index of the class, or the value.

    Returns
    -------
    (n,) half of the squared distance to the truth's corner (classification; for two classes the
    square of the wrong probability), or (error / bound)^2 cut off at 1 (regression). An answer
    that is not a number costs 1.
    """
    if model.kind == "regression":
        squares: Floats = ((answer[:, 0] - target) / model.bound) ** 2
        return _at_most_one(squares)
    # Column by column: a row's loss must not depend on how many rows come with it.
    total = np.zeros(len(target))
    for k in range(answer.shape[1]):
        total += (answer[:, k] - (target == k)) ** 2
    return _at_most_one(total / 2)


def wrong(model: Model, answer: Floats, target: Floats) -> NDArray[np.bool_]:
    """(n,) True where the likeliest class is not the label, or the error exceeds the bound."""
    if model.kind == "regression":
        return ~(np.abs(answer[:, 0] - target) <= model.bound)
    likeliest: NDArray[np.intp] = answer.argmax(axis=1)
    return np.not_equal(likeliest, target) | np.isnan(answer[:, 0])


def measured(model: Model, metric: str, answer: Floats, target: Floats) -> Floats:
    """(n,) losses in one of ``metrics(model)``.

    ``log_loss`` is -ln(probability of the label), cut off at that of 0.01 and divided by it;
    ``absolute`` is |error| / bound cut off at 1.
    """
    if metric in {"brier", "quadratic"}:
        return loss(model, answer, target)
    if metric == "error_rate":
        return wrong(model, answer, target).astype(np.float64)
    if metric == "absolute":
        return _at_most_one(np.abs(answer[:, 0] - target) / model.bound)
    said = answer[np.arange(len(target)), target.astype(np.intp)]
    return _at_most_one(np.log(np.clip(said, _LEAST, 1.0)) / math.log(_LEAST))


def _at_most_one(cost: Floats) -> Floats:
    return np.fmin(cost, 1.0)
