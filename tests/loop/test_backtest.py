"""A policy over a log in memory: the same decisions as the loop, and what they are worth."""

from dataclasses import replace

import numpy as np
import pytest

from continualml import decide, demo
from continualml.decide import answers, judge, promise, standing
from continualml.errors import InputError
from continualml.loop import backtest, carry_out, making, simulate
from continualml.loop.training import Trainer
from continualml.model import Learner, Model, Policy, Strategy
from continualml.records import Rows, Trained, TrainingFailed
from continualml.store import ledger
from continualml.store.engine import read
from tests.conftest import Home

QUICK = Policy(
    block=24,
    false_alarms=5_000,
    false_promotions=2_000,
    strategies=(
        Strategy(name="short", window=400, refit=200),
        Strategy(name="long", window=2_000, refit=400),
    ),
)


def tried(trainer: Trainer, made: simulate.Stream, *, first: int = 600) -> backtest.Result:
    recorded = backtest.from_rows(made.model, made.rows, made.target, delay=24, first=first)
    return backtest.run(recorded, trainer, policy="p")


def test_a_backtest_of_the_policy_in_force_decides_what_the_loop_decided(home: Home) -> None:
    home.loop.turn("demo")
    for part in range(4):
        home.send(250, seed=10 + part, drift=1.5 * (part > 0))
        home.loop.turn("demo")
    with read(home.engine) as conn:
        recorded = backtest.from_store(conn, demo.DEMO)
        real = [e.decision for e in ledger.entries(conn, limit=1_000)][::-1]
    result = backtest.run(recorded, home.loop.trainer, policy="same")

    kinds = {"promote", "rollback", "accept", "refuse", "follow"}
    wanted = [(d.kind, d.seq, d.version) for d in real if d.kind in kinds]
    found = [(d.kind, d.seq, d.version) for _, d in result.decisions if d.kind in kinds]
    assert "promote" in {kind for kind, _, _ in wanted}
    assert found == wanted
    assert len(result.right) == 1_000


def test_no_answer_knows_a_label_that_came_after_it(trainer: Trainer) -> None:
    # Labels that are coins: whoever answers before their labels is right half of the time, in
    # 3,000 rows within 5 standard errors; a label that leaks into its own answer shows at once.
    rng = np.random.default_rng(11)
    x = rng.normal(size=(3_600, 3))
    made = simulate.stream("none", 3_600, rng, n_features=3, policy=QUICK)
    coins = rng.integers(0, 2, 3_600).astype(float)
    rows = Rows(numeric=x, categorical=np.empty((3_600, 0), dtype=object))
    recorded = backtest.from_rows(made.model, rows, coins, delay=0, first=600)
    result = backtest.run(recorded, trainer, policy="coins")
    assert abs(result.right.mean() - 0.5) < 5 * 0.5 / 3_000**0.5


def test_rows_wait_for_their_labels_as_long_as_was_said() -> None:
    made = simulate.stream("none", 200, np.random.default_rng(0), policy=QUICK)
    recorded = backtest.from_rows(made.model, made.rows, made.target, delay=48, first=100)
    seq, seen = recorded.rows.seq, recorded.rows.observation_seq
    assert (np.diff(seq) > 0).all()
    assert len(set(seq) | set(seen)) == 400  # every event has a number of its own
    between = [int(((seen > seen[i]) & (seen < seq[i])).sum()) for i in range(150)]
    assert set(between) == {48}


def test_what_was_accepted_is_learnt_from_rows_that_were_observed_since(trainer: Trainer) -> None:
    made = simulate.stream("none", 1_200, np.random.default_rng(0), policy=QUICK)
    recorded = backtest.from_rows(made.model, made.rows, made.target, delay=200, first=600)
    since, through = int(recorded.rows.observation_seq[700]), int(recorded.rows.seq[1_100])
    order = decide.Order(strategy=decide.SINCE_ALARM, through=through, since=since)
    oldest = {}
    for strictly in (False, True):
        one = replace(order, by_observation=strictly)
        new = making.made(recorded, trainer, made.model, None, one)
        assert isinstance(new, making.Made)
        oldest[strictly] = new.manifest["rows"]["ranges"][0][0]
    assert oldest[True] == since
    assert oldest[False] < since  # its label came since, and it is a row from before


