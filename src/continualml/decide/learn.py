"""What is learnt when: refits on their schedules, their checks, and the blend of their results."""

import math
from dataclasses import replace

from continualml.decide.lines import lined_up
from continualml.decide.promise import questions
from continualml.decide.standing import (
    BLEND,
    REFERENCE,
    SINCE_ALARM,
    Artifact,
    Expected,
    Order,
    Standing,
    Stood,
    places,
)
from continualml.evidence import blend, fold, trail
from continualml.model import Model
from continualml.records import (
    Decision,
    DecisionKind,
    Json,
    Merged,
    Trained,
    TrainingFailed,
)

_POOLED_ROWS = 400
Step = tuple[Standing, list[Decision]]


def order_due(model: Model, state: Standing) -> Standing:
    """Order each strategy whose refit is due and that is not ordered already."""
    if model.policy.retrain == "on_alarm" or state.incident is not None:
        return state
    due = [
        s.name
        for s in model.policy.strategies
        if s.name not in state.ordered_at or state.rows - state.ordered_at[s.name] >= s.refit
    ]
    waiting = {o.strategy for o in state.orders}
    fresh = tuple(
        Order(strategy=n, through=state.read, without=state.excluded)
        for n in _affordable(model, state, due)
        if n not in waiting
    )
    return replace(
        state,
        orders=(*state.orders, *fresh),
        ordered_at={**state.ordered_at, **dict.fromkeys(due, state.rows)},
    )


def _affordable(model: Model, state: Standing, due: list[str]) -> list[str]:
    """Keep those whose fits the budget still pays for; who counts most in the blend comes first.

    A first fit is never refused, and what it takes is known only afterwards.
    """
    if model.policy.fit_seconds is None:
        return due
    left = model.policy.fit_seconds * state.rows / 1_000 - state.spent
    weight = dict(zip(state.weights.names, state.weights.weights, strict=True))
    paid = set()
    for name in sorted(due, key=lambda n: -weight.get(n, 0.0)):
        cost = state.cost.get(name, 0.0)
        if cost <= max(left, 0.0):
            left -= cost
            paid.add(name)
    return [n for n in due if n in paid]


def reference_order(state: Standing, *, since: int | None = None) -> Order:
    """Order what columns and labels look like now: the next ones are held against it.

    ``since`` is the row at which they began to look so.
    """
    return Order(strategy=REFERENCE, through=state.read, since=since, without=state.excluded)


def trained(model: Model, state: Standing, outcome: Trained) -> Step:
    """Accept a refit that is not worse than its predecessor, and order the blend anew."""
    name = outcome.strategy
    new = artifact(outcome, state.heads.get(name) if name != SINCE_ALARM else None)
    state = replace(
        _without_order(state, name),
        spent=state.spent + outcome.seconds,
        cost={**state.cost, name: outcome.seconds},
    )
    basis: Json = {
        "strategy": name,
        "through": outcome.through,
        "hold": outcome.hold,
        "held": {m: mean for m, (mean, _) in outcome.held.items()},
        "worse_by": outcome.worse_by,
        "standard_error": outcome.standard_error,
        "predecessor": outcome.predecessor,
    }
    refused = outcome.predecessor is not None and outcome.worse_by > outcome.standard_error
    if refused or not all(math.isfinite(e.loss) for e in new.expected.values()):
        because = (
            f"the refit of {name} is worse than its predecessor by more than one standard error"
        )
        said = about(model, state, "refuse", because=because, basis=basis, version=new.version)
        return state, [said]
    followed = state.follows == name
    stood = Stood(version=new.version, through=new.through)
    state = replace(
        state,
        heads={**state.heads, name: new},
        lines={**state.lines, name: lined_up(state.lines.get(name, ()), stood)},
        champion=new if followed else state.champion,
    )
    if name == SINCE_ALARM:  # another artifact, not a refit of a strategy that was proven
        asked = questions(model, state.anchor, state.block)
        place = places(model).index(name)
        state = replace(state, evidence=fold.forgotten(asked, state.evidence, place))
    kind: DecisionKind = "follow" if followed else "accept"
    checked = "passed its hold-back check" if outcome.predecessor else "is the first of its kind"
    because = f"the refit of {name} {checked}" + (
        "; the strategy is proven, so it answers from now on" if followed else ""
    )
    said = about(model, state, kind, because=because, basis=basis, version=new.version)
    return blend_ordered(state), [said]


