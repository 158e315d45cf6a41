"""Who stood for a strategy when: a row is judged by the version that it would have met."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from continualml.decide.standing import Standing, Stood, watched
from continualml.model import Model

# Of two versions of a strategy that came close after each other, as seen from now, one goes.
_CLOSE = 0.1


def lined_up(line: tuple[Stood, ...], new: Stood) -> tuple[Stood, ...]:
    """Add the newest version; of the others keep ever fewer, so that the line stays short."""
    kept: list[Stood] = []
    line = (*line, new)
    for s, after in pairwise(line):
        gap = after.through - kept[-1].through if kept else 0
        if not kept or gap > _CLOSE * (new.through - after.through):
            kept.append(s)
    return (*kept, new)


def stood(
    state: Standing, version: int, observed: NDArray[np.int64]
) -> list[tuple[int, NDArray[np.bool_]]]:
    """Say who stood in a version's place when each of n rows was observed: versions, which rows.

    For a row that is older than the whole line it is the first of it, which proves nothing.
    """
    line = state.line_of(version)
    if len(line) < 2:  # noqa: PLR2004  nobody stood there before
        return [(version, np.ones(len(observed), dtype=np.bool_))]
    at = np.maximum(np.searchsorted([s.through for s in line], observed) - 1, 0)
    return [(line[k].version, at == k) for k in np.unique(at).tolist()]


def asked(
    model: Model, state: Standing, observed: NDArray[np.int64]
) -> dict[int, NDArray[np.bool_]]:
    """Say which versions are to answer which of n rows: all that are watched, and who stood before.

    Those that are watched answer every row: what is trained since then tells what labels are
    like, even where it is no proof.
    """
    there = watched(model, state)
    found = {version: np.ones(len(observed), dtype=np.bool_) for version in there}
    for version in there:
        for who, rows in stood(state, version, observed):
            found[who] = found.get(who, False) | rows
    return found