def test_late_rows_of_a_fault_are_left_out_and_as_many_rows_are_read_before_it() -> None:
    made = simulate.stream("none", 1_200, np.random.default_rng(0), policy=QUICK)
    recorded = backtest.from_rows(made.model, made.rows, made.target, delay=200, first=600)
    seq, seen = recorded.rows.seq, recorded.rows.observation_seq
    fault = (int(seen[700]), int(seen[800]))
    found = recorded.training(int(seq[990]), 400, (fault,))
    assert len(found) == 400
    for numbers in (found.seq, found.observation_seq):
        assert not ((numbers >= fault[0]) & (numbers <= fault[1])).any()


def test_a_reference_of_which_every_row_is_left_out_is_refused_and_the_loop_goes_on(
    home: Home,
) -> None:
    home.loop.turn("demo")
    with read(home.engine) as conn:
        state = carry_out.known(conn, "demo").standing
    assert state is not None
    shelf = carry_out.Shelf(home.engine, home.loop.artifacts, demo.DEMO)
    order = decide.Order(strategy=decide.REFERENCE, through=state.read, without=((1, state.read),))
    new = making.made(shelf, home.loop.trainer, demo.DEMO, state, order)
    assert isinstance(new, TrainingFailed)
    assert new.because == "every labelled row is left out"


def test_store_and_memory_leave_out_the_same_rows_and_read_as_many(home: Home) -> None:
    home.loop.turn("demo")
    home.send(300, seed=10)  # 300 rows, and then their labels
    home.loop.turn("demo")
    with read(home.engine) as conn:
        recorded = backtest.from_store(conn, demo.DEMO)
    shelf = carry_out.Shelf(home.engine, home.loop.artifacts, demo.DEMO)
    through = int(recorded.rows.seq[-20])
    first, last = recorded.rows.observation_seq[[-250, -150]].tolist()
    for fault in ((first, last), (int(recorded.rows.seq[-250]), int(recorded.rows.seq[-150]))):
        stored, there = (p.training(through, 300, (fault,)) for p in (shelf, recorded))
        assert len(stored) == 300
        assert stored.observation_seq.tolist() == there.observation_seq.tolist()


@pytest.mark.claim
def test_drift_is_answered_and_a_quiet_stream_is_left_alone(trainer: Trainer) -> None:
    rng = np.random.default_rng
    quiet = tried(trainer, simulate.stream("none", 3_000, rng(1), policy=QUICK))
    moved = tried(trainer, simulate.stream("abrupt", 3_000, rng(1), policy=QUICK))
    assert quiet.rows_of("promote", "alarm") == []
    assert moved.rows_of("alarm")
    assert moved.rows_of("promote")
    # At a right angle the old weights are worth nothing: half of the answers are right by chance.
    assert moved.right[-600:].mean() > 0.75


@pytest.mark.claim
def test_a_retrain_on_flipped_labels_is_never_promoted_and_costs_little(trainer: Trainer) -> None:
    rng = np.random.default_rng
    made = simulate.stream("label_fault", 3_600, rng(2), policy=QUICK)
    result = tried(trainer, made)
    (fault,) = made.changes
    first = 600
    alarms = [d for row, d in result.decisions if d.kind == "alarm"]
    assert "label fault" in {d.basis["diagnosis"] for d in alarms}
    promoted = [first + row for row in result.rows_of("promote")]
    assert not [row for row in promoted if fault.row <= row < fault.until + 240]
    assert "recover" in {d.kind for _, d in result.decisions}
    quiet = tried(trainer, simulate.stream("none", 3_600, rng(2), policy=QUICK))
    truth = made.truth[first:]
    said = np.where(result.right, made.target[first:], 1 - made.target[first:])
    wrong = int((said != truth).sum()) - int((~quiet.right).sum())
    assert wrong < 150  # wrong answers that the fault cost, in 3,000 rows with 750 false labels


def test_a_users_own_function_is_a_strategy_that_wins_where_it_fits(trainer: Trainer) -> None:
    rng = np.random.default_rng(12)
    x = rng.normal(size=(1_800, 2))
    target = ((x[:, 0] * x[:, 1] > 0) != (rng.random(1_800) < 0.05)).astype(float)
    mine = Strategy(
        name="mine", window=400, refit=200, learner=Learner(name="tests.learning.own:curved")
    )
    policy = replace(QUICK, strategies=(*QUICK.strategies, mine))
    model = simulate.stream("none", 100, rng, n_features=2, policy=policy).model
    rows = Rows(numeric=x, categorical=np.empty((1_800, 0), dtype=object))
    recorded = backtest.from_rows(model, rows, target, delay=24, first=600)
    result = backtest.run(recorded, trainer, policy="p")
    assert result.rows_of("promote")
    # No line parts these classes: who answers by one is right half of the time.
    assert result.right[-400:].mean() > 0.85


