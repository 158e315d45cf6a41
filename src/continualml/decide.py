"""What follows from what is known: (standing, outcome) -> standing, decisions, orders. Pure."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from continualml.errors import InputError
from continualml.evidence import fold
from continualml.evidence.loss import LossQuestion
from continualml.model import Model
from continualml.records import (
    Decision,
    DecisionKind,
    Json,
    Outcome,
    Scored,
    Trained,
    TrainingFailed,
)

SINCE_ALARM, PREVIOUS, ANCHOR = "since-alarm", "previous", "anchor"
_ONE_SIDED_95 = 1.645
_POOLED_ROWS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A training that was decided: of ``strategy``, on rows up to the number ``through``.

    ``since`` is set for the strategy ``since-alarm``: only rows at or above it.
    """

    strategy: str
    through: int
    since: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What must be known of a version: the last row it has seen, and what loss to expect of it.

    ``loss`` and ``variance`` are those of single rows, over the ``rows`` held back from its own
    fit and from those of its strategy's refits before.
    """

    version: int
    through: int
    loss: float
    variance: float
    rows: int

    @property
    def upper_loss(self) -> float:
        """Mean loss + 1.645 standard errors: an approximate 95 % bound, from 200 rows on."""
        return self.loss + _ONE_SIDED_95 * math.sqrt(self.variance / self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All that the loop knows of a model; a function of its outcomes and its policy alone.

    Parameters
    ----------
    seq
        Number of the last outcome taken in.
    read
        Number of the last labelled row taken in.
    rows
        Labelled rows taken in since the first champion.
    champion, follows
        What answers, and the strategy whose checked refits it takes over (None: frozen).
    anchor, previous
        The last proven artifact, and the one that answered before the last promotion.
    heads
        Newest accepted artifact of each strategy.
    ordered_at
        ``rows`` when each strategy was last ordered.
    quiet_until
        ``rows`` before which no promotion happens (cooldown).
    orders
        Trainings decided whose outcome has not come back.
    """

    seq: int
    read: int
    rows: int
    block: int
    champion: Artifact
    follows: str | None
    anchor: Artifact
    previous: Artifact | None
    evidence: fold.Evidence
    heads: dict[str, Artifact] = field(default_factory=dict)
    ordered_at: dict[str, int] = field(default_factory=dict)
    quiet_until: int = 0
    orders: tuple[Order, ...] = ()


Step = tuple[Standing, tuple[Decision, ...]]


def begin(model: Model, seq: int, outcome: Trained) -> Step:
    """Take in the outcome with which everything begins: the first champion."""
    block = outcome.block or model.policy.block or 1
    first = _artifact(outcome)
    evidence = fold.untouched(_questions(model, first, block), seq=first.through)
    state = Standing(
        seq=seq,
        read=first.through,
        rows=0,
        block=block,
        champion=first,
        follows=None,
        anchor=first,
        previous=None,
        evidence=evidence,
    )
    basis = {**_promise(model, first), "block": block, "hold": outcome.hold}
    decision = Decision(
        model=model.name,
        kind="first",
        seq=first.through,
        because=f"first champion, trained on rows up to {first.through}, judged on later ones",
        basis=basis,
        version=first.version,
    )
    return _order_due(model, state), (decision,)


def step(model: Model, state: Standing, seq: int, outcome: Outcome) -> Step:
    """Take in one outcome with its number; an outcome at or below ``state.seq`` changes nothing.

    Raises
    ------
    InputError
        If a version was scored on a row that it was trained on, or a version is missing.
    """
    if seq <= state.seq:
        return state, ()
    if isinstance(outcome, Scored):
        after, decisions = _scored(model, state, outcome)
    elif isinstance(outcome, Trained):
        after, decisions = _trained(model, state, outcome)
    else:
        after, decisions = _failed(model, state, outcome)
    return replace(after, seq=seq), decisions


def places(model: Model) -> tuple[str, ...]:
    """Who may challenge, in a fixed order: each strategy, then the ways back."""
    return (*(s.name for s in model.policy.strategies), SINCE_ALARM, PREVIOUS, ANCHOR)


def challengers(model: Model, state: Standing) -> tuple[Artifact | None, ...]:
    """Who challenges the champion now, for each place; a strategy never challenges itself."""
    known: dict[str, Artifact | None] = {
        **{name: a for name, a in state.heads.items() if name != state.follows},
        PREVIOUS: state.previous,
        ANCHOR: state.anchor,
    }
    there = (known.get(name) for name in places(model))
    return tuple(a if a and a.version != state.champion.version else None for a in there)


def watched(model: Model, state: Standing) -> tuple[int, ...]:
    """Versions whose losses the next rows are wanted for, the champion's first."""
    rest = {a.version for a in challengers(model, state) if a}
    return (state.champion.version, *sorted(rest))


