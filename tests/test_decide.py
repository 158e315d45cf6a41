from dataclasses import replace

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from continualml import decide
from continualml.errors import InputError
from continualml.evidence.reference import codes, labelled, of_columns
from continualml.model import Feature, Model, Policy, Strategy
from continualml.records import (
    Accepted,
    Decision,
    Declared,
    Described,
    Merged,
    Outcome,
    Scored,
    Trained,
    TrainingFailed,
    Watched,
)

Floats = NDArray[np.float64]
BLOCK = 20
MODEL = Model(
    name="m",
    kind="classification",
    target="y",
    classes=("no", "yes"),
    features=(Feature(name="x"),),
    policy=Policy(
        block=BLOCK,
        false_alarms=2_000,
        false_promotions=2_000,
        strategies=(
            Strategy(name="short", window=100, refit=100),
            Strategy(name="long", window=1_000, refit=400),
        ),
    ),
)


def trained(strategy: str, version: int, through: int, **other: float) -> Trained:
    values = {"loss": 0.2, "worse_by": 0.0, "standard_error": 0.01} | other
    return Trained(
        strategy=strategy,
        version=version,
        through=through,
        hold=50,
        held={"brier": (values["loss"], 0.01), "error_rate": (0.15, 0.02), "log_loss": (0.2, 0.02)},
        predecessor=None if values["worse_by"] == 0 else 1,
        seconds=0.1,
        worse_by=values["worse_by"],
        standard_error=values["standard_error"],
    )


class World:
    """Feeds one model's loop with outcomes; each version loses what ``level`` says, and noise."""

    def __init__(self, model: Model = MODEL, *, seed: int = 0) -> None:
        self.model, self.rng, self.level = model, np.random.default_rng(seed), {1: 0.2}
        self.seq, self.row, self.said = 1, 100, list[Decision]()
        self.moody: set[int] = set()
        self.state, decisions = decide.begin(model, 1, trained("first", 1, 100))
        self.said += decisions
        self.describe()

    def take(self, outcome: Outcome) -> tuple[Decision, ...]:
        self.seq += 1
        self.state, decisions = decide.step(self.model, self.state, self.seq, outcome)
        self.said += decisions
        return decisions

    def scored(self, rows: int, *, first: int | None = None) -> Scored:
        first = self.row + 1 if first is None else first
        versions = decide.watched(self.model, self.state)
        noise = self.rng.normal(0, 0.05, rows)
        loss = np.column_stack(
            [(self.level[v] + noise + self.rng.normal(0, 0.05, rows)).clip(0, 1) for v in versions]
        )
        for i, v in enumerate(versions):
            if v in self.moody:  # right or quite wrong, each as often
                loss[:, i] = 2 * self.level[v] * self.rng.integers(0, 2, rows)
        wrong = np.sqrt(loss)  # of two classes: the Brier loss is the wrong probability's square
        target = self.rng.integers(0, 2, rows)
        yes = np.where(target[:, None] == 1, 1 - wrong, wrong)
        return Scored(
            versions=versions,
            seq=np.arange(first, first + rows).astype("<i8").tobytes(),
            target=target.astype("<f8").tobytes(),
            answers=np.stack([1 - yes, yes], axis=2).astype("<f4").tobytes(),
        )

    def describe(self) -> None:
        """Carry out the order for a reference: a standard normal feature, labels half and half."""
        columns = {"x": self.rng.normal(size=500)}
        labels = labelled(self.model, self.rng.integers(0, 2, 500).astype(float))
        self.take(
            Described(
                version=self.state.anchor.version,
                observed=self.row,
                columns=msgspec.msgpack.encode(of_columns(columns)),
                labels=msgspec.msgpack.encode(of_columns(labels)),
            )
        )
        self.observed = self.row

    def see(self, values: Floats) -> tuple[Decision, ...]:
        """Let observations come with these values of the feature."""
        assert self.state.drift is not None
        seq = np.arange(self.observed + 1, self.observed + 1 + len(values))
        self.observed += len(values)
        found = codes(self.state.drift.columns, {"x": values})
        return self.take(
            Watched(
                version=self.state.drift.version,
                seq=seq.astype("<i8").tobytes(),
                codes=found.tobytes(),
            )
        )

    def go(self, rows: int, *, step: int = 20) -> None:
        until = self.row + rows
        while self.row < until:
            self.take(self.scored(min(step, until - self.row)))
            self.row = max(self.row, self.state.read)  # rows after an alarm are sent again

    def blend(self, version: int) -> None:
        """Carry out the order for the blend's graph."""
        (order,) = [o for o in self.state.orders if o.strategy == decide.BLEND]
        merged = Merged(
            strategy=decide.BLEND, version=version, through=order.through, members=order.members
        )
        self.take(merged)

    def kinds(self) -> list[str]:
        return [d.kind for d in self.said if d.kind not in {"keep", "accept"}]


