"""What was promised of the champion, and the questions that follow from it."""

from continualml.decide.standing import Artifact, Standing, challengers, places
from continualml.evidence import fold
from continualml.evidence.loss import LossQuestion
from continualml.model import Model
from continualml.records import Json
from continualml.scoring.losses import metrics

_NARROWEST = 1e-3


def promised(model: Model, anchor: Artifact) -> dict[str, float]:
    """Say what mean loss the champion may have, by metric; the proven artifact promises it.

    A threshold of the user's own is the one promise, in its metric; else there is one for each
    metric: what the held-back rows showed, and the tolerance.
    """
    policy = model.policy
    if policy.threshold is not None:
        named = {"accuracy": "error_rate"}.get(policy.threshold_metric, policy.threshold_metric)
        return {named: 1 - policy.threshold}
    return {m: anchor.upper_loss(m) + policy.tolerance for m in metrics(model)}


def questions(model: Model, anchor: Artifact, block: int) -> fold.Questions:
    """Fix what is asked of the next rows."""
    policy = model.policy
    return fold.Questions(
        alarms=tuple(
            LossQuestion(
                promised=min(max(level, _NARROWEST), 1 - _NARROWEST),
                budget=max(policy.false_alarms, block),
                block=block,
            )
            for level in promised(model, anchor).values()
        ),
        promotions=max(policy.false_promotions, block),
        challengers=len(places(model)),
    )


def evidence_now(model: Model, state: Standing) -> Json:
    """Every detector's evidence beside its threshold, as the ledger keeps it."""
    asked = questions(model, state.anchor, state.block)
    there = challengers(model, state)
    levels = promised(model, state.anchor)
    evidence = state.evidence
    return {
        "promised": levels,
        "block": state.block,
        "loss": {
            "evidence": evidence.alarm,
            "threshold": asked.alarm_threshold,
            "metrics": {m: a.value for m, a in zip(levels, evidence.alarms, strict=True)},
        },
        "gate": {
            name: {"version": a.version, "evidence": g.value, "threshold": asked.proof}
            for name, a, g in zip(places(model), there, evidence.gates, strict=True)
            if a
        },
        "weights": dict(zip(state.weights.names, state.weights.weights, strict=True)),
    }
