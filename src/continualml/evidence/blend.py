"""The blend: how much each member counts, by what it lost so far (fixed share)."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from continualml.errors import InputError

ETA = 0.5
SHARE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Who counts how much; the weights are positive and sum to 1, and both are empty at first."""

    names: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()


def among(state: Weights, names: tuple[str, ...]) -> Weights:
    """Go on with these members: who is new gets an equal part, who stays keeps its proportion."""
    known = dict(zip(state.names, state.weights, strict=True))
    kept = math.fsum(known[n] for n in names if n in known)
    n_new = sum(n not in known for n in names)
    old_part = (1 - n_new / len(names)) / kept if kept else 0.0
    weights = [known[n] * old_part if n in known else 1 / len(names) for n in names]
    return Weights(names=names, weights=tuple(w / math.fsum(weights) for w in weights))


def step(state: Weights, loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """Update the weights row by row.

    Parameters
    ----------
    loss
        (n, members) each member's Brier or quadratic loss on each row, in [0, 1].

    Returns
    -------
    (n + 1, members) the weights that each row meets, those before its own label is known; in the
    end those after the last row.

    Raises
    ------
    InputError
        If a loss lies outside [0, 1] or the members do not fit.

    Notes
    -----
    Fixed share (Herbster and Warmuth 1998): ``w_j <- w_j exp(-eta loss_j)``, normalised, then
    ``w_j <- (1 - share) w_j + share / J``. The square of an error in [0, 1] is exp-concave with
    eta 1/2, so the loss of the *mean* answer (Kivinen and Warmuth 1999) exceeds that of the best
    sequence of members with k switches over n rows by at most ``regret_bound``; with labels that
    come d rows late by at most (d + 1) times that. Scalars are multiplied one row after the
    other, so that the result is the same for every way to cut the rows.
    """
    j = len(state.names)
    if loss.ndim != 2 or loss.shape[1] != j or not j:  # noqa: PLR2004  rows by members
        raise InputError("loss", expected=f"rows by {j} members", got=loss.shape)
    if outside := loss[~((loss >= 0) & (loss <= 1))].tolist():
        raise InputError("loss", expected="a loss in [0, 1]", got=outside[0])
    path = [state.weights]
    share, exp = SHARE / j, math.exp
    for row in loss.tolist():
        grown = [w * exp(-ETA * x) for w, x in zip(path[-1], row, strict=True)]
        scale = (1 - SHARE) / sum(grown)
        path.append(tuple([g * scale + share for g in grown]))
    return np.array(path)


def mixed(weights: NDArray[np.float64], answers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean answer of the members.

    Parameters
    ----------
    weights
        (n, members) for each row, or (members,) for all of them.
    answers
        (n, members, width).

    Returns
    -------
    (n, width), summed member by member, so that a row's answer depends on that row alone.
    """
    total = np.zeros((len(answers), answers.shape[2]))
    for j in range(answers.shape[1]):
        total += weights[..., j, None] * answers[:, j]
    return total


def regret_bound(members: int, switches: int, rows: int) -> float:
    """Bound the loss of the blend above that of the best sequence of members.

    Parameters
    ----------
    members
        At least 2.
    switches
        How often the sequence that is compared with changes its member, in [0, rows).

    Notes
    -----
    ``(1/eta) (ln J - k ln(share / J) - (n - 1 - k) ln(1 - share + share / J))``: the cost of the
    prior that fixed share gives to such a sequence (Herbster and Warmuth 1998, section 6).
    """
    stay, move = 1 - SHARE + SHARE / members, SHARE / members
    cost = -switches * math.log(move) - (rows - 1 - switches) * math.log(stay)
    return (math.log(members) + cost) / ETA