def test_a_better_strategy_is_promoted_then_followed_and_the_anchor_stays() -> None:
    world = World()
    world.level[2] = 0.1
    world.take(trained("short", 2, 100))
    world.go(2_000)

    assert world.kinds() == ["first", "promote"]
    assert (world.state.champion.version, world.state.follows) == (2, "short")

    world.level[3] = 0.1
    world.take(trained("short", 3, world.row))
    assert world.kinds()[-1] == "follow"
    assert (world.state.champion.version, world.state.anchor.version) == (3, 2)


def test_a_followed_strategy_that_went_bad_gives_way_to_its_proven_artifact() -> None:
    world = World()
    world.level |= {2: 0.1, 3: 0.3}
    world.take(trained("short", 2, 100))
    world.go(2_000)
    world.take(trained("short", 3, world.row))
    world.go(2_000)

    last = next(d for d in world.said if d.kind == "rollback")
    assert last.version == 2
    assert world.state.champion.version == 2
    assert world.state.follows is None


def test_the_champion_before_wins_its_place_back() -> None:
    world = World()
    world.level[2] = 0.1
    world.take(trained("short", 2, 100))
    world.go(2_000)
    world.level = {1: 0.1, 2: 0.3}
    world.go(3_000)

    assert [d.version for d in world.said if d.kind == "rollback"] == [1]


def test_nothing_is_promoted_while_nothing_is_better() -> None:
    world = World()
    world.level |= {2: 0.2, 3: 0.25}
    world.take(trained("short", 2, 100))
    world.take(trained("long", 3, 100))
    world.go(1_000)
    assert world.kinds() == ["first"]
    assert world.said[-1].kind == "keep"
    assert world.said[-1].basis["gate"]["short"]["version"] == 2


def test_a_version_is_never_judged_on_a_row_that_it_was_trained_on() -> None:
    world = World()
    world.level[2] = 0.0
    world.take(trained("short", 2, 130))  # has seen rows up to 130
    before = world.state
    with pytest.raises(InputError, match="rows after 130, the last that version 2 has seen"):
        world.take(world.scored(20))
    assert world.state == before


def test_a_refit_that_is_worse_than_its_predecessor_is_refused() -> None:
    world = World()
    world.level[2] = 0.2
    world.take(trained("short", 2, 100))
    decisions = world.take(trained("short", 3, 100, worse_by=0.02, standard_error=0.01))
    assert [d.kind for d in decisions] == ["refuse"]
    assert world.state.heads["short"].version == 2
    decisions = world.take(trained("short", 4, 100, worse_by=0.02, standard_error=0.03))
    assert [d.kind for d in decisions] == ["accept"]


def test_a_failed_training_is_said_and_the_champion_stays() -> None:
    world = World()
    ordered = {o.strategy for o in world.state.orders}
    decisions = world.take(TrainingFailed(strategy="short", through=100, because="too slow"))
    assert ordered == {"short", "long"}
    assert {o.strategy for o in world.state.orders} == {"long"}
    assert decisions[0].because == "no version came of short: too slow"
    assert world.state.champion.version == 1


def test_refits_come_due_by_labelled_rows_and_only_then() -> None:
    world = World()
    for strategy in ("short", "long"):
        world.take(TrainingFailed(strategy=strategy, through=100, because="quiet"))
    assert decide.rows_until_due(MODEL, world.state) == 100
    world.go(80)
    assert not list(world.state.orders)
    assert decide.rows_until_due(MODEL, world.state) == 20
    world.go(20)
    assert list(world.state.orders) == [decide.Order(strategy="short", through=200)]


def test_on_alarm_nothing_is_trained_until_the_threshold_is_broken() -> None:
    policy = replace(MODEL.policy, retrain="on_alarm", threshold=0.7, threshold_metric="brier")
    world = World(replace(MODEL, policy=policy))
    world.go(1_000)
    assert not world.state.orders
    world.level[1] = 0.45
    world.moody = {1}
    world.go(600)
    alarms = [d for d in world.said if d.kind == "alarm"]
    assert abs(alarms[0].basis["began"] - 1_101) <= BLOCK
    assert {o.strategy for o in world.state.orders} == {"short", "long", "since-alarm"}
    assert next(o for o in world.state.orders if o.since).since == alarms[-1].basis["began"]