def rows_until_due(model: Model, state: Standing) -> int | None:
    """Labelled rows until a strategy wants a refit; None when nothing is on a schedule."""
    if model.policy.retrain == "on_alarm":
        return None
    return min(
        max(1, state.ordered_at.get(s.name, 0) + s.refit - state.rows)
        for s in model.policy.strategies
    )


def evidence_now(model: Model, state: Standing) -> Json:
    """Every detector's evidence beside its threshold, as the ledger keeps it."""
    questions = _questions(model, state.anchor, state.block)
    there = challengers(model, state)
    return {
        **_promise(model, state.anchor),
        "block": state.block,
        "loss": {"evidence": state.evidence.alarm.value, "threshold": questions.alarm.threshold},
        "gate": {
            name: {"version": a.version, "evidence": g.value, "threshold": questions.proof}
            for name, a, g in zip(places(model), there, state.evidence.gates, strict=True)
            if a
        },
    }


def _questions(model: Model, anchor: Artifact, block: int) -> fold.Questions:
    promised = min(max(_promise(model, anchor)["promised_loss"], 1e-3), 1 - 1e-3)
    policy = model.policy
    return fold.Questions(
        alarm=LossQuestion(promised=promised, budget=max(policy.false_alarms, block), block=block),
        promotions=max(policy.false_promotions, block),
        challengers=len(places(model)),
    )


def _promise(model: Model, anchor: Artifact) -> Json:
    """Say what loss the champion may have, and in which metric; the proven artifact promises it."""
    policy = model.policy
    if policy.threshold is not None:
        by_error = policy.threshold_metric == "accuracy"
        return {
            "promised_loss": 1 - policy.threshold,
            "metric": "error_rate" if by_error else "loss",
        }
    return {"promised_loss": anchor.upper_loss + policy.tolerance, "metric": "loss"}


def _artifact(outcome: Trained, before: Artifact | None = None) -> Artifact:
    """Pool the held-back rows with those of the strategy's last refits: one check is too few."""
    n, mean = outcome.hold, outcome.loss
    variance = n * outcome.loss_standard_error**2
    if before is not None:
        m = min(before.rows, _POOLED_ROWS)
        apart = m * n / (m + n) ** 2 * (before.loss - mean) ** 2
        variance = (m * before.variance + n * variance) / (m + n) + apart
        mean, n = (m * before.loss + n * mean) / (m + n), m + n
    return Artifact(
        version=outcome.version, through=outcome.through, loss=mean, variance=variance, rows=n
    )


def _scored(model: Model, state: Standing, outcome: Scored) -> Step:
    seq, loss, error = _arrays(outcome)
    _no_row_was_trained_on(model, state, outcome, seq)
    column = {v: i for i, v in enumerate(outcome.versions)}
    decisions: list[Decision] = []
    while state.evidence.seq < int(seq[-1]):
        questions = _questions(model, state.anchor, state.block)
        there = challengers(model, state)
        own = column[state.champion.version]
        by_error = _promise(model, state.anchor)["metric"] == "error_rate"
        difference = np.column_stack(
            [loss[:, own] - (loss[:, column[a.version]] if a else loss[:, own]) for a in there]
        )
        before = state.evidence.seq
        evidence, crossing = fold.step(
            questions,
            state.evidence,
            seq,
            (error if by_error else loss)[:, own],
            difference,
            present=tuple(a is not None for a in there),
        )
        rows = state.rows + int(np.count_nonzero((seq > before) & (seq <= evidence.seq)))
        state = replace(state, evidence=evidence, read=evidence.seq, rows=rows)
        if crossing and crossing.alarmed:
            state = _alarmed(model, state, decisions)
        if crossing and crossing.proven and state.rows >= state.quiet_until:
            state = _proven(model, state, crossing.proven[0], decisions)
    if not decisions:
        because = f"no evidence reached its threshold by row {state.read}"
        decisions.append(
            _about(
                model,
                state,
                "keep",
                because=because,
                basis=evidence_now(model, state),
                version=state.champion.version,
            )
        )
    return _order_due(model, state), tuple(decisions)


