"""A linear problem of known difficulty that can be made to drift: for /generate and for tests."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from continualml.errors import InputError
from continualml.model import Feature, Model
from continualml.records import Rows

_N_FEATURES: Final = 8

DEMO: Final = Model(
    name="demo",
    kind="classification",
    target="label",
    features=tuple(Feature(name=f"x{j}", nullable=False) for j in range(1, _N_FEATURES + 1)),
    classes=("no", "yes"),
)

# Two directions at a right angle; what is learned of one says nothing about the other.
_BEFORE: Final = np.array([2.0, 2.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]) / math.sqrt(10)
_AFTER: Final = np.array([0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 1.0, 1.0]) / math.sqrt(10)


def generate(
    n: int, seed: int, noise: float = 0.25, drift: float = 0.0
) -> tuple[Rows, NDArray[np.float64]]:
    """Make labelled rows: "yes" where a weighted sum of the features plus noise is positive.

    Parameters
    ----------
    n
        Rows, at least 1.
    seed
        The same numbers make the same rows, on every machine with the same NumPy.
    noise
        Standard deviation of what no model can know, in units of the weighted sum's; the best
        possible accuracy is ``1 - atan(noise) / pi``: 0.92 at 0.25.
    drift
        How far the weights have turned, in right angles: at 0 the problem as it began, at 1 all
        that was learned is worthless (accuracy 0.5), at 2 the labels have changed places.

    Returns
    -------
    The rows of :data:`DEMO`, and their targets: (n,) index into its classes.

    Raises
    ------
    InputError
        If a number is out of its range.
    """
    if n < 1:
        raise InputError("n", expected="at least 1 row", got=n)
    if seed < 0:
        raise InputError("seed", expected="0 or more", got=seed)
    if not 0 <= noise < math.inf:
        raise InputError("noise", expected="a finite number, 0 or more", got=noise)
    if not -math.inf < drift < math.inf:
        raise InputError("drift", expected="a finite number of right angles", got=drift)
    chance = np.random.default_rng(seed)
    numeric = chance.standard_normal((n, _N_FEATURES))
    angle = drift * math.pi / 2
    score = numeric @ (math.cos(angle) * _BEFORE + math.sin(angle) * _AFTER)
    target = (score + noise * chance.standard_normal(n) > 0).astype(np.float64)
    return Rows(numeric=numeric, categorical=np.empty((n, 0), dtype=object)), target
