"""Labels that come late, less often or not at all."""

from dataclasses import dataclass, replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from continualml.errors import InputError
from continualml.evidence.delay import (
    DelayEvidence,
    DelayQuestion,
    Overdue,
    Silence,
    step,
    untouched,
)
from continualml.evidence.usual_delay import DelayReference, of_events

PLAIN = DelayReference(rows=1_000, horizon=10, overdue=0.2, error=0.012, longest_gap=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    observed: NDArray[np.bool_]
    delay: NDArray[np.float64]

    @property
    def seq(self) -> NDArray[np.int64]:
        return np.arange(1, len(self.delay) + 1)


def events(delays: NDArray[np.float64]) -> Events:
    """Log observations, and each one's label after so many further ones; NaN: it never comes."""
    n = len(delays)
    labelled = np.flatnonzero(~np.isnan(delays))
    of = np.concatenate((np.arange(n), labelled))
    label = np.arange(len(of)) >= n
    when = np.concatenate((np.arange(n), labelled + delays[labelled])) + 0.5 * label
    order = np.lexsort((of, when))
    order = order[when[order] < n]  # what would come after the end is not there
    delay = np.where(label, np.concatenate((delays, delays[labelled])), np.nan)[order]
    return Events(observed=~label[order], delay=delay)


def fold(
    question: DelayQuestion, log: Events
) -> tuple[DelayEvidence, tuple[Overdue | Silence, ...]]:
    return step(question, untouched(question), log.seq, log.observed, log.delay)


def geometric(rng: np.random.Generator, n: int, share: float = 0.1) -> NDArray[np.float64]:
    return rng.geometric(share, n).astype(np.float64)


@given(
    seed=st.integers(0, 10_000),
    cut=st.integers(1, 620),
    again=st.integers(0, 60),
    block=st.sampled_from([1, 6]),
    horizon=st.sampled_from([0, 10, 9_000]),
)
def test_it_does_not_matter_how_the_rows_are_cut(
    seed: int, cut: int, again: int, block: int, horizon: int
) -> None:
    rng = np.random.default_rng(seed)
    question = DelayQuestion(
        reference=replace(PLAIN, horizon=horizon, longest_gap=1), budget=300, block=block
    )
    delays = geometric(rng, 400)
    delays[100:] += 10
    delays[rng.random(400) < 0.2] = np.nan
    delays[200:300] = np.nan
    log = events(delays)
    start = untouched(question)

    whole = step(question, start, log.seq, log.observed, log.delay)
    half, first = step(question, start, log.seq[:cut], log.observed[:cut], log.delay[:cut])
    stored = msgspec.json.decode(msgspec.json.encode(half), type=DelayEvidence)
    rest = slice(max(cut - again, 0), None)
    halves, second = step(question, stored, log.seq[rest], log.observed[rest], log.delay[rest])

    assert (halves, first + second) == whole  # equal, not close: law 1
    assert whole[1] or horizon > 400


def test_row_by_row_is_the_same_as_all_at_once() -> None:
    question = DelayQuestion(reference=PLAIN, budget=300, block=2)
    delays = geometric(np.random.default_rng(6), 300)
    delays[100:200] = np.nan
    log = events(delays)
    state, said = untouched(question), tuple[Overdue | Silence, ...]()
    for i in range(len(log.seq)):
        here = slice(i, i + 1)
        state, more = step(question, state, log.seq[here], log.observed[here], log.delay[here])
        said += more
    assert (state, said) == fold(question, log)
    assert {type(one) for one in said} == {Overdue, Silence}


def test_the_reference_says_by_when_nine_of_ten_labels_came() -> None:
    rng = np.random.default_rng(1)
    delays = rng.integers(0, 100, 4_000).astype(np.float64)
    delays[rng.random(4_000) < 0.2] = np.nan
    log = events(delays)
    reference = of_events(log.observed, log.delay)
    # A share of 2,000 rows has a standard error of .01; three of them.
    assert abs(reference.horizon - 89) <= 3
    assert abs(reference.overdue - (1 - 0.8 * 0.9)) <= 0.03
    assert reference.rows == 4_000 - reference.horizon - 1
    assert 0.005 <= reference.error <= 0.015
    assert 2 <= reference.longest_gap <= 20


@pytest.mark.claim
@pytest.mark.parametrize("stride", [1, 3])
def test_false_alarms_stay_within_the_budget_at_the_edge(stride: int) -> None:
    # The share of labels that never come is as high as still counts as usual. By Doob's
    # inequality chance <= observations / budget; a tenth of the threshold breaks this.
    streams, budget, n = 300, 4_800.0, 480
    horizon = {1: 10, 3: 2 * 4_096}[stride]
    question = DelayQuestion(
        reference=replace(PLAIN, horizon=horizon, longest_gap=1), budget=budget, block=1
    )
    assert question.stride == stride
    rng = np.random.default_rng(2)
    alarmed = 0
    for _ in range(streams):
        delays = np.zeros(n + horizon + 1)
        delays[rng.random(len(delays)) < question.alarm.promised] = np.nan
        _, said = fold(question, events(delays))
        alarmed += any(isinstance(one, Overdue) for one in said)
    assert alarmed <= binom.ppf(1 - 1e-6, streams, n / budget)


@pytest.mark.claim
@pytest.mark.parametrize("fault", ["twice as late", "a third of them lost"])
def test_labels_that_come_late_or_less_often_are_found(fault: str) -> None:
    # Overdue goes from .1 to about .35 and .4: by the loss alarm's table such a change takes
    # less than 100 rows, and nothing can be known before the first are due.
    rng = np.random.default_rng(3)
    found = []
    for _ in range(60):
        log = events(geometric(rng, 2_000))
        question = DelayQuestion(
            reference=of_events(log.observed, log.delay), budget=10_000, block=1
        )
        delays = geometric(rng, 1_500)
        if fault == "twice as late":
            delays[500:] = geometric(rng, 1_000, 0.05)
        else:
            delays[500:][rng.random(1_000) < 1 / 3] = np.nan
        changed = events(delays)
        _, said = fold(question, changed)
        (first, *_) = [s for s in said if isinstance(s, Overdue)]
        at = int(np.cumsum(changed.observed)[first.seq - 1])
        began = int(np.cumsum(changed.observed)[first.began - 1])
        assert at > 500
        found.append((at - 500 - question.reference.horizon, began - 500))
    delay, began = np.median(np.array(found), axis=0).tolist()
    assert delay <= 100
    assert 0 <= began <= 60  # the first that could be seen was due a horizon (22) later


def test_silence_is_said_once_and_ends_with_a_label() -> None:
    question = DelayQuestion(reference=PLAIN, budget=1e9, block=1)
    delays = np.full(200, 2.0)
    delays[50:120] = np.nan
    delays[150:] = np.nan
    log = events(delays)
    state, said = fold(question, log)
    at = np.cumsum(log.observed)
    # The limit is max(20 blocks, 5 gaps of 4) = 20 observations; row 50's label came after 52.
    assert question.silence == 20
    silences = [s for s in said if isinstance(s, Silence)]
    assert [int(at[s.seq - 1]) for s in silences] == [52 + 21, 152 + 21]
    assert [s.observations for s in silences] == [21, 21]
    assert [int(at[s.began - 1]) for s in silences] == [52, 152]
    assert state.silent


def test_no_label_at_all_is_said_after_the_first_ones_were_due() -> None:
    question = DelayQuestion(reference=PLAIN, budget=1e9, block=1)
    _, said = fold(question, events(np.full(100, np.nan)))
    silences = [s for s in said if isinstance(s, Silence)]
    assert silences == [Silence(seq=10 + 20 + 1, observations=21, began=0)]


def test_a_stream_as_it_used_to_be_is_not_silent() -> None:
    rng = np.random.default_rng(5)
    log = events(geometric(rng, 2_000))
    question = DelayQuestion(reference=of_events(log.observed, log.delay), budget=1e6, block=1)
    _, said = fold(question, events(geometric(rng, 3_000)))
    assert said == ()


def test_a_label_that_was_there_before_its_observation_is_in_time() -> None:
    question = DelayQuestion(reference=PLAIN, budget=1_000, block=1)
    both = Events(observed=np.ones(300, dtype=np.bool_), delay=np.zeros(300))
    state, said = fold(question, both)
    assert said == ()
    assert state.alarm.value < question.alarm.threshold / 10
    assert state.labelled == bytes([1]) * 11


def test_memory_is_bounded_however_long_labels_take() -> None:
    reference = replace(PLAIN, horizon=1_000_000)
    question = DelayQuestion(reference=reference, budget=1e6, block=1)
    state = untouched(question)
    for portion in range(12):
        seq = np.arange(100_000) + portion * 100_000 + 1
        state, _ = step(
            question, state, seq, np.ones(100_000, dtype=np.bool_), np.full(100_000, np.nan)
        )
    assert 4_000 <= len(state.labelled) <= 4_096


@pytest.mark.parametrize(
    ("seq", "delay", "message"),
    [
        ([7, 7], [0.0, 0.0], "seq: expected strictly increasing numbers, got [7, 7] (a list)"),
        ([7, 8], [0.0, -1.0], "delay: expected a whole number >= 0, or NaN, got -1.0 (a number)"),
        ([7, 8], [0.0, 0.5], "delay: expected a whole number >= 0, or NaN, got 0.5 (a number)"),
        ([7, 8], [np.inf, 0], "delay: expected a whole number >= 0, or NaN, got inf (a number)"),
        (
            [7, 8],
            [0.0],
            "delay: expected three arrays of one length, got ((2,), (2,), (1,)) (a list)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_folded(
    seq: list[int], delay: list[float], message: str
) -> None:
    question = DelayQuestion(reference=PLAIN, budget=1_000, block=1)
    state, _ = fold(question, events(np.full(5, 1.0)))
    kept = msgspec.json.encode(state)
    with pytest.raises(InputError) as caught:
        step(question, state, np.array(seq), np.ones(2, dtype=np.bool_), np.array(delay))
    assert str(caught.value) == message
    assert msgspec.json.encode(state) == kept


def test_a_question_without_a_guarantee_is_refused() -> None:
    for reference, budget, tolerance, where in (
        (PLAIN, 1_000, 1.0, "tolerance"),
        (PLAIN, 0.5, 0.03, "budget"),
    ):
        with pytest.raises(InputError) as caught:
            DelayQuestion(reference=reference, budget=budget, block=1, tolerance=tolerance)
        assert caught.value.where == where


def test_where_hardly_any_row_is_labelled_only_silence_is_said() -> None:
    question = DelayQuestion(reference=replace(PLAIN, overdue=0.97), budget=100, block=1)
    assert not question.tells
    state, said = fold(question, events(np.full(400, np.nan)))
    assert {type(one) for one in said} == {Silence}
    assert state.alarm.value == 0


@pytest.mark.parametrize("period", [300, 900])
def test_labels_that_always_came_in_lumps_are_not_late(period: int) -> None:
    delays = (-np.arange(12_000.0) - 1) % period  # all of a lump with its last row
    log = events(delays)
    half = log.seq <= np.flatnonzero(np.cumsum(log.observed) == 2_000)[0]
    reference = of_events(log.observed[half], log.delay[half])
    assert reference.longest_gap == period
    question = DelayQuestion(reference=reference, budget=40_000, block=24)
    assert fold(question, log)[1] == ()


def test_a_record_without_labels_is_no_reference() -> None:
    for delays in (np.full(100, np.nan), np.full(20, 19.0), np.zeros(0)):
        log = events(delays)
        with pytest.raises(InputError) as caught:
            of_events(log.observed, log.delay)
        assert caught.value.where == "delay"
