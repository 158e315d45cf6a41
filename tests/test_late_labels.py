"""Labels that come late: what was trained while one was awaited is no proof of what is served."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from continualml import decide
from continualml.decide.answers import answered, differences
from continualml.model import Feature, Model, Policy, Strategy
from continualml.records import Merged, Outcome, Scored, Trained

BLOCK, PERIOD, CHANCE = 20, 100, 0.05
MODEL = Model(
    name="m",
    kind="classification",
    target="y",
    classes=("no", "yes"),
    features=(Feature(name="x"),),
    policy=Policy(
        block=BLOCK,
        false_promotion_chance=CHANCE,
        tolerance=0.2,  # alarms are not what this is about
        strategies=(
            Strategy(name="short", window=100, refit=PERIOD),
            Strategy(name="long", window=1_000, refit=PERIOD),
        ),
    ),
)


def trained(strategy: str, version: int, through: int) -> Trained:
    held = {"brier": (0.2, 0.01), "error_rate": (0.15, 0.02), "log_loss": (0.2, 0.02)}
    return Trained(
        strategy=strategy,
        version=version,
        through=through,
        hold=50,
        held=held,
        predecessor=None,
        seconds=0.1,
        worse_by=0.0,
        standard_error=0.01,
    )


class Late:
    """A loop whose labels come ``delay`` rows late.

    The first champion loses .2 of each row. A refit knows what it was trained on: it loses
    ``fresh`` of a row that was observed before its last label came, ``served`` of a later one.
    """

    def __init__(
        self, *, delay: int, fresh: float, served: float, seed: int = 0, telling: bool = True
    ) -> None:
        self.delay, self.fresh, self.served, self.telling = delay, fresh, served, telling
        self.rng, self.through = np.random.default_rng(seed), {1: 1_000}
        self.seq, self.kinds = 1, list[str]()
        self.state, _ = decide.begin(MODEL, 1, trained("first", 1, 1_000))

    def take(self, outcome: Outcome) -> None:
        self.seq += 1
        self.state, said = decide.step(MODEL, self.state, self.seq, outcome)
        self.kinds += [d.kind for d in said]

    def refit(self) -> None:
        """Carry out what is ordered, the blend last."""
        while self.state.orders:
            order = self.state.orders[0]
            version = max(self.through) + 1
            self.through[version] = order.through
            if order.strategy == decide.BLEND:
                self.take(
                    Merged(
                        strategy=order.strategy,
                        version=version,
                        through=order.through,
                        members=order.members,
                    )
                )
            elif order.strategy == decide.REFERENCE:  # columns are not what this is about
                others = tuple(o for o in self.state.orders if o != order)
                self.state = replace(self.state, orders=others)
            else:
                self.take(trained(order.strategy, version, order.through))

    def go(self, rows: int, *, step: int = PERIOD) -> None:
        until = self.state.read + rows
        while self.state.read < until:
            self.refit()
            self.take(self.scored(min(step, until - self.state.read)))

    def scored(self, n: int) -> Scored:
        seq = np.arange(self.state.read + 1, self.state.read + 1 + n)
        observed = seq - self.delay
        versions = tuple(decide.asked(MODEL, self.state, observed))
        lost = np.empty((n, len(versions)))
        for i, v in enumerate(versions):
            seen = observed <= self.through[v]
            level = 0.2 if v == 1 else np.where(seen, self.fresh, self.served)
            lost[:, i] = (level + self.rng.normal(0, 0.1, n)).clip(0, 1)
        wrong = np.sqrt(lost)
        target = self.rng.integers(0, 2, n)
        yes = np.where(target[:, None] == 1, 1 - wrong, wrong)
        return Scored(
            versions=versions,
            seq=seq.astype("<i8").tobytes(),
            target=target.astype("<f8").tobytes(),
            answers=np.stack([1 - yes, yes], axis=2).astype("<f4").tobytes(),
            observed=observed.astype("<i8").tobytes() if self.telling else b"",
        )


@pytest.mark.parametrize("delay", [60, 250])
def test_who_is_better_on_rows_from_before_its_training_alone_proves_nothing(delay: int) -> None:
    cheat = Late(delay=delay, fresh=0.02, served=0.22)
    cheat.go(3_000)
    assert cheat.state.champion.version == 1
    # Its answers on those rows stand in the log; not told when they were observed, it believes.
    misled = Late(delay=delay, fresh=0.02, served=0.22, telling=False)
    misled.go(3_000)
    assert "promote" in misled.kinds
    honest = Late(delay=delay, fresh=0.02, served=0.1)  # one that is better as it would be served
    honest.go(3_000)
    assert "promote" in honest.kinds


def test_a_version_is_judged_on_what_stood_when_the_row_was_observed() -> None:
    world = Late(delay=250, fresh=0.02, served=0.1)
    world.go(800)
    head = world.state.heads["short"]
    observed = np.array([head.through - 250, head.through, head.through + 1])
    who = {v: rows.tolist() for v, rows in decide.stood(world.state, head.version, observed)}
    older = {s.version for s in world.state.lines["short"]} - {head.version}
    assert who[head.version] == [False, False, True]
    assert set(who) - {head.version} <= older
    assert all(world.through[v] < observed[0] or not who[v][0] for v in who)


def test_weights_that_were_kept_prove_nothing_on_rows_from_before_their_last_label() -> None:
    world = Late(delay=90, fresh=0.02, served=0.1, seed=1)
    while world.state.follows != decide.BLEND:
        world.go(BLOCK, step=BLOCK)
    promoted = world.state.read
    while world.state.champion.version == world.state.anchor.version:
        world.go(BLOCK, step=BLOCK)
        world.refit()  # the blend's next graph: what was proven stays as it was
    new = answered(MODEL, world.state, world.scored(PERIOD))
    lost = differences(MODEL, world.state, new)[:, decide.places(MODEL).index(decide.ANCHOR)]
    late = new.observed <= promoted
    assert (late & (new.observed > world.state.anchor.through)).any()  # its graphs were there
    assert not lost[late].any()
    assert lost[~late].any()


def test_what_is_no_better_than_the_champion_is_promoted_as_seldom_with_late_labels() -> None:
    # All places of 40 worlds each; fresh knowledge would promote in every one of them.
    promoted = 0
    for seed in range(40):
        world = Late(delay=150, fresh=0.05, served=0.2, seed=seed)
        world.go(1_000)
        promoted += "promote" in world.kinds
    assert promoted <= binom.ppf(1 - 1e-6, 40, CHANCE)


def test_it_does_not_matter_how_late_rows_are_cut() -> None:
    whole, parts = (Late(delay=130, fresh=0.02, served=0.2, seed=3) for _ in range(2))
    for _ in range(8):
        whole.refit()
        parts.refit()
        outcome = whole.scored(PERIOD)
        whole.take(outcome)
        for stop in (7, 50, 99, PERIOD):  # each time with rows that came before
            parts.take(cut(outcome, stop))
    assert whole.state.read == 1_000 + 8 * PERIOD  # no promotion has cut it already
    assert max(g.value for g in whole.state.evidence.gates) > 0
    assert replace(parts.state, seq=0) == replace(whole.state, seq=0)


def cut(outcome: Scored, stop: int) -> Scored:
    n = len(outcome.seq) // 8
    return replace(
        outcome,
        seq=outcome.seq[: 8 * stop],
        observed=outcome.observed[: 8 * stop],
        target=outcome.target[: 8 * stop],
        answers=outcome.answers[: len(outcome.answers) // n * stop],
    )


def test_the_line_of_a_strategy_stays_short_and_reaches_far_back() -> None:
    line: tuple[decide.Stood, ...] = ()
    for version in range(1, 2_001):
        line = decide.lined_up(line, decide.Stood(version=version, through=100 * version))
    assert len(line) < 100
    through = np.array([s.through for s in line])
    assert (line[0].version, line[-1].version) == (1, 2_000)
    age = through[-1] - through[1:]
    assert (np.diff(through) <= np.maximum(100, 0.2 * age)).all()
