import numpy as np
import pytest
from numpy.typing import NDArray

from continualml.errors import InputError
from continualml.loop.simulate import KINDS, Kind, Stream, score, stream

N = 20_000
Floats = NDArray[np.float64]


def made(kind: Kind, seed: int = 0) -> Stream:
    return stream(kind, N, np.random.default_rng(seed))


def fitted(s: Stream, start: int, stop: int) -> Floats:
    """Weights of the truth as measured: where features are independent and have no mean."""
    x, y = s.rows.numeric[start:stop], s.target[start:stop]
    found: Floats = (x - x.mean(axis=0)).T @ (y - y.mean()) / len(y)
    return found


def right(s: Stream, weights: Floats) -> NDArray[np.bool_]:
    """Rows at which the plane of these weights answers as the labels say."""
    answers: NDArray[np.bool_] = (s.rows.numeric @ weights > 0) == (s.target == 1)
    return answers


def angle(a: Floats, b: Floats) -> float:
    return float(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))


@pytest.mark.parametrize("kind", KINDS)
def test_before_the_change_every_stream_is_the_unchanged_one(kind: Kind) -> None:
    changed, same, again = made(kind), made("none"), made(kind)
    first = changed.changes[0].row if changed.changes else N
    assert np.array_equal(changed.rows.numeric[:first], same.rows.numeric[:first])
    assert np.array_equal(changed.target[:first], same.target[:first])
    assert np.array_equal(changed.rows.numeric, again.rows.numeric, equal_nan=True)
    assert np.array_equal(changed.target, again.target)
    other = made(kind, seed=1)
    assert not np.array_equal(changed.rows.numeric[:first], other.rows.numeric[:first])
    after = slice(first, None)
    if kind != "none":
        assert not (
            np.array_equal(changed.rows.numeric[after], same.rows.numeric[after])
            and np.array_equal(changed.target[after], same.target[after])
        )