def _arrays(
    outcome: Scored,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    seq = np.frombuffer(outcome.seq, "<i8")
    shape = (len(seq), len(outcome.versions))
    loss = np.frombuffer(outcome.loss, "<f8").reshape(shape)
    return seq, loss, np.frombuffer(outcome.error, "u1").reshape(shape).astype(np.float64)


def _no_row_was_trained_on(
    model: Model, state: Standing, outcome: Scored, seq: NDArray[np.int64]
) -> None:
    there = {a.version: a for a in (state.champion, *challengers(model, state)) if a}
    if missing := set(there) - set(outcome.versions):
        raise InputError("scored.versions", expected=f"versions {sorted(missing)} too", got=None)
    fresh = seq[seq > state.read]
    for a in there.values():
        if fresh.size and int(fresh[0]) <= a.through:
            raise InputError(
                "scored.seq",
                expected=f"rows after {a.through}, the last that version {a.version} has seen",
                got=int(fresh[0]),
            )


def _alarmed(model: Model, state: Standing, decisions: list[Decision]) -> Standing:
    began = state.evidence.alarm.strongest_began
    basis = {**evidence_now(model, state), "began": began}
    decisions.append(
        Decision(
            model=model.name,
            kind="alarm",
            seq=state.read,
            because=(
                f"the champion's {basis['metric']} is above the promised "
                f"{basis['promised_loss']:.4f}; it probably began at row {began}"
            ),
            basis=basis,
            version=state.champion.version,
        )
    )
    questions = _questions(model, state.anchor, state.block)
    wanted = [Order(strategy=SINCE_ALARM, through=state.read, since=began)]
    if model.policy.retrain == "on_alarm":
        wanted += [Order(strategy=s.name, through=state.read) for s in model.policy.strategies]
    waiting = {o.strategy for o in wanted}
    return replace(
        state,
        evidence=fold.silenced(questions, state.evidence),
        orders=(*(o for o in state.orders if o.strategy not in waiting), *wanted),
    )


def _proven(model: Model, state: Standing, place: int, decisions: list[Decision]) -> Standing:
    name = places(model)[place]
    winner = challengers(model, state)[place]
    if winner is None:  # an absent challenger has no evidence
        raise InputError("crossing.proven", expected="a challenger that is there", got=name)
    back = name in {PREVIOUS, ANCHOR}
    basis = {**evidence_now(model, state), "place": name, "from": state.champion.version}
    what = f"the {name} version" if back else f"strategy {name}"
    proof = basis["gate"][name]
    decisions.append(
        Decision(
            model=model.name,
            kind="rollback" if back else "promote",
            seq=state.read,
            because=(
                f"{what} is proven better than version {state.champion.version}: evidence "
                f"{proof['evidence']:.3g} against {proof['threshold']:.3g}"
            ),
            basis=basis,
            version=winner.version,
        )
    )
    return replace(
        state,
        champion=winner,
        follows=None if back else name,
        anchor=winner,
        previous=state.champion,
        quiet_until=state.rows + model.policy.cooldown,
        evidence=fold.untouched(_questions(model, winner, state.block), seq=state.read),
    )


def _order_due(model: Model, state: Standing) -> Standing:
    if model.policy.retrain == "on_alarm":
        return state
    due = [
        s.name
        for s in model.policy.strategies
        if s.name not in state.ordered_at or state.rows - state.ordered_at[s.name] >= s.refit
    ]
    waiting = {o.strategy for o in state.orders}
    fresh = tuple(Order(strategy=n, through=state.read) for n in due if n not in waiting)
    return replace(
        state,
        orders=(*state.orders, *fresh),
        ordered_at={**state.ordered_at, **dict.fromkeys(due, state.rows)},
    )


def _trained(model: Model, state: Standing, outcome: Trained) -> Step:
    name = outcome.strategy
    new = _artifact(outcome, state.heads.get(name) if name != SINCE_ALARM else None)
    state = replace(state, orders=tuple(o for o in state.orders if o.strategy != name))
    basis: Json = {
        "strategy": name,
        "through": outcome.through,
        "hold": outcome.hold,
        "loss": outcome.loss,
        "worse_by": outcome.worse_by,
        "standard_error": outcome.standard_error,
        "predecessor": outcome.predecessor,
    }
    refused = outcome.predecessor is not None and outcome.worse_by > outcome.standard_error
    if refused or not math.isfinite(outcome.loss):
        because = (
            f"the refit of {name} is worse than its predecessor by more than one standard error"
        )
        return state, (
            _about(model, state, "refuse", because=because, basis=basis, version=new.version),
        )
    followed = state.follows == name
    state = replace(
        state,
        heads={**state.heads, name: new},
        champion=new if followed else state.champion,
    )
    kind: DecisionKind = "follow" if followed else "accept"
    because = f"the refit of {name} passed its hold-back check" + (
        "; the strategy is proven, so it answers from now on" if followed else ""
    )
    return state, (_about(model, state, kind, because=because, basis=basis, version=new.version),)


def _failed(model: Model, state: Standing, outcome: TrainingFailed) -> Step:
    state = replace(state, orders=tuple(o for o in state.orders if o.strategy != outcome.strategy))
    because = f"no version came of {outcome.strategy}: {outcome.because}"
    basis: Json = {"strategy": outcome.strategy, "through": outcome.through}
    return state, (_about(model, state, "refuse", because=because, basis=basis, version=None),)


def _about(
    model: Model,
    state: Standing,
    kind: DecisionKind,
    *,
    because: str,
    basis: Json,
    version: int | None,
) -> Decision:
    return Decision(
        model=model.name,
        kind=kind,
        seq=state.read,
        because=because,
        basis=basis,
        version=version,
    )