def test_an_outcome_taken_in_twice_changes_nothing() -> None:
    world = World()
    outcome = trained("short", 2, 100)
    world.take(outcome)
    again, decisions = decide.step(MODEL, world.state, world.seq, outcome)
    assert (again, decisions) == (world.state, ())


def test_a_cooldown_holds_back_the_next_promotion() -> None:
    eager, calm = (
        World(replace(MODEL, policy=replace(MODEL.policy, cooldown=rows))) for rows in (0, 5_000)
    )
    for world in (eager, calm):
        world.level |= {2: 0.15, 3: 0.05}
        world.take(trained("short", 2, 100))
        world.go(2_000)
        world.take(trained("long", 3, world.row))
        world.go(2_000)
    assert eager.kinds() == ["first", "promote", "promote"]
    assert calm.kinds() == ["first", "promote"]
    calm.go(4_000)
    assert calm.kinds() == ["first", "promote", "promote"]


def test_the_blend_is_proven_once_and_then_its_weights_and_graphs_answer() -> None:
    world = World()
    world.level |= {2: 0.18, 3: 0.18}
    world.moody = {2, 3}  # they are wrong on other rows, so their mean is better than either
    world.take(trained("short", 2, 100))
    world.take(trained("long", 3, 100))
    world.blend(4)
    assert world.state.weights.weights == (0.5, 0.5)
    world.go(2_000)

    promoted = next(d for d in world.said if d.kind == "promote")
    assert (promoted.basis["place"], promoted.version) == ("blend", 4)
    assert world.state.follows == "blend"
    before = decide.champion_weights(world.state)
    assert sum(before) == pytest.approx(1)
    world.level |= {2: 0.3, 3: 0.01}
    world.moody = set()
    world.go(400)
    after = dict(zip(world.state.weights.names, world.state.weights.weights, strict=True))
    assert after["long"] > 0.9
    assert after["long"] in decide.champion_weights(world.state)
    assert world.state.anchor.weights != decide.champion_weights(world.state)  # the proven ones

    world.level[5] = 0.1
    world.take(trained("short", 5, world.row))
    world.blend(6)
    assert world.said[-1].kind == "follow"
    assert world.state.champion.members == (("long", 3), ("short", 5))


def test_the_blend_meets_each_row_with_the_weights_from_before_its_label() -> None:
    world = World()
    world.level |= {2: 0.1, 3: 0.3}
    world.take(trained("short", 2, 100))
    world.take(trained("long", 3, 100))
    world.blend(4)
    outcome = world.scored(40)
    path = decide.weights_path(MODEL, world.state, outcome)
    assert path is not None
    assert path[0].tolist() == list(world.state.weights.weights)
    world.take(outcome)
    assert path[-1].tolist() == list(world.state.weights.weights)


def test_members_do_not_challenge_the_blend_that_they_are_part_of() -> None:
    world = World()
    world.level |= {2: 0.15, 3: 0.15, 4: 0.15}
    for name, version in (("short", 2), ("long", 3)):
        world.take(trained(name, version, 100))
    world.blend(4)
    named = dict(zip(decide.places(MODEL), decide.challengers(MODEL, world.state), strict=True))
    assert {n for n, a in named.items() if a} == {"short", "long", "blend"}
    follows = replace(world.state, champion=world.state.heads["blend"], follows="blend")
    named = dict(zip(decide.places(MODEL), decide.challengers(MODEL, follows), strict=True))
    assert {n for n, a in named.items() if a} == {"anchor"}  # the first champion, frozen
    follows = replace(world.state, champion=world.state.heads["short"], follows="short")
    named = dict(zip(decide.places(MODEL), decide.challengers(MODEL, follows), strict=True))
    assert {n for n, a in named.items() if a} == {"long", "blend", "anchor"}


