from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import binom, norm, t

from continualml.errors import InputError
from continualml.evidence.calibration import (
    CalibrationQuestion,
    CalibrationState,
    doubt_edges,
    step_labelled,
    step_unlabelled,
    untouched,
    value_edges,
)
from continualml.evidence.unlabelled import Estimate, estimate, student_quantile

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
QUESTION = CalibrationQuestion(edges=doubt_edges(2), block=24, measures=2)
PLAIN = replace(QUESTION, edges=())  # one bin: nothing but the mean of the labelled rows


def answered(
    rng: np.random.Generator, n: int, *, rho: float = 0.0, spread: float = 1.5, flip: float = 0.0
) -> tuple[Floats, Floats]:
    """Answers that are right about their doubt, and their (n, 2) Brier losses and errors.

    Both the answers and the truth's luck have the lag-1 autocorrelation ``rho``; of ``flip`` of
    the rows the truth is turned around.
    """
    noise = rng.standard_normal((2, n))
    noise[:, 1:] *= np.sqrt(1 - rho**2)
    signal, luck = lfilter([1.0], [1.0, -rho], noise, axis=1)
    p = 1 / (1 + np.exp(-spread * signal))
    truth = (norm.cdf(luck) < p) != (rng.random(n) < flip)
    answer = np.column_stack((1 - p, p))
    return answer, np.column_stack(((p - truth) ** 2, (p > 0.5) != truth)).astype(float)


def known(
    question: CalibrationQuestion, answer: Floats, loss: Floats, n_labelled: int
) -> CalibrationState:
    """Take in all rows, and the labels of the first ones."""
    seq = np.arange(1, len(answer) + 1)
    state = step_unlabelled(question, untouched(seq=0), seq, answer)
    return step_labelled(
        question,
        state,
        seq[:n_labelled] + len(answer),
        answer[:n_labelled],
        loss[:n_labelled],
        row_seq=seq[:n_labelled],
    )


def surely(question: CalibrationQuestion, state: CalibrationState, measure: int = 0) -> Estimate:
    found = estimate(question, state, measure=measure)
    assert found is not None
    return found


def in_portions(
    question: CalibrationQuestion,
    rows: tuple[Integers, Floats],
    labels: tuple[Integers, Integers, Floats, Floats],
    ends: list[int],
) -> CalibrationState:
    """Fold the log up to each of the numbers; each portion begins with everything once more."""
    state = untouched(seq=0)
    for end in ends:
        here = rows[0] <= end
        state = step_unlabelled(question, state, rows[0][here], rows[1][here])
        came = labels[0] <= end
        seq, row_seq, answer, loss = labels
        state = step_labelled(
            question, state, seq[came], answer[came], loss[came], row_seq=row_seq[came]
        )
    return state


@given(
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.integers(1, 1_200), max_size=4),
    delay=st.integers(0, 500),
)
def test_it_does_not_matter_how_the_log_is_cut(seed: int, cuts: list[int], delay: int) -> None:
    # 8 spans of 24 rows are remembered, so that many labels come for rows long forgotten.
    question = replace(QUESTION, kept=8)
    rng = np.random.default_rng(seed)
    answer, loss = answered(rng, 600)
    row_seq = np.arange(1, 601) * 2
    late = row_seq + 1 + 2 * rng.integers(0, delay + 1, 600)
    order = np.argsort(late, kind="stable")[: 600 - seed % 300]
    seq = late[order] + np.arange(len(order)) * 2  # odd, and no two alike
    labels = (seq, row_seq[order], answer[order], loss[order])

    whole = in_portions(question, (row_seq, answer), labels, [5_000])
    parts = in_portions(question, (row_seq, answer), labels, [*sorted(cuts), 5_000])

    assert parts == whole  # equal, not close: law 1
    assert estimate(question, parts) == estimate(question, whole)


