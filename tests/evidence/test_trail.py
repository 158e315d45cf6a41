"""What stood when a row was observed, whatever was learnt while its label was awaited."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from continualml.evidence import trail

ROWS = 300


@given(delay=st.integers(0, 250), cut=st.integers(0, ROWS))
def test_it_does_not_matter_how_the_rows_are_cut(delay: int, cut: int) -> None:
    # The value after a label is that label's number, so that what is found says whose it is.
    seq = 10 + 2 * np.arange(1, ROWS + 1)
    observed = np.maximum(seq - 2 * delay - 1, 1)
    path = np.concatenate(([10.0], seq.astype(float)))[:, None]
    begun = trail.begun(10, (10.0,))

    found, there = begun.stood(seq, path, observed)
    half = begun.after(seq[:cut], path[: cut + 1], cut)
    first, second = (
        begun.stood(seq[:cut], path, observed[:cut]),
        half.stood(seq[cut:], path[cut:], observed[cut:]),
    )

    assert np.concatenate((first[0], second[0])).tolist() == found.tolist()
    assert np.concatenate((first[1], second[1])).tolist() == there.tolist()
    assert half.after(seq[cut:], path[cut:], ROWS - cut) == begun.after(seq, path, ROWS)
    # Never what came after the observation, and not much that is older.
    known = found[there, 0]
    assert (known < observed[there]).all()
    assert (observed[there] - known <= 3 + delay / 2).all()  # two numbers a row
    assert (observed[there] - known).mean() <= 3 + delay / 4 if there.any() else True
    assert (there == (observed > 10)).all()


def test_a_trail_stays_short() -> None:
    one, n = trail.begun(0, (0.0,)), 1_000
    for first in range(0, 200_000, n):
        path = np.zeros((n + 1, 1))
        one = one.after(np.arange(first + 1, first + n + 1), path, n)
    assert len(one.at) < 8 * np.log2(200_000) + 20
