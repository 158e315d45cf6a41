import numpy as np
import pytest
from scipy.stats import binom

from continualml.evidence import confidence


@pytest.mark.claim
def test_the_true_mean_leaves_the_sequence_seldom_however_often_one_looks() -> None:
    # Skewed on purpose: mean 0.1 of a distribution over [0, 1]. An interval for one time, looked
    # at 400 times, would lose it in about half of the streams.
    rng, streams, alpha = np.random.default_rng(11), 2_000, 0.05
    lost = 0
    for _ in range(streams):
        means = rng.beta(1, 9, size=(400, 12)).mean(axis=1)
        _, low, high = confidence.sequence(means, alpha=alpha)
        known = np.isfinite(low)
        lost += bool(((low[known] > 0.1) | (high[known] < 0.1)).any())
    assert lost <= binom.ppf(1 - 1e-6, streams, alpha)
    assert lost > 0


def test_it_narrows_as_blocks_come_and_says_nothing_of_the_first_few() -> None:
    means = np.random.default_rng(3).normal(0.2, 0.1, 500)

    mean, low, high = confidence.sequence(means, alpha=0.05)

    assert mean[-1] == pytest.approx(means.mean())
    assert np.isnan(low[: confidence.FEWEST - 1]).all()
    width = (high - low)[confidence.FEWEST - 1 :]
    assert width[-1] < width[50] < width[0]
    assert np.isfinite(width).all()
