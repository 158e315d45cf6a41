import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from continualml.errors import InputError
from continualml.evidence.loss import LossQuestion, step, untouched

QUESTION = LossQuestion(promised=0.15, budget=400, block=6)


@given(seed=st.integers(0, 10_000), cut=st.integers(0, 300))
def test_it_does_not_matter_how_the_rows_are_cut(seed: int, cut: int) -> None:
    seq, loss = np.arange(1, 301), np.random.default_rng(seed).random(300) * 0.5
    start = untouched(QUESTION, seq=0)

    whole, alarms = step(QUESTION, start, seq, loss)
    half, first = step(QUESTION, start, seq[:cut], loss[:cut])
    halves, second = step(QUESTION, half, seq, loss)  # the first rows come twice

    assert (halves, first + second) == (whole, alarms)  # equal, not close: law 1


@pytest.mark.claim
@pytest.mark.parametrize("block", [1, 24])
def test_false_alarms_stay_within_the_budget_at_the_edge_of_the_promise(block: int) -> None:
    # The statistic has mean <= number of blocks, so by Doob's inequality it reaches its threshold
    # within n rows with chance <= n / budget. A threshold a tenth as high would break this.
    streams, budget, rows = 400, 4_800.0, 480
    question = LossQuestion(promised=0.15, budget=budget, block=block)
    rng = np.random.default_rng(1)
    alarmed = 0
    for _ in range(streams):
        loss = (rng.random(rows) < 0.15).astype(float)
        alarmed += bool(step(question, untouched(question, seq=0), np.arange(1, rows + 1), loss)[1])
    assert alarmed <= binom.ppf(1 - 1e-6, streams, rows / budget)


@pytest.mark.claim
def test_a_doubled_loss_is_found_and_its_beginning_is_named() -> None:
    question = LossQuestion(promised=0.15, budget=10_000, block=1)
    rng = np.random.default_rng(2)
    delay, error = [], []
    for _ in range(200):
        loss = (rng.random(3_000) < np.where(np.arange(3_000) < 500, 0.15, 0.30)).astype(float)
        _, alarms = step(question, untouched(question, seq=0), np.arange(3_000) + 1, loss)
        late = [a for a in alarms if a.seq > 500]
        delay.append(late[0].seq - 500)
        error.append(late[0].began - 501)
    # The design's own simulation measured a mean delay of 68 rows and a median error of +4; a
    # median beyond 100, or 30 from the change, means that bets or excursions are wrong.
    assert np.median(delay) <= 100
    assert abs(np.median(error)) <= 30


def test_a_loss_outside_its_range_is_refused_by_name() -> None:
    with pytest.raises(InputError) as caught:
        step(QUESTION, untouched(QUESTION, seq=0), np.array([1, 2]), np.array([0.5, np.nan]))
    assert str(caught.value) == "loss: expected a number in [0, 1], got nan (float)"


def test_numbers_that_do_not_increase_are_refused() -> None:
    with pytest.raises(InputError, match=r"^seq: expected strictly increasing"):
        step(QUESTION, untouched(QUESTION, seq=0), np.array([2, 1]), np.array([0.5, 0.5]))


@pytest.mark.parametrize(
    ("promised", "budget", "block", "where"),
    [(0.0, 100, 1, "promised"), (0.2, 5, 10, "budget"), (0.2, 100, 0, "block")],
)
def test_a_question_without_a_guarantee_is_refused(
    promised: float, budget: float, block: int, where: str
) -> None:
    with pytest.raises(InputError) as caught:
        LossQuestion(promised=promised, budget=budget, block=block)
    assert caught.value.where == where
