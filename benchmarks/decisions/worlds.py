"""Made rows that stay as they are, and then change: losses of a model, or ten features."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Floats = NDArray[np.float64]
Kind = Literal["losses", "features"]
LEVEL, FEATURES = 0.15, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where rows come from.

    Parameters
    ----------
    kind
        ``losses``: (n,) errors, 1 with chance .15. ``features``: (n, 10) standard normal columns.
    rho
        Correlation of a row with the row before it, in [0, 1).
    """

    kind: Kind
    rho: float

    @property
    def changes(self) -> tuple[float, ...]:
        """Sizes of a change: the new error rate, or the shift of the first column in sd."""
        return (0.20, 0.25, 0.30) if self.kind == "losses" else (0.5, 1.0)

    def quiet(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw n rows without a change."""
        return self._losses(rng, n, LEVEL) if self.kind == "losses" else self._features(rng, n)

    def changed(self, rng: np.random.Generator, n: int, size: float) -> Floats:
        """Draw n rows after a change."""
        if self.kind == "losses":
            return self._losses(rng, n, size)
        rows = self._features(rng, n)
        rows[:, 0] += size
        return rows

    def _losses(self, rng: np.random.Generator, n: int, level: float) -> Floats:
        return in_runs(rng, (rng.random(n) < level).astype(float), self.rho)

    def _features(self, rng: np.random.Generator, n: int) -> Floats:
        shocks = rng.normal(size=(n, FEATURES)) * np.sqrt(1 - self.rho**2)
        shocks[0] /= np.sqrt(1 - self.rho**2)
        rows: Floats = lfilter([1.0], [1.0, -self.rho], shocks, axis=0)
        return rows


def in_runs(rng: np.random.Generator, rows: Floats, rho: float) -> Floats:
    """Let each row repeat the one before with chance ``rho``, which is then their correlation."""
    fresh = rng.random(len(rows)) >= rho
    fresh[0] = True
    return rows[np.maximum.accumulate(np.where(fresh, np.arange(len(rows)), 0))]