def test_a_refit_that_no_blend_took_up_challenges_the_blend_that_answers() -> None:
    world = World()
    world.level |= {2: 0.15, 3: 0.15, 5: 0.05}
    for name, version in (("short", 2), ("long", 3)):
        world.take(trained(name, version, 100))
    world.blend(4)
    blend = world.state.heads["blend"]
    world.state = replace(world.state, champion=blend, anchor=blend, follows="blend")

    def challenging() -> set[str]:
        named = zip(decide.places(MODEL), decide.challengers(MODEL, world.state), strict=True)
        return {n for n, a in named if a}

    world.take(trained("short", 5, world.row))
    assert challenging() == set()  # its blend is ordered
    through = world.row
    world.take(TrainingFailed(strategy="blend", through=through, because="the graph is too large"))
    assert challenging() == {"short"}
    world.go(2_000)
    promoted = next(d for d in world.said if d.kind == "promote")
    assert (promoted.basis["place"], promoted.version) == ("short", 5)


def test_what_was_bet_on_one_artifact_after_an_alarm_is_no_proof_of_the_next() -> None:
    world = World()
    world.level[2] = 0.15
    world.take(trained("since-alarm", 2, 100))
    world.go(300)
    place = decide.places(MODEL).index("since-alarm")
    assert world.state.evidence.gates[place].value > 5
    world.take(trained("since-alarm", 3, world.row))
    assert world.state.evidence.gates[place].value == 0


def test_an_artifact_trained_after_an_alarm_is_never_followed_by_the_next_one() -> None:
    world = World()
    world.level[2] = 0.05
    world.take(trained("since-alarm", 2, 100))
    world.go(2_000)
    assert (world.state.champion.version, world.state.follows) == (2, None)
    world.level[3] = 0.9
    world.take(trained("since-alarm", 3, world.row))
    assert world.state.champion.version == 2


def test_rows_after_an_alarm_meet_the_versions_that_came_of_it() -> None:
    policy = replace(MODEL.policy, retrain="on_alarm", threshold=0.7, threshold_metric="brier")
    world = World(replace(MODEL, policy=policy))
    world.level[1] = 0.45
    world.moody = {1}
    decisions = world.take(world.scored(1_000))
    assert decisions[0].kind == "alarm"
    assert world.state.read < 1_100
    assert {o.through for o in world.state.orders} == {world.state.read}


def test_an_earlier_version_that_fits_again_is_recalled() -> None:
    world = World()
    world.level[2] = 0.05
    world.take(trained("short", 2, 100))
    world.go(1_000)
    world.level |= {3: 0.02}
    world.take(trained("long", 3, world.row))
    world.go(4_000)
    assert world.state.champion.version == 3
    assert {a.version for a in world.state.archive} == {1, 2}
    world.level |= {1: 0.01, 2: 0.4, 3: 0.4}  # the world is again as it was in the beginning
    world.go(1_000)
    last = [d for d in world.said if d.kind in {"promote", "rollback"}][-1]
    assert last.version == 1
    assert last.basis["place"] == "recall"


def test_a_version_without_a_finite_answer_is_as_wrong_as_can_be() -> None:
    world = World()
    world.level[2] = 0.2
    world.take(trained("short", 2, 100))
    outcome = world.scored(20)
    answers = np.frombuffer(outcome.answers, "<f4").reshape(20, 2, 2).copy()
    answers[:, 1] = np.nan
    world.take(replace(outcome, answers=answers.tobytes()))
    place = decide.places(MODEL).index("short")
    assert world.state.evidence.gates[place].value < 1
    assert world.state.read == 120


def test_a_changed_policy_keeps_the_evidence_of_what_still_means_the_same() -> None:
    world = World()
    world.level |= {2: 0.17, 3: 0.19}
    world.take(trained("short", 2, 100))
    world.take(trained("long", 3, 100))
    world.go(300)
    old = dict(zip(decide.places(MODEL), world.state.evidence.gates, strict=True))
    longer = replace(MODEL.policy.strategies[1], window=2_000)
    fresh = Strategy(name="fresh", window=50, refit=50)
    policy = replace(MODEL.policy, strategies=(fresh, longer, MODEL.policy.strategies[0]))
    world.model = replace(MODEL, policy=policy)
    world.seq += 1
    declared = Declared(model=world.model)
    world.state, (said,) = decide.step(MODEL, world.state, world.seq, declared)

    new = dict(zip(decide.places(world.model), world.state.evidence.gates, strict=True))
    assert old["short"].value > 1
    assert new["short"] == old["short"]  # by name: its place has changed
    assert new["long"].value == new["fresh"].value == 0  # another strategy under that name
    assert (said.kind, said.basis["changed"]) == ("policy", ["policy.strategies"])
    assert {"fresh", "long"} <= {o.strategy for o in world.state.orders}
    world.go(100)  # and the loop goes on


