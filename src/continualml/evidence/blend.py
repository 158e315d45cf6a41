"""The blend: how much each member counts, by what it lost so far (fixed share, learnt rate)."""

import math
from dataclasses import dataclass
from operator import mul

import numpy as np
from numpy.typing import NDArray

from continualml.errors import InputError

ETA = 0.5
# How often the best member may change is not known: once in some 1,000 rows, or in 100.
SHARES = (0.001, 0.01)
# A rate that did badly so far gets a little of the others' weight back with each row.
_RATE_SHARE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Who counts how much.

    ``parts`` are positive and sum to 1: for each of ``SHARES`` the weights of the members under
    it; no part and no name is there at first.
    """

    names: tuple[str, ...] = ()
    parts: tuple[tuple[float, ...], ...] = ((),) * len(SHARES)

    @property
    def weights(self) -> tuple[float, ...]:
        """How much each member counts: the sum of its parts."""
        weights = self.parts[0]
        for part in self.parts[1:]:  # one after the other, as ``step`` sums them
            weights = tuple([a + b for a, b in zip(weights, part, strict=True)])
        return weights


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsPath:
    """Weights before each of n rows and after the last.

    ``weights`` is (n + 1, members), ``parts`` (n + 1, shares, members).
    """

    weights: NDArray[np.float64]
    parts: NDArray[np.float64]

    def after(self, before: Weights, n: int) -> Weights:
        """Weights after the first n rows."""
        return Weights(names=before.names, parts=tuple(map(tuple, self.parts[n].tolist())))


def among(state: Weights, names: tuple[str, ...]) -> Weights:
    """Go on with these members: who is new gets an equal part, who stays keeps its proportion."""
    n_new = sum(n not in state.names for n in names)
    parts = []
    for part in state.parts:
        known = dict(zip(state.names, part, strict=True))
        whole = math.fsum(part) or 1 / len(SHARES)
        kept = math.fsum(known[n] for n in names if n in known)
        old_part = (1 - n_new / len(names)) * whole / kept if kept else 0.0
        equal = whole / len(names)
        parts.append([known[n] * old_part if n in known else equal for n in names])
    total = math.fsum(w for part in parts for w in part)
    return Weights(names=names, parts=tuple(tuple([w / total for w in part]) for part in parts))


def step(state: Weights, loss: NDArray[np.float64]) -> WeightsPath:
    """Update the weights row by row.

    Parameters
    ----------
    loss
        (n, members) each member's Brier or quadratic loss on each row, in [0, 1].

    Returns
    -------
    The weights that each row meets, those before its own label is known; in the end those after
    the last row.

    Raises
    ------
    InputError
        If a loss lies outside [0, 1] or the members do not fit.

    Notes
    -----
    Fixed share (Herbster and Warmuth 1998) under each of ``SHARES``: ``w_j <- w_j exp(-eta
    loss_j)``, then ``w_j <- (1 - share) w_j + share / J`` times the part's sum. The parts are
    not normalised one by one, so that each grows with what its own mean answer would have
    earned: a mean over the rates of change by Bayes' rule. The square of an error in [0, 1] is
    exp-concave with eta 1/2, so the loss of the *mean* answer (Kivinen and Warmuth 1999) exceeds
    that of the best sequence of members with k switches over n rows by at most ``regret_bound``;
    with labels that come d rows late by at most (d + 1) times that. Scalars are multiplied one
    row after the other, so that the result is the same for every way to cut the rows.
    """
    j = len(state.names)
    if loss.ndim != 2 or loss.shape[1] != j or not j:  # noqa: PLR2004  rows by members
        raise InputError("loss", expected=f"rows by {j} members", got=loss.shape)
    if outside := loss[~((loss >= 0) & (loss <= 1))].tolist():
        raise InputError("loss", expected="a loss in [0, 1]", got=outside[0])
    rates = [((1 - share) * (1 - _RATE_SHARE), share / j * (1 - _RATE_SHARE)) for share in SHARES]
    back = _RATE_SHARE / (j * len(SHARES))
    factors = list(map(math.exp, (-ETA * loss).ravel().tolist()))
    now = [list(part) for part in state.parts]
    path = [w for part in now for w in part]
    for at in range(0, len(factors), j):
        factor = factors[at : at + j]
        earned = [list(map(mul, part, factor)) for part in now]
        wholes = [sum(part) for part in earned]
        scale = 1 / sum(wholes)
        now = []
        for part, whole, (stay, move) in zip(earned, wholes, rates, strict=True):
            kept, moved = stay * scale, move * whole * scale + back
            after = [w * kept + moved for w in part]
            now.append(after)
            path += after
    parts = np.array(path).reshape(-1, len(SHARES), j)
    weights = parts[:, 0].copy()
    for k in range(1, len(SHARES)):
        weights += parts[:, k]
    return WeightsPath(weights=weights, parts=parts)


def standing_still(state: Weights, n: int) -> WeightsPath:
    """Let n rows pass that teach nothing."""
    return WeightsPath(
        weights=np.tile(state.weights, (n + 1, 1)), parts=np.tile(state.parts, (n + 1, 1, 1))
    )


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
    For the best of the shares, ``(1/eta) (ln J - k ln(share / J) - (n - 1 - k) ln(1 - share +
    share / J))``: the cost of the prior that fixed share gives to such a sequence (Herbster and
    Warmuth 1998, section 6); and ``(1/eta) (ln S - n ln(1 - rate_share))`` for not knowing which
    of the S shares is the best, and for never giving one up.
    """
    choice = math.log(len(SHARES)) - rows * math.log(1 - _RATE_SHARE)
    return (choice + min(_cost(s, members, switches, rows) for s in SHARES)) / ETA


def _cost(share: float, members: int, switches: int, rows: int) -> float:
    stay, move = 1 - share + share / members, share / members
    return math.log(members) - switches * math.log(move) - (rows - 1 - switches) * math.log(stay)