@pytest.mark.claim
@pytest.mark.parametrize("rho", [0.0, 0.3])
@pytest.mark.parametrize(("n_labelled", "n_waiting"), [(240, 48), (1_500, 48), (3_000, 240)])
def test_the_interval_holds_the_truth_as_often_as_it_says(
    rho: float, n_labelled: int, n_waiting: int
) -> None:
    # Both losses. Without the unlabelled rows' own noise, or with calibrated losses that have seen
    # the very block that they are compared with, coverage falls and this fails.
    streams, held = 400, np.zeros(2)
    rng = np.random.default_rng(1)
    for _ in range(streams):
        answer, loss = answered(rng, n_labelled + n_waiting, rho=rho)
        state = known(QUESTION, answer, loss, n_labelled)
        for m in range(2):
            found = surely(QUESTION, state, m)
            held[m] += found.low <= loss[n_labelled:, m].mean() <= found.high
    assert (held >= binom.ppf(1e-4, streams, 0.95)).all(), held / streams


@pytest.mark.claim
@pytest.mark.parametrize("spread", [0.6, 4.0])
def test_when_only_the_rows_change_the_estimate_follows(spread: float) -> None:
    # The world's law of the label is kept, its rows become harder (.6) or easier (4). The labelled
    # mean misses the truth by more than the whole interval; it holds it in none of the streams.
    streams, held, plainly_held = 200, 0, 0
    rng = np.random.default_rng(2)
    missed, moved = [], []
    for _ in range(streams):
        before, after = answered(rng, 1_500), answered(rng, 500, spread=spread)
        answer, loss = (np.concatenate(both) for both in zip(before, after, strict=True))
        truth = float(after[1][:, 0].mean())
        found = surely(QUESTION, known(QUESTION, answer, loss, 1_500))
        low, high = plain_interval(before[1][:, 0], 500)
        held += found.low <= truth <= found.high
        plainly_held += low <= truth <= high
        missed.append(found.value - truth)
        moved.append(float(before[1][:, 0].mean()) - truth)
    assert held >= binom.ppf(1e-4, streams, 0.95)
    assert plainly_held <= streams / 10
    assert abs(np.mean(missed)) <= 0.2 * abs(np.mean(moved))


def plain_interval(loss: Floats, n_waiting: int) -> tuple[float, float]:
    """Give the usual interval of the labelled mean for the mean of further rows of the same law."""
    n = len(loss)
    reach = t.ppf(0.975, n - 1) * loss.std(ddof=1) * np.sqrt(1 / n + 1 / n_waiting)
    return float(loss.mean() - reach), float(loss.mean() + reach)


@pytest.mark.claim
def test_answers_that_know_their_doubt_make_the_interval_narrower() -> None:
    # What the answer tells of the loss is R^2 of its variance, so the interval should be shorter by
    # sqrt(1 - R^2); without bins the same estimator is the labelled mean, with the same care.
    rng = np.random.default_rng(3)
    answer, loss = answered(rng, 200_000, spread=4.0)
    told = 1 - float((loss[:, 0] - answer.prod(axis=1)).var() / loss[:, 0].var())
    ratios = []
    for _ in range(100):
        answer, loss = answered(rng, 1_548, spread=4.0)
        powered = surely(QUESTION, known(QUESTION, answer, loss, 1_500))
        plain = surely(PLAIN, known(PLAIN, answer, loss, 1_500))
        assert plain.power == 0
        assert plain.value == pytest.approx(loss[1_488 - plain.n_labelled : 1_488, 0].mean())
        ratios.append((powered.high - powered.low) / (plain.high - plain.low))
    error = np.std(ratios) / 10
    assert np.mean(ratios) <= np.sqrt(1 - told) + 0.02 + 3 * error
    assert np.mean(ratios) + 3 * error <= 1


def test_answers_that_know_nothing_leave_the_mean_of_the_labelled_rows() -> None:
    rng = np.random.default_rng(4)
    answer, _ = answered(rng, 1_548)
    loss = (rng.random((1_548, 2)) < 0.2).astype(float)
    found = surely(QUESTION, known(QUESTION, answer, loss, 1_500))
    assert found.power < 0.2
    assert abs(found.value - loss[:1_488, 0].mean()) <= 0.01