@pytest.mark.claim
def test_the_best_answers_are_right_in_about_seven_of_eight() -> None:
    # Weights measured on 20,000 rows miss the best accuracy by far less than .01; the standard
    # error of a share of 20,000 is .0024.
    s = made("none")
    assert 0.85 <= right(s, fitted(s, 0, N)).mean() <= 0.90
    halves = angle(fitted(s, 0, N // 2), fitted(s, N // 2, N))
    assert halves <= 0.1


@pytest.mark.claim
def test_an_abrupt_change_turns_the_truth_at_one_row() -> None:
    s = made("abrupt")
    (change,) = s.changes
    assert (change.row, change.until) == (N // 2, N)
    before = fitted(s, 0, change.row)
    assert abs(angle(before, fitted(s, change.row, N)) - np.pi / 2) <= 0.1
    answers = right(s, before)
    assert answers[change.row - 500 : change.row].mean() >= 0.80
    # Orthogonal weights: half of the answers are right; 500 rows have a standard error of .022.
    assert abs(answers[change.row : change.row + 500].mean() - 0.5) <= 0.1
    assert abs(s.rows.numeric[change.row :].mean(axis=0)).max() <= 0.05


@pytest.mark.claim
def test_a_gradual_change_turns_the_truth_bit_by_bit() -> None:
    s = made("gradual")
    (change,) = s.changes
    before, end = fitted(s, 0, change.row), change.row + N // 3
    turned = [
        angle(before, fitted(s, at, at + N // 9)) for at in range(change.row, end - 5, N // 9)
    ]
    assert turned == pytest.approx([np.pi / 12, np.pi / 4, 5 * np.pi / 12], abs=0.1)
    assert abs(angle(before, fitted(s, end, N)) - np.pi / 2) <= 0.1


@pytest.mark.claim
def test_a_recurring_change_comes_back_to_where_it_was() -> None:
    s = made("recurring")
    quarters = [fitted(s, q * N // 4, (q + 1) * N // 4) for q in range(4)]
    assert [c.row for c in s.changes] == [N // 4, N // 2, 3 * N // 4]
    assert angle(quarters[0], quarters[2]) <= 0.15
    assert angle(quarters[1], quarters[3]) <= 0.15
    assert abs(angle(quarters[0], quarters[1]) - np.pi / 2) <= 0.15


@pytest.mark.claim
def test_a_covariate_change_moves_the_rows_and_leaves_the_law_of_the_label() -> None:
    s, same = made("covariate"), made("none")
    row = s.changes[0].row
    moved = s.rows.numeric[row:].mean(axis=0) - s.rows.numeric[:row].mean(axis=0)
    assert moved == pytest.approx([1.5] * 4 + [0.0] * 4, abs=0.06)
    # Among rows of like signal the share of "yes" is what it was.
    weights = fitted(same, 0, N)
    signal = s.rows.numeric @ weights / np.linalg.norm(weights)
    for low in (-1.0, -0.5, 0.0, 0.5):
        here = (signal >= low) & (signal < low + 0.25)
        shares = [s.target[part][here[part]].mean() for part in (slice(row), slice(row, None))]
        counts = [np.count_nonzero(here[part]) for part in (slice(row), slice(row, None))]
        assert min(counts) >= 200
        assert abs(shares[0] - shares[1]) <= 4 * np.sqrt(0.25 * sum(1 / c for c in counts)) + 0.02


def test_a_label_fault_touches_the_labels_of_its_span_alone() -> None:
    s, same = made("label_fault"), made("none")
    (change,) = s.changes
    span = slice(change.row, change.until)
    assert np.array_equal(s.rows.numeric, same.rows.numeric)
    assert np.array_equal(s.truth, same.truth)
    assert np.array_equal(s.target[span], 1 - s.truth[span])
    outside = np.r_[: change.row, change.until : N]
    assert np.array_equal(s.target[outside], s.truth[outside])
    stuck = stream("label_fault", N, np.random.default_rng(0), label_fault="constant")
    assert set(stuck.target[span]) == {0.0}


def test_a_broken_feed_touches_the_most_telling_column_of_its_span_alone() -> None:
    same = made("none")
    column = int(np.abs(fitted(same, 0, N)).argmax())
    for fault in ("missing", "constant", "unit"):
        s = stream("broken_feed", N, np.random.default_rng(0), feed_fault=fault)
        (change,) = s.changes
        differs = s.rows.numeric != same.rows.numeric
        rows, columns = np.nonzero(differs)
        assert set(columns.tolist()) == {column}
        assert (rows.min() >= change.row, rows.max()) == (True, change.until - 1)
        broken = s.rows.numeric[change.row : change.until, column]
        whole = same.rows.numeric[change.row : change.until, column]
        if fault == "missing":
            assert np.isnan(broken).all()
        elif fault == "constant":
            assert len(set(broken.tolist())) == 1
        else:
            assert np.array_equal(broken, 1_000 * whole)
        assert np.array_equal(s.target, same.target)


@pytest.mark.claim
def test_a_regression_has_a_linear_truth_with_a_tenth_of_noise() -> None:
    s = stream("abrupt", N, np.random.default_rng(0), task="regression", n_features=5)
    assert (s.model.kind, s.model.width, len(s.model.features)) == ("regression", 1, 5)
    row = s.changes[0].row
    x, y = s.rows.numeric[:row], s.target[:row]
    weights = np.asarray(np.linalg.lstsq(x, y, rcond=None)[0], dtype=np.float64)
    assert (y - x @ weights).var() / y.var() == pytest.approx(0.1, abs=0.01)
    assert abs(angle(weights, fitted(s, row, N)) - np.pi / 2) <= 0.1
    assert np.abs(s.target).max() <= 2 * s.model.bound


def test_a_score_says_what_was_false_late_and_wrong() -> None:
    s = made("recurring")  # changes at 5,000, 10,000 and 15,000
    correct = np.ones(N, dtype=bool)
    correct[5_000:6_000] = False
    found = score(s, [4_999, 5_000, 7_000, 15_300], [6_000, 16_000], correct)
    assert found.false_alarms == 1
    assert found.delays == (0, None, 300)
    assert (found.promotions, found.promotions_in_faults) == (2, 0)
    assert found.accuracy == 0.95
    assert found.accuracy_after == (0.8, 1.0, 1.0)


def test_an_alarm_soon_after_a_fault_is_no_false_one_and_learning_in_it_is_counted() -> None:
    s = made("label_fault")  # from 10,000 to 12,000
    found = score(s, [12_300, 12_500], [11_000, 12_000], np.ones(N, dtype=bool))
    assert (found.false_alarms, found.delays) == (1, (2_300,))
    assert (found.promotions, found.promotions_in_faults) == (2, 1)
    quiet = score(made("none"), [1, 2], [], np.zeros(N, dtype=bool))
    assert (quiet.false_alarms, quiet.delays, quiet.accuracy_after) == (2, (), ())


def test_what_cannot_be_drawn_or_scored_is_refused_by_name() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="n: expected at least 100 rows, got 99"):
        stream("none", 99, rng)
    with pytest.raises(InputError, match="n_features: expected at least 2, got 1"):
        stream("none", 100, rng, n_features=1)
    with pytest.raises(InputError, match="kind: expected one of"):
        stream("sudden", 100, rng)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"correct: expected shape \(20000,\)"):
        score(made("none"), [], [], np.ones(3, dtype=bool))
    with pytest.raises(InputError, match=r"expected rows in \[0, 20000\), got 20000"):
        score(made("none"), [N], [], np.ones(N, dtype=bool))