def without_earlier_versions(
    model: Model, state: decide.Standing
) -> tuple[standing.Artifact | None, ...]:
    earlier = {decide.RECALL, decide.PREVIOUS, decide.ANCHOR}
    there = zip(decide.places(model), decide.challengers(model, state), strict=True)
    return tuple(None if name in earlier else a for name, a in there)


def labels_until_right(result: backtest.Result, since: int) -> int:
    """Rows after ``since`` until four of five of the next 200 are answered rightly."""
    right = np.convolve(result.right[since:], np.full(200, 1 / 200), mode="valid")
    return int((right >= 0.8).argmax()) if (right >= 0.8).any() else len(right)


@pytest.mark.claim
def test_when_a_world_comes_back_recall_needs_fewer_labels_than_refits(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_slow = replace(
        QUICK, strategies=(Strategy(name="slow", window=800, refit=400),), false_alarms=10**7
    )
    made = simulate.stream("recurring", 6_000, np.random.default_rng(3), policy=only_slow)
    result = tried(trainer, made, first=1_000)
    back = [c for c in made.changes if c.kind == "recurring"]
    assert back
    recalled = [
        (1_000 + row, d)
        for row, d in result.decisions
        if d.kind == "rollback" and d.basis["place"] in {"recall", "previous", "anchor"}
    ]
    assert recalled
    row, decision = recalled[0]
    change = max(c.until for c in made.changes if c.until <= row)
    proof = decision.basis["gate"][decision.basis["place"]]
    assert proof["evidence"] >= proof["threshold"]
    # What it beats is the strategy that is followed: each of its refits still sees old rows.
    assert "slow" not in decision.basis["gate"]
    assert row - change < 800
    # The same world without earlier versions: whoever is to answer well has to be fitted anew.
    for module in (standing, answers, judge, promise):
        monkeypatch.setattr(module, "challengers", without_earlier_versions)
    refitted = tried(trainer, made, first=1_000)
    assert not refitted.rows_of("rollback")
    back_at = change - 1_000
    assert labels_until_right(result, back_at) < labels_until_right(refitted, back_at)


def test_a_version_that_hides_which_rows_it_has_seen_is_not_judged_on_them(
    trainer: Trainer,
) -> None:
    made = simulate.stream("none", 1_200, np.random.default_rng(0), policy=QUICK)
    recorded = backtest.from_rows(made.model, made.rows, made.target, delay=0, first=600)

    def register(strategy: str, state: decide.Standing | None, through: int) -> Trained:
        order = decide.Order(strategy=strategy, through=through)
        new = making.made(recorded, trainer, made.model, state, order)
        assert isinstance(new, making.Made)
        outcome = recorded.register(new)
        assert isinstance(outcome, Trained)
        return outcome

    state, _ = decide.begin(made.model, 1, register(making.FIRST, None, recorded.first))
    honest, _ = decide.step(made.model, state, 2, register("short", state, state.read))
    assert making.scored(recorded, made.model, honest) is not None
    # Fitted on rows that come after; what it says of itself lets the fold believe that it was not.
    ahead = register("short", state, int(recorded.rows.seq[900]))
    cheat, _ = decide.step(made.model, state, 2, replace(ahead, through=state.read))
    with pytest.raises(InputError, match="rows that version 3 was not trained on"):
        making.scored(recorded, made.model, cheat)
    # Rows that it has seen, back under numbers that are new.
    rows = recorded.rows
    again = np.concatenate((np.arange(601), np.arange(200, 799)))
    back = replace(recorded, rows=replace(rows, observation_seq=rows.observation_seq[again]))
    with pytest.raises(InputError, match="was not trained on"):
        making.scored(back, made.model, honest)


def test_another_schema_is_no_policy_for_this_log() -> None:
    made = simulate.stream("none", 200, np.random.default_rng(0), policy=QUICK)
    recorded = backtest.from_rows(made.model, made.rows, made.target, delay=0, first=100)
    other: Model = replace(made.model, target="z")
    with pytest.raises(InputError, match="expected as in the log"):
        recorded.under(other)