def test_the_interval_widens_while_labels_stay_away() -> None:
    rng = np.random.default_rng(5)
    answer, loss = answered(rng, 9_000)
    widths, ages = [], []
    for n in (1_524, 1_800, 3_000, 5_000, 9_000):
        found = surely(QUESTION, known(QUESTION, answer[:n], loss[:n], 1_500))
        widths.append(found.high - found.low)
        ages.append(found.age_rows)
    assert ages == pytest.approx([24, 300, 1_500, 3_500, 7_500], abs=24)
    # From 48 waiting rows on their own noise has averaged out: what is left is age.
    assert widths[1] < widths[2] < widths[3] < widths[4]
    assert widths[4] >= 1.5 * widths[1]


def test_a_change_of_the_labels_law_that_no_label_shows_is_not_seen_but_doubted() -> None:
    # Half of the truths are turned around after the last label: no estimate from answers can know.
    # The value stays what it was and is wrong; the interval grows, and the first labels show it.
    rng = np.random.default_rng(6)
    before, after = answered(rng, 1_500), answered(rng, 4_000, flip=0.5)
    answer, loss = (np.concatenate(both) for both in zip(before, after, strict=True))
    unaware = surely(QUESTION, known(QUESTION, answer, loss, 1_500), 1)
    usual = float(before[1][:, 1].mean())
    assert abs(unaware.value - usual) <= 0.02
    assert not unaware.low <= float(after[1][:, 1].mean()) <= unaware.high
    early = surely(QUESTION, known(QUESTION, answer[:1_600], loss[:1_600], 1_500), 1)
    assert unaware.high - unaware.low >= early.high - early.low
    told = surely(QUESTION, known(QUESTION, answer, loss, 1_500 + 480), 1)
    assert told.value - usual >= 0.5 * (after[1][:, 1].mean() - usual)


def test_what_has_wandered_before_is_believed_to_wander_on() -> None:
    rng = np.random.default_rng(7)
    answer, still = answered(rng, 2_000)
    level = np.repeat(np.cumsum(rng.choice([-0.05, 0.05], 20)), 100)
    moving = (rng.random((2_000, 2)) < (0.3 + level[:, None]).clip(0.02, 0.98)).astype(float)
    calm = surely(QUESTION, known(QUESTION, answer, still, 1_500), 1)
    restless = surely(QUESTION, known(QUESTION, answer, moving, 1_500), 1)
    assert restless.n_labelled < calm.n_labelled  # only the newest labels speak of the present
    assert restless.high - restless.low >= 1.5 * (calm.high - calm.low)


@pytest.mark.claim
def test_more_labels_make_it_narrower() -> None:
    rng = np.random.default_rng(8)
    worlds = [answered(rng, 3_480) for _ in range(30)]
    widths = []
    for n in (120, 480, 1_920, 3_000):
        found = [
            surely(QUESTION, known(QUESTION, a[: n + 480], x[: n + 480], n)) for a, x in worlds
        ]
        widths.append(np.mean([f.high - f.low for f in found]))
    assert widths == sorted(widths, reverse=True)
    assert widths[3] <= 0.5 * widths[0]


def test_it_is_about_the_rows_whose_labels_have_not_come() -> None:
    # Every third row keeps its label back, and only those are hard.
    rng = np.random.default_rng(9)
    answer, loss = answered(rng, 1_200, spread=4.0)
    hard_answer, hard_loss = answered(rng, 1_200, spread=0.3)
    kept_back = np.arange(1_200) % 3 == 0
    answer[kept_back], loss[kept_back] = hard_answer[kept_back], hard_loss[kept_back]
    seq = np.arange(1, 1_201)
    state = step_unlabelled(QUESTION, untouched(seq=0), seq, answer)
    came = np.flatnonzero(~kept_back)
    state = step_labelled(
        QUESTION, state, seq[came] + 2_000, answer[came], loss[came], row_seq=seq[came]
    )
    found = surely(QUESTION, state)
    assert found.n_unlabelled == 400
    assert found.age_rows <= 24
    assert abs(found.value - loss[kept_back, 0].mean()) <= 0.03
    assert found.value - loss[came, 0].mean() >= 0.08