def merged(model: Model, state: Standing, outcome: Merged) -> Step:
    """Take the new graph of the blend; who is new among its members gets an equal part."""
    state = _without_order(state, outcome.strategy)
    weights = blend.among(state.weights, tuple(name for name, _ in outcome.members))
    head = blended(outcome, [state.heads[name] for name in weights.names], weights.weights)
    followed = state.follows == outcome.strategy
    same = weights.names == state.weights.names
    state = replace(
        state,
        weights=weights,
        weighed=state.weighed if same else trail.begun(state.read, weights.weights),
        heads={**state.heads, outcome.strategy: head},
        champion=head if followed else state.champion,
    )
    kind: DecisionKind = "follow" if followed else "accept"
    because = f"the blend has a new graph of versions {[v for _, v in outcome.members]}" + (
        "; the blend is proven, so it answers from now on" if followed else ""
    )
    basis: Json = {
        "strategy": outcome.strategy,
        "through": outcome.through,
        "members": dict(outcome.members),
        "weights": dict(zip(weights.names, weights.weights, strict=True)),
    }
    return state, [about(model, state, kind, because=because, basis=basis, version=head.version)]


def blended(outcome: Merged, members: list[Artifact], weights: tuple[float, ...]) -> Artifact:
    """Gather what must be known of a merged graph from its members, in its order."""
    parts = [(a.expected, w) for a, w in zip(members, weights, strict=True)]
    return Artifact(
        version=outcome.version,
        through=outcome.through,
        expected=_mean_of(parts),
        rows=min(a.rows for a in members),
        members=outcome.members,
        weights=weights,
    )


def failed(model: Model, state: Standing, outcome: TrainingFailed) -> Step:
    """Say that nothing came of an order."""
    state = _without_order(state, outcome.strategy)
    because = f"no version came of {outcome.strategy}: {outcome.because}"
    basis: Json = {"strategy": outcome.strategy, "through": outcome.through}
    return state, [about(model, state, "refuse", because=because, basis=basis, version=None)]


def artifact(outcome: Trained, before: Artifact | None = None) -> Artifact:
    """Pool the held-back rows with those of the strategy's last refits: one check is too few."""
    n = outcome.hold
    expected: dict[str, Expected] = {}
    m = 0 if before is None else min(before.rows, _POOLED_ROWS)
    for metric, (mean, error) in outcome.held.items():
        variance = n * error**2
        if before is not None:
            old = before.expected[metric]
            apart = m * n / (m + n) ** 2 * (old.loss - mean) ** 2
            variance = (m * old.variance + n * variance) / (m + n) + apart
            mean = (m * old.loss + n * mean) / (m + n)  # noqa: PLW2901  the pooled one from here on
        expected[metric] = Expected(loss=mean, variance=variance)
    return Artifact(version=outcome.version, through=outcome.through, expected=expected, rows=m + n)


def about(
    model: Model,
    state: Standing,
    kind: DecisionKind,
    *,
    because: str,
    basis: Json,
    version: int | None,
) -> Decision:
    """Write down a decision made at the row that was read last."""
    return Decision(
        model=model.name, kind=kind, seq=state.read, because=because, basis=basis, version=version
    )


def _mean_of(parts: list[tuple[dict[str, Expected], float]]) -> dict[str, Expected]:
    """Expect of a blend what its members show on average: a convex loss of it is no higher."""
    return {
        metric: Expected(
            loss=sum(w * e[metric].loss for e, w in parts),
            variance=sum(w * e[metric].variance for e, w in parts),
        )
        for metric in parts[0][0]
    }


def blend_ordered(state: Standing) -> Standing:
    """Order a graph of the newest members, in place of one that is ordered already."""
    members = tuple((n, a.version) for n, a in sorted(state.heads.items()) if n != BLEND)
    state = _without_order(state, BLEND)
    if len(members) < 2:  # noqa: PLR2004  a blend of one is that one
        return state
    through = max(a.through for n, a in state.heads.items() if n != BLEND)
    order = Order(strategy=BLEND, through=through, members=members)
    return replace(state, orders=(*state.orders, order))


def _without_order(state: Standing, strategy: str) -> Standing:
    return replace(state, orders=tuple(o for o in state.orders if o.strategy != strategy))