def test_a_strategy_that_is_taken_away_and_put_back_has_spent_what_it_spent() -> None:
    world = World()
    world.level |= {2: 0.2}
    world.take(trained("long", 2, 100))
    world.go(300)
    place = decide.places(MODEL).index("long")
    spent = world.state.evidence.gates[place].rows
    assert spent == max(g.rows for g in world.state.evidence.gates) > 0
    fewer = replace(MODEL, policy=replace(MODEL.policy, strategies=MODEL.policy.strategies[:1]))
    for before, after in ((MODEL, fewer), (fewer, MODEL)):
        world.seq += 1
        declared = Declared(model=after)
        world.state, _ = decide.step(before, world.state, world.seq, declared)
    back = world.state.evidence.gates[place]
    assert (back.value, back.rows) == (0, spent)


def test_another_block_begins_the_evidence_on_columns_anew() -> None:
    world = World()
    world.see(world.rng.normal(0.8, 1.0, 70))  # three blocks of 20 and half of the next
    assert decide.evidence_now(MODEL, world.state)["columns"]["x"] > 0
    policy = replace(MODEL.policy, block=50)
    world.seq += 1
    wider = replace(MODEL, policy=policy)
    world.state, _ = decide.step(MODEL, world.state, world.seq, Declared(model=wider))
    world.model = wider
    assert decide.evidence_now(wider, world.state)["columns"]["x"] == 0
    world.see(world.rng.normal(size=200))  # and goes on by the new block
    world.level |= dict.fromkeys(range(2, 9), 0.2)
    world.go(200)


def test_another_schema_under_the_same_name_is_refused() -> None:
    world = World()
    other = replace(MODEL, features=(Feature(name="x"), Feature(name="z")))
    with pytest.raises(InputError, match=r"models\.m\.features: expected as its versions were"):
        decide.step(MODEL, world.state, 99, Declared(model=other))


def test_a_feature_that_moved_while_the_loss_keeps_its_promise_is_only_said() -> None:
    world = World()
    world.level[2] = 0.15
    world.take(trained("short", 2, 100))
    world.take(trained("long", 3, 100))
    world.level[3] = 0.15
    world.go(100)
    before = {o.strategy for o in world.state.orders}
    said = world.see(world.rng.normal(1.0, 1.0, 400))
    alarms = [d for d in said if d.kind == "alarm"]
    assert {d.basis["diagnosis"] for d in alarms} == {"covariate shift"}
    assert alarms[0].basis["moved"][0]["name"] == "x"
    assert world.state.incident is None
    assert {o.strategy for o in world.state.orders} == before
    assert len(alarms) == 1


def test_a_broken_feed_stops_learning_and_promotions_until_it_has_healed() -> None:
    world = World()
    world.level |= {2: 0.1, 3: 0.1}
    world.take(trained("short", 2, 100))
    world.take(trained("long", 3, 100))
    said = world.see(np.full(200, np.nan))
    assert [d.basis["diagnosis"] for d in said if d.kind == "alarm"][:1] == ["broken feed"]
    assert world.state.incident is not None
    world.go(10 * BLOCK - BLOCK)
    assert world.state.orders == ()
    assert "promote" not in world.kinds()
    world.see(world.rng.normal(size=200))
    world.go(2 * BLOCK)
    recovered = next(d for d in world.said if d.kind == "recover")
    assert recovered.basis["incident"]["name"] == "broken feed"
    assert world.state.excluded[0][0] <= 120  # what was broken is left out of every later fit
    orders: tuple[decide.Order, ...] = world.state.orders
    assert {o.without for o in orders} == {world.state.excluded}
    world.go(2_000)
    assert "promote" in world.kinds()


def test_with_a_budget_for_fits_who_counts_least_goes_without() -> None:
    world = World(replace(MODEL, policy=replace(MODEL.policy, fit_seconds=0.5)))
    world.level |= {2: 0.05, 3: 0.4}
    world.take(trained("short", 2, 100))
    world.take(trained("long", 3, 100))
    world.blend(4)
    world.state = replace(world.state, spent=0.0, cost={"short": 0.15, "long": 0.15})
    ordered = []
    for _ in range(20):
        world.go(100)
        for order in world.state.orders:
            if order.strategy != decide.BLEND:
                ordered.append(order.strategy)
                spent = world.state.spent + 0.15
                world.state = replace(world.state, orders=(), spent=spent)
    # 2,000 rows pay for one second: 6 fits of .15 s, of the 25 that the schedules wanted.
    assert 5 <= len(ordered) <= 7
    assert ordered.count("short") > ordered.count("long")


