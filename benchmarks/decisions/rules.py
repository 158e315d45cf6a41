"""When is a challenger promoted? Our gate, and what is usual.

Every rule takes (rows, worlds) differences, loss of the champion minus loss of the challenger, and
gives for each world the number of labels at which it promotes; ``NEVER`` where it does not.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from benchmarks.decisions.worlds import Floats
from continualml import decide
from continualml.evidence import fold, gate, growth
from continualml.evidence.loss import LossQuestion
from continualml.model import Feature, Model, Policy

Labels = NDArray[np.int64]
Rule = Callable[[Floats], Labels]
NEVER = np.iinfo(np.int64).max
ALPHA = Policy().false_promotion_chance
_BLOCKS = (1, 12, 24, 48)
WINDOW, EVERY = 200, 50
_PORTION = 2_000_000  # blocks of all worlds folded at once; more take too much memory
# What each place has of the product's promise when nothing is configured.
_ANY = Model(name="any", kind="regression", target="y", features=(Feature(name="x"),))
SHARES = dict(zip(decide.places(_ANY), decide.shares(_ANY), strict=True))


def questions(block: int, *, promise: gate.Promise, share: float) -> fold.Questions:
    """Ask what the loop asks, with a promise about the loss that no loss breaks."""
    quiet = LossQuestion(promised=0.999, budget=1e12, block=block)
    return fold.Questions(alarms=(quiet,), promotion=promise, shares=(share,))


def ours(difference: Floats, *, block: int, share: float) -> Labels:
    """Bet with the product's gate and default chance, of which the challenger has a share."""
    asked = questions(block, promise=gate.Chance(level=ALPHA), share=share)
    n = len(difference) // block
    found, worlds = [], max(1, _PORTION // n)
    for at in range(0, difference.shape[1], worlds):
        some = difference[: n * block, at : at + worlds]
        totals = some.reshape(n, block, -1).sum(axis=1)
        states = (gate.untouched(block),) * totals.shape[1]
        laid, moments = gate.bets(asked.promotion, states, totals, block=block)
        path = gate.path(states, growth.grown([laid])[0], moments, block=block)
        found.append(_first(path.wealth.mean(axis=2) >= asked.proofs[0], block))
    return np.concatenate(found)


def last_window(difference: Floats) -> Labels:
    """Promote when the challenger was more accurate on the newest 200 rows; look every 200."""
    n = len(difference) // WINDOW
    totals = difference[: n * WINDOW].reshape(n, WINDOW, -1).sum(axis=1)
    return _first(totals > 0, WINDOW)


def t_test(difference: Floats, *, every: int, alpha: float) -> Labels:
    """Promote when a one-sided paired t-test on all rows so far says so."""
    at = np.arange(every, len(difference) + 1, every)
    total = np.cumsum(difference, axis=0)[at - 1]
    squares = np.cumsum(difference**2, axis=0)[at - 1]
    n = at[:, None]
    spread = np.sqrt(np.maximum(squares - total**2 / n, 1e-12) / (n - 1))
    value = total / n / (spread / np.sqrt(n))
    return _first(value > student.ppf(1 - alpha, at - 1)[:, None], every)


def bonferroni(difference: Floats) -> Labels:
    """Repeat the t-test every 50 rows with alpha divided by the number of looks."""
    return t_test(difference, every=EVERY, alpha=ALPHA * EVERY / len(difference))


def once(difference: Floats) -> Labels:
    """Test once, at the end."""
    return t_test(difference, every=len(difference), alpha=ALPHA)


def _first(says_yes: NDArray[np.bool_], step: int) -> Labels:
    first = says_yes.argmax(axis=0)
    return np.where(says_yes.any(axis=0), (first + 1) * step, NEVER)


RULES: dict[str, Rule] = {
    **{f"ours, one challenger, block {b}": partial(ours, block=b, share=1.0) for b in _BLOCKS},
    "ours, default, the blend, block 48": partial(ours, block=48, share=SHARES["blend"]),
    "ours, default, any other, block 48": partial(ours, block=48, share=SHARES["previous"]),
    "better on the last 200 rows, every 200": last_window,
    "t-test every 50 rows": partial(t_test, every=EVERY, alpha=ALPHA),
    "t-test every 50 rows, alpha over looks": bonferroni,
    "t-test once, at the end": once,
}
