"""Which earlier version fits now: the one that lost least lately, chosen before each row."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A version that fits again leads after some dozens of rows, and chance seldom makes it lead.
FORGETTING = 0.97


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """Forgetting mean loss of each earlier version, by its number."""

    versions: tuple[int, ...] = ()
    loss: tuple[float, ...] = ()

    @property
    def leader(self) -> int | None:
        """The version that would be recalled now; None without any."""
        if not self.versions:
            return None
        return self.versions[self.loss.index(min(self.loss))]


def step(state: Recalled, loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """Follow the losses row by row.

    Parameters
    ----------
    loss
        (n, versions) losses in [0, 1].

    Returns
    -------
    (n + 1, versions) forgetting mean losses before each row and after the last; the least leads.
    """
    path = [state.loss]
    for row in loss.tolist():
        last = zip(path[-1], row, strict=True)
        path.append(tuple([FORGETTING * m + (1 - FORGETTING) * x for m, x in last]))
    return np.array(path)