@pytest.mark.claim
def test_a_regression_is_binned_by_its_value() -> None:
    # Errors grow with the value; the waiting rows have large values.
    rng = np.random.default_rng(10)
    value = np.concatenate((rng.uniform(0, 1, 2_000), rng.uniform(0.7, 1, 240)))[:, None]
    loss = (value * rng.uniform(0, 1, value.shape)) ** 2
    question = CalibrationQuestion(edges=value_edges(value[:500]), block=1)
    found = surely(question, known(question, value, loss, 2_000))
    assert found.low <= loss[2_000:].mean() <= found.high
    assert abs(found.value - loss[2_000:].mean()) <= 0.02
    assert loss[2_000:].mean() - loss[:2_000].mean() >= 0.1


def test_nothing_is_said_without_labels_or_without_rows() -> None:
    answer, loss = answered(np.random.default_rng(11), 500)
    assert estimate(QUESTION, untouched(seq=0)) is None
    assert estimate(QUESTION, known(QUESTION, answer, loss, 95)) is None
    assert estimate(QUESTION, known(QUESTION, answer, loss, 96)) is not None
    assert estimate(QUESTION, known(QUESTION, answer, loss, 500)) is None


def test_a_faultless_record_is_no_promise_of_none() -> None:
    answer, loss = answered(np.random.default_rng(12), 300)
    found = surely(QUESTION, known(QUESTION, answer, np.zeros_like(loss), 240))
    assert found.low == found.value == 0
    assert found.high >= 3 / 240  # the rule of three


def test_memory_does_not_grow_and_the_state_can_be_written_down() -> None:
    rng = np.random.default_rng(13)
    sizes = []
    for n in (5_000, 20_000):
        state = known(QUESTION, *answered(rng, n), n - 100)
        body = msgspec.msgpack.encode(state)
        assert msgspec.msgpack.decode(body, type=CalibrationState) == state
        sizes.append(len(body))
    assert sizes[1] <= 1.1 * sizes[0] <= 50_000


def test_refused_rows_change_nothing_and_say_why() -> None:
    answer, loss = answered(np.random.default_rng(14), 2)
    seq, state = np.array([1, 2]), untouched(seq=0)
    with pytest.raises(InputError, match=r"row_seq: expected rows up to 0, those taken in"):
        step_labelled(QUESTION, state, seq, answer, loss, row_seq=seq)
    with pytest.raises(InputError, match=r"loss: expected a number in \[0, 1\], got 2.0"):
        step_labelled(QUESTION, state, seq, answer, loss * 0 + 2, row_seq=seq * 0)
    with pytest.raises(InputError, match=r"seq: expected strictly increasing numbers"):
        step_unlabelled(QUESTION, state, seq[::-1], answer)
    with pytest.raises(InputError, match=r"answer: expected finite numbers"):
        step_unlabelled(QUESTION, state, seq, answer * np.nan)
    with pytest.raises(InputError, match=r"level: expected a number in \(0, 1\), got 95"):
        estimate(QUESTION, state, level=95)
    with pytest.raises(InputError, match=r"edges: expected increasing finite numbers"):
        CalibrationQuestion(edges=(0.2, 0.1), block=1)


@pytest.mark.parametrize("freedom", [3, 7, 20, 127])
def test_the_quantile_of_student_is_that_of_the_tables(freedom: int) -> None:
    for chance in (0.9, 0.975, 0.995):
        assert student_quantile(chance, freedom) == pytest.approx(t.ppf(chance, freedom), rel=0.03)