def test_labels_that_look_flipped_are_a_fault_and_nothing_is_learnt_from_them() -> None:
    policy = replace(MODEL.policy, threshold=0.75, threshold_metric="accuracy")
    world = World(replace(MODEL, policy=policy))
    world.level = {1: 0.01, 2: 0.01}
    world.take(trained("short", 2, 100))
    world.go(400)
    world.level = {1: 0.95, 2: 0.95}  # whatever answered rightly is contradicted now
    world.go(130)
    alarm = next(d for d in world.said if d.kind == "alarm")
    assert alarm.basis["diagnosis"] == "label fault"
    assert world.state.incident is not None
    assert world.state.orders == ()


def flipped_for_good(rows: int) -> World:
    policy = replace(MODEL.policy, threshold=0.75, threshold_metric="accuracy")
    world = World(replace(MODEL, policy=policy))
    world.level = {1: 0.01, 2: 0.01}
    world.take(trained("short", 2, 100))
    world.go(400)
    world.level = {1: 0.95, 2: 0.95}
    world.go(rows)
    return world


def test_a_fault_that_goes_on_is_said_at_doubling_intervals() -> None:
    world = flipped_for_good(6_000)
    faults = [d for d in world.said if d.kind == "alarm"]
    assert {d.basis["diagnosis"] for d in faults} == {"label fault"}
    assert world.state.incident is not None
    assert world.state.incident.rows > world.state.rows - 10 * BLOCK  # its signs are still seen
    apart = np.diff([d.seq - faults[0].seq for d in faults])
    assert (apart >= 10 * BLOCK).all()
    assert (np.diff(apart) >= 0).all()
    assert 4 <= len(faults) <= 6  # 0, 200, 400, 800, 1,600, 3,200 rows after the first, at least


def test_what_a_person_accepts_is_learnt_from_and_no_longer_a_fault() -> None:
    world = flipped_for_good(1_000)
    assert world.state.incident is not None
    began = world.state.incident.began
    (said,) = world.take(Accepted(said="the question was turned round", by="ada@desk"))
    assert (said.kind, said.basis["by_hand"]) == ("recover", "ada@desk")
    assert "the question was turned round" in said.because
    state = world.state
    assert state.incident is None
    assert state.excluded == ()
    since = {o.strategy: o.since for o in state.orders if o.since is not None}
    assert since == {"since-alarm": began, "reference": began}

    n = len(world.said)
    world.describe()
    world.take(trained("since-alarm", 3, world.row))
    world.level[3] = 0.05
    world.go(1_000)
    later = world.said[n:]
    assert "label fault" not in {d.basis.get("diagnosis") for d in later}
    assert world.state.champion.version == 3
    with pytest.raises(InputError, match="accept: expected a model with an open incident"):
        world.take(Accepted(said="again", by="ada@desk"))


def test_of_a_broken_feed_that_is_accepted_the_rows_observed_since_are_learnt_from() -> None:
    world = World()
    world.see(np.full(200, np.nan))
    assert world.state.incident is not None
    began = world.state.incident.began
    world.take(Accepted(said="the column is gone for good", by="ada@desk"))
    (order,) = [o for o in world.state.orders if o.strategy == "since-alarm"]
    assert (order.since, order.by_observation) == (began, True)


def test_a_champion_that_went_bad_alone_is_no_label_fault() -> None:
    policy = replace(MODEL.policy, threshold=0.75, threshold_metric="accuracy")
    world = World(replace(MODEL, policy=policy))
    world.level = {1: 0.01, 2: 0.01}
    world.take(trained("short", 2, 100))
    world.go(200)
    world.level = {1: 0.95, 2: 0.01}
    world.go(130)
    alarm = next(d for d in world.said if d.kind == "alarm")
    assert alarm.basis["diagnosis"] == "concept change"


def test_labels_of_one_class_only_are_a_fault() -> None:
    world = World()
    world.level[2] = 0.2
    world.take(trained("short", 2, 100))
    for _ in range(15):
        outcome = world.scored(20)
        world.take(replace(outcome, target=np.ones(20, "<f8").tobytes()))
        world.row = max(world.row, world.state.read)
    alarms = [d for d in world.said if d.kind == "alarm" and d.basis["family"] == "labels"]
    assert alarms[0].basis["diagnosis"] == "label fault"
    assert world.state.incident is not None
