import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from continualml.errors import InputError
from continualml.evidence import blend, recall
from continualml.evidence.blend import Weights

Floats = NDArray[np.float64]
FOUR = blend.among(Weights(), ("a", "b", "c", "d"))


def brier(answer: Floats, truth: Floats) -> Floats:
    return (answer - truth) ** 2


@given(seed=st.integers(0, 10_000), cut=st.integers(0, 200))
def test_it_does_not_matter_how_the_rows_are_cut(seed: int, cut: int) -> None:
    loss = np.random.default_rng(seed).random((200, 4))
    whole = blend.step(FOUR, loss)
    first = blend.step(FOUR, loss[:cut])
    middle = first.after(FOUR, cut)
    second = blend.step(middle, loss[cut:])
    for name in ("weights", "parts"):
        halves = np.concatenate((getattr(first, name)[:-1], getattr(second, name)))
        assert halves.tolist() == getattr(whole, name).tolist()  # equal, not close
    assert middle.weights == tuple(first.weights[-1].tolist())


@pytest.mark.claim
@pytest.mark.parametrize("switches", [0, 1, 7])
def test_regret_stays_below_the_stated_bound_on_streams_made_to_hurt(switches: int) -> None:
    # The adversary sees the mean answer and picks the label that costs it most; the members are
    # extreme, and one of them is right in each stretch. A bound that were a quarter as large
    # breaks; so does the sum of regrets when the weights look at a row's own label.
    n, rng = 600, np.random.default_rng(7)
    edges = np.linspace(0, n, switches + 2).astype(int)
    weights, lost, members_lost = FOUR, 0.0, np.zeros(n)
    for k in range(switches + 1):
        right = k % 4
        for i in range(edges[k], edges[k + 1]):
            said = rng.random(4).round()
            mean = float(np.array(weights.weights) @ said)
            truth = 0.0 if mean >= 0.5 else 1.0
            said[right] = truth  # so its loss is 0, and everybody else misleads
            mean = float(np.array(weights.weights) @ said)
            lost += (mean - truth) ** 2
            each = brier(said, np.full(4, truth))
            members_lost[i] = each[right]
            weights = blend.step(weights, each[None, :]).after(weights, 1)
    regret = lost - members_lost.sum()
    bound = blend.regret_bound(4, switches, n)
    assert 0 < regret <= bound
    assert regret >= bound / 30  # the stream really hurts


def test_weights_are_those_before_a_rows_own_label() -> None:
    loss = np.array([[1.0, 0.0], [1.0, 0.0]])
    two = blend.among(Weights(), ("a", "b"))
    path = blend.step(two, loss).weights
    assert path[0].tolist() == [0.5, 0.5]
    assert path[1][1] > 0.5
    assert np.allclose(path.sum(axis=1), 1)


def test_a_new_member_gets_an_equal_part_and_the_others_keep_their_proportion() -> None:
    some = Weights(names=("a", "b"), parts=((0.5, 0.1), (0.3, 0.1)))
    three = blend.among(some, ("a", "b", "c"))
    assert three.weights == pytest.approx((0.8 * 2 / 3, 0.2 * 2 / 3, 1 / 3))
    assert [sum(part) for part in three.parts] == pytest.approx([0.6, 0.4])
    assert blend.among(three, ("c",)).weights == pytest.approx((1.0,))


def test_a_members_weight_comes_back_soon_after_it_becomes_right() -> None:
    bad_then_good = np.concatenate((np.ones(2_000), np.zeros(200)))
    loss = np.column_stack((bad_then_good, 1 - bad_then_good))
    path = blend.step(blend.among(Weights(), ("a", "b")), loss).weights
    assert path[2_000, 0] < 0.02
    assert path[2_030, 0] > 0.5  # ln(1 / share) / eta rows and some: fixed share forgets


def test_how_often_the_best_member_changes_is_learnt() -> None:
    # Two members are right in turn for 80 rows each, or one of them all the time: the weight goes
    # to the larger share, and to the smaller one. Parts normalised one by one would stay at a half.
    turns = (np.arange(4_000) // 80 % 2).astype(float)
    for lost, favoured in ((turns, 1), (np.zeros(4_000), 0)):
        loss = np.column_stack((lost, 1 - lost))
        path = blend.step(blend.among(Weights(), ("a", "b")), loss)
        assert path.parts[-1, favoured].sum() > 0.9


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (np.full((3, 2), 0.5), "loss: expected rows by 4 members, got (3, 2) (a list)"),
        (np.full((3, 4), np.nan), "loss: expected a loss in [0, 1], got nan (a number)"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(loss: Floats, message: str) -> None:
    with pytest.raises(InputError) as caught:
        blend.step(FOUR, loss)
    assert str(caught.value) == message


def test_a_rows_mean_answer_depends_on_that_row_alone() -> None:
    rng = np.random.default_rng(3)
    answers = rng.dirichlet((1, 1, 1), (50, 4))
    weights = rng.dirichlet((1, 1, 1, 1), 50)
    together = blend.mixed(weights, answers)
    alone = [blend.mixed(weights[i : i + 1], answers[i : i + 1])[0].tolist() for i in range(50)]
    assert together.tolist() == alone
    assert np.allclose(together, np.einsum("nj,njk->nk", weights, answers))


@given(seed=st.integers(0, 10_000), cut=st.integers(0, 100))
def test_the_earlier_version_that_leads_does_not_depend_on_cuts(seed: int, cut: int) -> None:
    loss = np.random.default_rng(seed).random((100, 3))
    start = recall.Recalled(versions=(4, 7, 9), loss=(0.2, 0.3, 0.1))
    means = recall.step(start, loss)
    part = recall.step(start, loss[:cut])
    middle = recall.Recalled(versions=start.versions, loss=tuple(part[-1].tolist()))
    rest = recall.step(middle, loss[cut:])
    assert [*part[:-1].tolist(), *rest.tolist()] == means.tolist()
    assert means.argmin(axis=1)[0] == 2
    assert start.leader == 9
    assert recall.Recalled(versions=(4, 7, 9), loss=tuple(means[-1].tolist())).leader in {4, 7, 9}
