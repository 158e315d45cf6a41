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
ALPHA = 0.05
WINDOW, EVERY = 200, 50
_PORTION = 2_000_000  # blocks of all worlds folded at once; more take too much memory
# How many challengers share the product's budget when nothing is configured.
PLACES = len(
    decide.places(
        Model(
            name="any",
            kind="regression",
            target="y",
            features=(Feature(name="x"),),
        )
    )
)


def questions(block: int, *, budget: float, challengers: int) -> fold.Questions:
    """Ask what the loop asks, with a promise that no loss breaks."""
    quiet = LossQuestion(promised=0.999, budget=1e12, block=block)
    return fold.Questions(alarms=(quiet,), promotions=budget, challengers=challengers)


def ours(difference: Floats, *, block: int, budget: float, challengers: int) -> Labels:
    """Bet with the product's gate; promote when its evidence reaches the product's threshold."""
    proof = questions(block, budget=budget, challengers=challengers).proof
    n = len(difference) // block
    found, worlds = [], max(1, _PORTION // n)
    for at in range(0, difference.shape[1], worlds):
        some = difference[: n * block, at : at + worlds]
        totals = some.reshape(n, block, -1).sum(axis=1)
        laid, moments = gate.bets((gate.untouched(block),) * totals.shape[1], totals)
        path = gate.path(growth.grown([laid])[0], moments)
        found.append(_first(path.wealth.mean(axis=2) >= proof, block))
    return np.concatenate(found)


def at_alpha(difference: Floats, *, block: int) -> Labels:
    """Give our gate the budget with which it errs with chance at most .05 within these rows.

    The statistic has a mean of at most the number of blocks, so that it reaches N within n blocks
    with chance at most n / N (Doob).
    """
    return ours(difference, block=block, budget=len(difference) / ALPHA, challengers=1)


def standing(difference: Floats, *, block: int) -> Labels:
    """Give our gate the product's default budget, shared by all places, one of them challenging."""
    budget = Policy().false_promotions
    return ours(difference, block=block, budget=budget, challengers=PLACES)


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
    **{f"ours at alpha .05, block {b}": partial(at_alpha, block=b) for b in (1, 12, 24, 48)},
    **{f"ours, standing default, block {b}": partial(standing, block=b) for b in (1, 48)},
    "better on the last 200 rows, every 200": last_window,
    "t-test every 50 rows": partial(t_test, every=EVERY, alpha=ALPHA),
    "t-test every 50 rows, alpha over looks": bonferroni,
    "t-test once, at the end": once,
}
