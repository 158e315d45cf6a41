import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from continualml.errors import InputError
from continualml.evidence import refusals
from continualml.evidence.refusals import RefusalEvidence, RefusalQuestion
from continualml.records import Counted

ASKED = RefusalQuestion(budget=50_000, block=48)


def window(seq: int, answered: int, refused: int, name: str = "age") -> Counted:
    return Counted(
        seq=seq, answered=answered, refused=refused, fields={name: refused} if refused else {}
    )


def stream(share: float, n: int, *, rows: int = 48, seed: int = 0, after: int = 0) -> list[Counted]:
    refused = np.random.default_rng(seed).binomial(rows, share, n).tolist()
    return [window(after + 1 + i, rows - k, k) for i, k in enumerate(refused)]


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 80))
def test_it_does_not_matter_how_the_windows_are_cut(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 60, (80, 2)) * rng.integers(0, 2, (80, 2))
    windows = tuple(window(1 + i, int(a), int(k)) for i, (a, k) in enumerate(counts))
    whole = refusals.step(ASKED, RefusalEvidence(), windows)

    half, first = refusals.step(ASKED, RefusalEvidence(), windows[:cut])
    halves, second = refusals.step(ASKED, half, windows)  # the first windows come twice

    assert (halves, first + second) == whole


def test_a_feed_that_breaks_is_said_with_its_fields_and_since_when() -> None:
    before = [window(1 + i, 48, 0) for i in range(40)]
    after = [window(41 + i, 24, 24, "income" if i % 3 else "age") for i in range(20)]
    state, said = refusals.step(ASKED, RefusalEvidence(), tuple(before))
    assert said == ()
    assert state.promised == pytest.approx(0.03)

    _, said = refusals.step(ASKED, state, tuple(after))

    assert said[0].began == 41
    assert said[0].seq <= 44  # four windows of which a half is refused
    assert said[0].refused * 2 == said[0].rows
    assert [name for name, _ in said[0].fields] == ["income", "age"]


def test_a_share_that_is_usual_is_no_alarm_and_one_above_it_is() -> None:
    state, said = refusals.step(ASKED, RefusalEvidence(), tuple(stream(0.1, 200)))
    assert said == ()
    assert state.promised is not None
    assert 0.1 < state.promised < 0.22
    _, said = refusals.step(ASKED, state, tuple(stream(0.3, 60, after=200, seed=1)))
    assert said


def test_a_feed_that_was_broken_from_the_start_is_not_usual() -> None:
    state, said = refusals.step(ASKED, RefusalEvidence(), tuple(stream(0.6, 40)))
    assert said
    assert not state.known
    # A person knows better: after that it is learnt as it is, and only more than that is said.
    state, said = refusals.step(
        ASKED, refusals.accepted(state), tuple(stream(0.6, 100, after=40, seed=1))
    )
    assert said == ()
    assert state.known
    _, said = refusals.step(ASKED, state, tuple(stream(1.0, 40, after=140)))
    assert said


def test_the_state_does_not_grow_with_the_names_that_are_sent() -> None:
    windows = tuple(
        Counted(seq=1 + i, answered=10, refused=10, fields={f"x{i}": 10}) for i in range(500)
    )
    state, _ = refusals.step(RefusalQuestion(budget=1e12, block=48), RefusalEvidence(), windows)
    assert len(state.fields) <= 17


def test_what_is_no_count_is_refused_and_nothing_is_folded() -> None:
    with pytest.raises(InputError, match="windows: expected counts"):
        refusals.step(ASKED, RefusalEvidence(), (window(1, -1, 0),))
    with pytest.raises(InputError, match="increasing"):
        refusals.step(ASKED, RefusalEvidence(), (window(2, 1, 0), window(2, 1, 0)))


def first_alarm(rng: np.random.Generator, budget: int, *, batch: int, longest: int) -> int:
    """Say after how many rows it alarms where the share is just what is promised."""
    asked, share, rows = RefusalQuestion(budget=budget, block=48), 0.08, 0
    state = RefusalEvidence(known=True, promised=share)
    while True:
        n = int(rng.integers(48 // batch, longest // batch + 1)) * batch
        k = int(rng.binomial(n // batch, share)) * batch  # batches are refused as a whole
        rows += n
        state, said = refusals.step(asked, state, (window(state.seq + 1, n - k, k),))
        if said:
            return rows


@pytest.mark.claim
@pytest.mark.parametrize(("batch", "longest"), [(1, 48), (12, 120)])
def test_at_the_edge_of_what_is_usual_the_budget_is_kept(batch: int, longest: int) -> None:
    """Mean rows to a false alarm >= budget; right code fails this with a chance below 1e-6."""
    budget, worlds, rng = 1_000, 200, np.random.default_rng(7)
    rows = [first_alarm(rng, budget, batch=batch, longest=longest) for _ in range(worlds)]
    error = float(np.std(rows, ddof=1)) / worlds**0.5
    assert np.mean(rows) >= budget + norm.ppf(1e-6) * error
