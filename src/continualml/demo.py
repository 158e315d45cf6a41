"""The built-in linear problem of ``/generate``: pure, from a seed, with drift on request."""

import numpy as np
from numpy.typing import NDArray

from continualml.model import Feature, Model, Policy
from continualml.records import Rows

_WEIGHTS = np.array([1.0, -1.0, 0.5, 0.0])
DEMO = Model(
    name="demo",
    kind="classification",
    target="y",
    classes=("no", "yes"),
    features=tuple(Feature(name=f"x{i}", nullable=False) for i in range(1, 5)),
    policy=Policy(block=1),
)


def generate(n: int, *, seed: int, noise: float, drift: float) -> tuple[Rows, NDArray[np.float64]]:
    """Draw rows whose class is the side of a plane that they lie on.

    Parameters
    ----------
    noise
        Standard deviation of what is added to the distance from the plane, >= 0.
    drift
        Radians by which the plane is turned; pi turns every label around.

    Returns
    -------
    n rows of four standard normal features, and (n,) indices of their classes.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, len(_WEIGHTS)))
    turned = np.array([_WEIGHTS[1], -_WEIGHTS[0], _WEIGHTS[3], -_WEIGHTS[2]])
    score = x @ (np.cos(drift) * _WEIGHTS + np.sin(drift) * turned)
    target = (score + noise * rng.standard_normal(n) > 0).astype(np.float64)
    return Rows(numeric=x, categorical=np.empty((n, 0), dtype=object)), target
