"""The feature alarm: its budget, what it finds and names, and law 1."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from continualml.errors import InputError
from continualml.evidence.drift import (
    DriftAlarm,
    DriftEvidence,
    DriftQuestion,
    levels,
    step,
    untouched,
)
from continualml.evidence.reference import Columns, codes, of_columns

Floats = NDArray[np.float64]
Mixed = dict[str, NDArray[np.float64] | NDArray[np.object_]]


def named(x: Floats) -> dict[str, Floats]:
    return {f"x{i}": x[:, i] for i in range(x.shape[1])}


def gaussian(rng: np.random.Generator, rows: int, columns: int, hanging: float = 0.0) -> Floats:
    """Columns of mean 0 and deviation 1, each row with ``hanging`` of the one before."""
    x = rng.normal(size=(rows, columns))
    for i in range(1, rows):
        x[i] = hanging * x[i - 1] + np.sqrt(1 - hanging**2) * x[i]
    return x


def mixed(rng: np.random.Generator, rows: int) -> Mixed:
    cities = np.array(["a", "b", "c", "d"], dtype=object)
    return {
        "amount": rng.lognormal(3, 1, rows),
        "degrees": rng.normal(300, 5, rows),
        "visits": rng.poisson(2, rows).astype(np.float64),
        "gaps": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)),
        "city": rng.choice(cities, rows, p=[0.5, 0.3, 0.15, 0.05]),
        "user": np.array([f"u{i}" for i in rng.integers(0, 10**6, rows)], dtype=object),
    }


def fold(question: DriftQuestion, columns: Columns) -> tuple[DriftEvidence, list[DriftAlarm]]:
    code = codes(question.reference, columns)
    state, alarms = step(question, untouched(question), np.arange(len(code)) + 1, code)
    return state, list(alarms)


def first_alarm(question: DriftQuestion, columns: Columns) -> DriftAlarm | None:
    """Fold portion by portion, and stop at the first alarm."""
    code = codes(question.reference, columns)
    state, seq = untouched(question), np.arange(len(code)) + 1
    for at in range(0, len(code), 96):
        state, alarms = step(question, state, seq[at : at + 96], code[at : at + 96])
        if alarms:
            return alarms[0]
    return None


STREAM_RNG = np.random.default_rng(11)
MIXED = of_columns(mixed(STREAM_RNG, 400))


@pytest.mark.parametrize("block", [1, 6])
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 299), again=st.integers(0, 60))
def test_it_does_not_matter_how_the_rows_are_cut(
    block: int, seed: int, cut: int, again: int
) -> None:
    rng = np.random.default_rng(seed)
    question = DriftQuestion(reference=MIXED, budget=300, block=block)
    rows = mixed(rng, 300)
    rows["degrees"][100:] += 3  # alarms fall on both sides of most cuts
    rows["city"][150:] = "a"
    seq, code = np.cumsum(rng.integers(1, 4, 300)), codes(MIXED, rows)
    start = untouched(question)

    whole, alarms = step(question, start, seq, code)
    half, first = step(question, start, seq[:cut], code[:cut])
    stored = msgspec.json.decode(msgspec.json.encode(half), type=DriftEvidence)
    behind = max(cut - again, 0)  # some of the first rows come twice
    halves, second = step(question, stored, seq[behind:], code[behind:])

    assert alarms
    assert (halves, first + second) == (whole, alarms)  # equal, not close: law 1


def test_row_by_row_is_the_same_as_all_at_once() -> None:
    rng = np.random.default_rng(5)
    question = DriftQuestion(reference=MIXED, budget=300, block=6)
    rows = mixed(rng, 400)
    rows["gaps"][200:] = np.nan
    seq, code = np.arange(1, 401), codes(MIXED, rows)
    whole = step(question, untouched(question), seq, code)
    state, alarms = untouched(question), tuple[DriftAlarm, ...]()
    for i in range(400):
        state, more = step(question, state, seq[i : i + 1], code[i : i + 1])
        alarms += more
    assert (state, alarms) == whole


@pytest.mark.claim
@pytest.mark.parametrize(("block", "run"), [(1, 1), (24, 1), (24, 24)])
def test_false_alarms_stay_within_the_budget_at_the_edge_of_the_tolerance(
    block: int, run: int
) -> None:
    # One value's share is as high as still counts as unmoved, the other's as low; by Doob's
    # inequality chance <= rows / budget. A tenth of the threshold breaks this. With run 24 all
    # rows of a block agree, in the reference too.
    streams, budget, rows = 400, 4_800.0, 480
    rng = np.random.default_rng(1)
    two = np.array(["a", "b"], dtype=object)
    halves = np.tile(np.repeat(two, run), 1_000 * run // (2 * run))[: 960 - 960 % (2 * run)]
    reference = of_columns({"x": halves.astype(object)}, block=block)
    question = DriftQuestion(reference=reference, budget=budget, block=block)
    (column,) = reference.columns
    edge = column.shares[0] + question.tolerance + 3 * column.errors[0]
    alarmed = 0
    for _ in range(streams):
        draw = np.repeat(rng.random(rows // run) >= edge, run).astype(np.int64)
        alarmed += first_alarm(question, {"x": two[draw]}) is not None
    assert alarmed <= binom.ppf(1 - 1e-6, streams, rows / budget)


@pytest.mark.claim
@pytest.mark.parametrize(("hanging", "block"), [(0.0, 1), (0.0, 48), (0.5, 48)])
def test_eight_columns_that_do_not_move_alarm_within_one_budget(hanging: float, block: int) -> None:
    # The reference is estimated from 1,000 rows and nothing else is tolerated: a third of the
    # standard errors, or a budget for each column, breaks this. All streams run at once, each
    # its own eight columns.
    streams, budget, rows = 60, 2_000.0, 1_008
    rng = np.random.default_rng(2)
    alarmed = 0
    for _ in range(streams):
        x = gaussian(rng, 1_000 + rows, 8, hanging)
        question = DriftQuestion(
            reference=of_columns(named(x[:1_000])), budget=budget, block=block, tolerance=0.0
        )
        alarmed += first_alarm(question, named(x[1_000:])) is not None
    # Within rows / budget = .5 of the streams were the bound; the standard errors leave room, so
    # that the default tolerance is not what keeps the budget: a tenth is asked.
    assert alarmed <= 0.1 * streams


def shifted(
    deviations: float, block: int, worlds: int, hanging: float = 0.0
) -> tuple[list[int], list[DriftAlarm]]:
    """Move one of ten columns after 300 rows; the delays, and the first alarms after it."""
    rng = np.random.default_rng(3)
    delays, alarms = [], []
    for world in range(worlds):
        x = gaussian(rng, 4_800, 10, hanging) if hanging else rng.normal(size=(4_800, 10))
        x[1_288:, world % 10] += deviations
        reference = of_columns(named(x[:1_000]))
        question = DriftQuestion(reference=reference, budget=10_000, block=block)
        alarm = first_alarm(question, named(x[1_000:]))
        assert alarm is not None, "the shift was not found at all"
        assert alarm.seq > 288, "alarmed before anything moved"
        delays.append(alarm.seq - 288)
        alarms.append(alarm)
    return delays, alarms


@pytest.mark.claim
@pytest.mark.parametrize(
    ("deviations", "block", "hanging", "within"),
    # The design's own simulation, at block 1 and without the rank, took 234 and 58 rows; the
    # median of 100 delays of this spread has a standard error of about a twentieth.
    [(0.5, 1, 0.0, 290), (1.0, 1, 0.0, 65), (0.5, 48, 0.0, 1_000), (1.0, 48, 0.5, 800)],
)
def test_one_moved_column_of_ten_is_found_and_named(
    deviations: float, block: int, hanging: float, within: int
) -> None:
    delays, alarms = shifted(deviations, block, 100, hanging)
    assert np.median(delays) <= within
    rightly = [
        [(m.name, m.pattern, m.direction) for m in a.moved] == [(f"x{i % 10}", "shift", "higher")]
        for i, a in enumerate(alarms)
    ]
    assert np.mean(rightly) >= 0.95
    # Half of the starts lie within a few blocks of the truth; naming the last alarm's row would
    # be off by the whole delay.
    began = np.median([a.began - 289 for a in alarms])
    assert abs(began) <= max(20, 48)


def _unit(rows: Mixed) -> str:
    rows["amount"] *= 1_000
    return "amount"


def _stuck(rows: Mixed) -> str:
    rows["degrees"][:] = 301.5
    return "degrees"


def _stuck_with_gaps(rows: Mixed) -> str:
    rows["gaps"][:] = 0.1
    rows["gaps"][::8] = np.nan
    return "gaps"


def _one_city(rows: Mixed) -> str:
    rows["city"][:] = "b"
    return "city"


def _gaps(rows: Mixed) -> str:
    rows["gaps"][::4] = np.nan
    return "gaps"


def _new_city(rows: Mixed) -> str:
    rows["city"][::8] = "somewhere else"
    return "city"


def _hotter(rows: Mixed) -> str:
    rows["degrees"] += 100  # all of it above the largest: one cell, yet not constant
    return "degrees"


def _cities_swap(rows: Mixed) -> str:
    rows["city"][rows["city"] == "a"] = "d"
    return "city"


@pytest.mark.claim
@pytest.mark.parametrize("block", [1, 48])
@pytest.mark.parametrize(
    ("break_it", "pattern", "direction", "cells"),
    [
        (_unit, "unit", None, None),
        (_stuck, "constant", None, None),
        (_one_city, "constant", None, None),
        (_gaps, "missing", "more", {"missing"}),
        (_new_city, "unseen", "more", {"unseen"}),
        (_hotter, "shift", "higher", None),
        (_cities_swap, "shift", None, {"= a", "= d"}),
    ],
)
def test_what_broke_is_named(
    block: int,
    break_it: Callable[[Mixed], str],
    pattern: str,
    direction: str | None,
    cells: set[str] | None,
) -> None:
    worlds, right = 40, 0
    rng = np.random.default_rng(4)
    for _ in range(worlds):
        question = DriftQuestion(
            reference=of_columns(mixed(rng, 1_000)), budget=10_000, block=block
        )
        rows = mixed(rng, 3_000)
        name = break_it(rows)
        alarm = first_alarm(question, rows)
        assert alarm is not None
        (moved, *others) = alarm.moved
        right += (
            not others
            and (moved.name, moved.pattern) == (name, pattern)
            and direction in {None, moved.direction}
            and (cells is None or moved.cell in cells)
        )
    assert right >= 0.95 * worlds


def test_gaps_do_not_hide_that_a_column_stands_still() -> None:
    question = DriftQuestion(reference=MIXED, budget=10_000, block=1)
    rows = mixed(np.random.default_rng(6), 600)
    name = _stuck_with_gaps(rows)
    alarm = first_alarm(question, rows)
    assert alarm is not None
    assert [(m.name, m.pattern) for m in alarm.moved] == [(name, "constant")]


def test_an_alarm_says_by_how_much_and_since_when() -> None:
    rows = mixed(np.random.default_rng(7), 2_000)
    rows["city"][1_000::5] = "somewhere else"
    _, (alarm, *_) = fold(DriftQuestion(reference=MIXED, budget=10_000, block=1), rows)
    (moved,) = alarm.moved
    since = slice(moved.began - 1, alarm.seq)
    assert moved.share == pytest.approx(np.mean(rows["city"][since] == "somewhere else"))
    assert moved.reference_share == 0
    assert alarm.began == moved.began
    assert 950 <= alarm.began <= alarm.seq <= 1_300
    assert alarm.evidence >= alarm.threshold == 10_000


def test_the_levels_add_up_to_an_alarm_and_begin_anew_after_it() -> None:
    rows = mixed(np.random.default_rng(8), 300)
    rows["degrees"] += 10
    question = DriftQuestion(reference=MIXED, budget=10_000, block=1)
    seq, code = np.arange(1, 301), codes(MIXED, rows)
    _, (alarm, *_) = step(question, untouched(question), seq, code)
    before, none = step(question, untouched(question), seq[: alarm.seq - 1], code[: alarm.seq - 1])
    after, _ = step(question, untouched(question), seq[: alarm.seq], code[: alarm.seq])
    assert none == ()
    shares = levels(question, before)
    assert list(shares) == [*MIXED_NAMES]
    assert 0.1 < sum(shares.values()) < 1
    assert shares["degrees"] == max(shares.values())
    assert set(levels(question, after).values()) == {0.0}


MIXED_NAMES = tuple(column.name for column in MIXED.columns)


def test_blocks_without_a_value_add_nothing_to_what_is_asked_of_values() -> None:
    # Each block of a test that asks nothing would add 1, and the count of blocks would alarm.
    reference = of_columns({"x": np.tile(np.array([0.0, 1.0, np.nan]), 400)})
    question = DriftQuestion(reference=reference, budget=200, block=1, tolerance=0.7)
    state, alarms = fold(question, {"x": np.full(5_000, np.nan)})
    assert alarms == []
    assert sum(levels(question, state).values()) < 0.1


@pytest.mark.parametrize("block", [1, 12])
def test_a_column_that_moved_long_ago_and_for_good_does_not_deafen_the_others(block: int) -> None:
    rng = np.random.default_rng(5)
    question = DriftQuestion(
        reference=of_columns(named(gaussian(rng, 2_000, 2))), budget=20_000, block=block
    )
    x = gaussian(rng, 30_000, 2)
    x[500:, 0] += 3
    x[25_000:, 1] += 1.5
    with np.errstate(all="raise"):
        state, alarms = fold(question, named(x))
        parts = levels(question, state)

    assert [tuple(m.name for m in alarm.moved) for alarm in alarms] == [("x0",), ("x1",)]
    assert 25_000 <= alarms[1].seq < 26_000
    assert all(np.isfinite(part) for part in parts.values())


def test_memory_does_not_grow() -> None:
    question = DriftQuestion(reference=MIXED, budget=1e9, block=48)
    rng = np.random.default_rng(9)
    sizes = [len(msgspec.json.encode(fold(question, mixed(rng, n))[0])) for n in (100, 20_000)]
    assert sizes[1] <= sizes[0] + 8 * (len(MIXED_NAMES) * 3 + 120)  # a few more digits


@pytest.mark.parametrize(
    ("seq", "code", "message"),
    [
        ([3, 3], [[0], [0]], "seq: expected strictly increasing numbers, got [3, 3] (a list)"),
        ([3, 4], [[0]], "codes: expected shape (2, 1), got (1, 1) (a list)"),
        ([3], [[15]], "codes.x: expected a code of this column, got 15 (a number)"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_folded(
    seq: list[int], code: list[list[int]], message: str
) -> None:
    reference = of_columns({"x": np.arange(500.0)})
    question = DriftQuestion(reference=reference, budget=1_000, block=1)
    seen = codes(reference, {"x": np.array([7.0, 8.0])})
    state, _ = step(question, untouched(question), np.array([1, 2]), seen)
    kept = msgspec.json.encode(state)
    with pytest.raises(InputError) as caught:
        step(question, state, np.array(seq), np.array(code, dtype=np.uint8))
    assert str(caught.value) == message
    assert msgspec.json.encode(state) == kept


def test_evidence_on_another_question_is_refused() -> None:
    reference = of_columns({"x": np.arange(500.0)})
    question = DriftQuestion(reference=reference, budget=1_000, block=1)
    other = DriftQuestion(reference=MIXED, budget=1_000, block=1)
    code = codes(reference, {"x": np.array([7.0])})
    with pytest.raises(InputError) as caught:
        step(question, untouched(other), np.array([1]), code)
    assert caught.value.where == "state"


@pytest.mark.parametrize(
    ("tolerance", "budget", "block", "rows", "where"),
    [
        (1.0, 100, 1, 500, "tolerance"),
        (0.03, 5, 10, 500, "budget"),
        (0.03, np.inf, 10, 500, "budget"),
        (0.03, 100, 0, 500, "block"),
        (0.03, 100, 1, 1, "reference"),
    ],
)
def test_a_question_without_a_guarantee_is_refused(
    tolerance: float, budget: float, block: int, rows: int, where: str
) -> None:
    reference = of_columns({"x": np.arange(float(rows))})
    with pytest.raises(InputError) as caught:
        DriftQuestion(reference=reference, tolerance=tolerance, budget=budget, block=block)
    assert caught.value.where == where
