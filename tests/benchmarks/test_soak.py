"""A process that grows, a log that grows faster than its rows: a soak has to say so."""

import numpy as np
import pytest

from benchmarks.soak.week import Course, judged

SAMPLES = 90


def course(name: str, of_time: float, *, by_square: float = 0.0) -> Course:
    """Draw a figure that rises by so much over the whole time, with noise about it."""
    noise = np.random.default_rng(0).normal(0, 1.0, SAMPLES)
    one = Course()
    for i in range(SAMPLES):
        share = i / SAMPLES
        value = 100 + of_time * share + by_square * share**2 + noise[i]
        one.add(2.0 * i, 1_000 * i, {name: value})
    return one


@pytest.mark.parametrize(
    ("name", "rises", "held"),
    [
        ("api memory MB", 0.0, True),
        ("api memory MB", 40.0, False),
        ("api descriptors", 0.0, True),
        ("api descriptors", 30.0, False),
        ("log WAL MB", 0.0, False),  # 100 MB of it are too many, though they do not grow
        ("log MB", 400.0, True),  # it keeps what comes
    ],
)
def test_what_grows_is_said(name: str, rises: float, held: bool) -> None:
    told = judged(course(name, rises))
    assert [one["held"] for one in told] == [held]


def test_a_log_that_takes_more_for_each_row_as_it_grows_is_said() -> None:
    assert [one["held"] for one in judged(course("log MB", 0.0, by_square=400.0))] == [False]


def test_what_happens_before_the_warm_up_does_not_count() -> None:
    one = course("api memory MB", 0.0)
    early = [value - 90.0 for value in one.figures["api memory MB"][: SAMPLES // 4]]
    one.figures["api memory MB"][: SAMPLES // 4] = early
    assert judged(one)[0]["held"]
