"""What stood when: values that go on with each labelled row, ever fewer the longer ago they were.

A row is judged as it was served: by what stood when it was observed, whatever was learnt while its
label was awaited.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FINENESS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """Values after some of the ``rows`` labelled rows since it began.

    After ``at[i]`` of them, the last one numbered ``seq[i]``, ``values[i]`` stood; the first is
    what it began with. Of m rows some ``8 log2(m)`` are kept.
    """

    rows: int = 0
    at: tuple[int, ...] = ()
    seq: tuple[int, ...] = ()
    values: tuple[tuple[float, ...], ...] = ()

    def after(self, seq: NDArray[np.int64], path: NDArray[np.float64], n: int) -> "Trail":
        """Go on over the first n rows; ``path`` is (more than n, width), values after each row."""
        at, numbers, values = self._with(seq[:n], path[: n + 1])
        kept = _kept(at, np.array(self.rows + n))
        return Trail(
            rows=self.rows + n,
            at=tuple(at[kept].tolist()),
            seq=tuple(numbers[kept].tolist()),
            values=tuple(map(tuple, values[kept].tolist())),
        )

    def stood(
        self, seq: NDArray[np.int64], path: NDArray[np.float64], observed: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Say what stood when each of the next n rows was observed.

        Parameters
        ----------
        seq, observed
            (n,) the rows' numbers, and those of their observations.
        path
            (n + 1, width) values before the first row and after each.

        Returns
        -------
        (n, width) the values after the newest label that came before the observation; where that
        is kept no more, after one before it: by a sixth of the delay at most.
        And (n,) whether there was a value at that time (else: what it began with).
        """
        at, numbers, values = self._with(seq, path)
        found = np.searchsorted(numbers, observed) - 1
        there, found = found >= 0, np.maximum(found, 0)
        now = self.rows + np.arange(len(seq))
        # A row must find the same however rows are cut, so: as if it had come alone.
        while (gone := ~_kept(at[found], now)).any():
            found -= gone
        return values[found], there

    def _with(
        self, seq: NDArray[np.int64], path: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        return (
            np.concatenate((self.at, self.rows + 1 + np.arange(len(seq)))).astype(np.int64),
            np.concatenate((self.seq, seq)).astype(np.int64),
            np.concatenate((np.array(self.values).reshape(-1, path.shape[1]), path[1:])),
        )


def begun(seq: int, value: tuple[float, ...]) -> Trail:
    """Begin with a value that stands from the number ``seq`` on."""
    return Trail(at=(0,), seq=(seq,), values=(value,))


def _kept(at: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether it is still kept: the first, and multiples of a power of two that grows with age."""
    kept: NDArray[np.bool_] = (at == 0) | ((at & -at) * _FINENESS >= rows - at)
    return kept
