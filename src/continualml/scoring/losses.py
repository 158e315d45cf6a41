"""What an answer costs once the truth is known."""

import numpy as np
from numpy.typing import NDArray

from continualml.model import Model


def loss(
    model: Model, answer: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Brier loss of probabilities, or scaled quadratic loss of values, each in [0, 1].

    Parameters
    ----------
    answer
        (n, model.width) probabilities in the order of the classes, or values.
    target
        (n,) index of the class, or the value.

    Returns
    -------
    (n,) half of the squared distance to the truth's corner (classification; for two classes the
    square of the wrong probability), or (error / bound)^2 cut off at 1 (regression).
    """
    if model.kind == "regression":
        squares: NDArray[np.float64] = ((answer[:, 0] - target) / model.bound) ** 2
        return np.minimum(squares, 1.0)
    distance = answer.copy()
    distance[np.arange(len(target)), target.astype(np.intp)] -= 1.0
    halves: NDArray[np.float64] = np.einsum("ij,ij->i", distance, distance) / 2
    return np.minimum(halves, 1.0)


def wrong(
    model: Model, answer: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(n,) True where the likeliest class is not the label, or the error exceeds the bound."""
    if model.kind == "regression":
        return np.abs(answer[:, 0] - target) > model.bound
    likeliest: NDArray[np.intp] = answer.argmax(axis=1)
    return np.not_equal(likeliest, target)
