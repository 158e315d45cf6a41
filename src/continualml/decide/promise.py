"""What was promised of the champion, and the questions that follow from it."""

from typing import Literal

from continualml.decide.standing import BLEND, Artifact, Standing, challengers, places
from continualml.evidence import delay, drift, fold, refusals
from continualml.evidence.gate import Chance, Rate
from continualml.evidence.loss import LossQuestion
from continualml.evidence.reference import Reference
from continualml.evidence.usual_delay import DelayReference
from continualml.model import Model
from continualml.records import Json
from continualml.scoring.losses import metrics

# The parts that they have of the budget for false alarms. A feed that breaks multiplies its
# evidence several times a bet: a small part is hardly later, and leaves the others theirs.
PARTS = {"loss": 0.24, "columns": 0.24, "labels": 0.24, "delay": 0.24, "refused rows": 0.04}
# By how much the share of overdue labels, and that of refused rows, may rise.
DELAY_TOLERANCE = REFUSAL_TOLERANCE = 0.03
# The blend of all is the best bet: of the chance to promote what is no better it has this part.
_BLEND_SHARE = 0.5
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
                budget=max(policy.false_alarms, block) / PARTS["loss"],
                block=block,
            )
            for level in promised(model, anchor).values()
        ),
        promotion=Chance(level=policy.false_promotion_chance)
        if policy.false_promotions is None
        else Rate(rows=max(policy.false_promotions, block)),
        shares=shares(model),
    )


def shares(model: Model) -> tuple[float, ...]:
    """Say which part of the promise about promotions each place has: the blend a half."""
    names = places(model)
    other = (1 - _BLEND_SHARE) / (len(names) - 1)
    return tuple(_BLEND_SHARE if name == BLEND else other for name in names)


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
            name: {"version": a.version, "evidence": g.value, "threshold": proof}
            for name, a, g, proof in zip(
                places(model), there, evidence.gates, asked.proofs, strict=True
            )
            if a
        },
        "weights": dict(zip(state.weights.names, state.weights.weights, strict=True)),
        "columns": _levels(model, state),
        "delay": _delay(model, state),
        "refused_rows": _refused(model, state),
        "shifts": {name: s.unsaid for name, s in state.shifts.items() if s.unsaid},
        "incident": state.incident.name if state.incident else None,
    }


def question(
    model: Model, state: Standing, reference: Reference, family: Literal["columns", "labels"]
) -> drift.DriftQuestion:
    """Ask whether any column moved by more than the user tolerates, within the family's budget."""
    policy = model.policy
    return drift.DriftQuestion(
        reference=reference,
        budget=max(policy.false_alarms, state.block) / PARTS[family],
        block=state.block,
        tolerance=policy.drift_tolerance,
    )


def delay_question(model: Model, block: int, reference: DelayReference) -> delay.DelayQuestion:
    """Ask whether more labels are overdue than used to be, within the budget."""
    bet = max(block * delay.stride(reference), reference.longest_gap + delay.stride(reference))
    return delay.DelayQuestion(
        reference=reference,
        budget=max(model.policy.false_alarms, bet) / PARTS["delay"],
        block=block,
        tolerance=DELAY_TOLERANCE,
    )


def refusal_question(model: Model, block: int) -> refusals.RefusalQuestion:
    """Ask whether more rows are refused than used to be, within the budget."""
    rows = max(model.policy.false_alarms, refusals.rows_of_a_bet(block))
    return refusals.RefusalQuestion(
        budget=rows / PARTS["refused rows"],
        block=block,
        tolerance=REFUSAL_TOLERANCE,
    )


def _refused(model: Model, state: Standing) -> Json:
    """Evidence that too many rows are refused as a share of its threshold, and what is usual."""
    asked = refusal_question(model, state.block)
    there = state.refusals
    return {"level": refusals.level(asked, there), "usual_at_most": there.promised}


def _delay(model: Model, state: Standing) -> Json:
    """Evidence that labels are overdue as a share of its threshold, and whether none come."""
    there = state.coming
    if there.reference is None or there.evidence is None:
        return {"level": None, "silent": there.silent}
    asked = delay_question(model, state.block, there.reference)
    level = there.evidence.alarm.value / asked.alarm.threshold
    return {"level": level, "silent": there.evidence.silent}


def _levels(model: Model, state: Standing) -> dict[str, float]:
    """Each column's evidence as a share of the threshold."""
    there = state.drift
    if there is None:
        return {}
    return {
        **drift.levels(question(model, state, there.columns, "columns"), there.of_columns),
        **drift.levels(question(model, state, there.labels, "labels"), there.of_labels),
    }
