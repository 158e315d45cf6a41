"""Whether more rows are refused than used to be: people are told, and nothing is learnt."""

from dataclasses import replace

from continualml.decide.diagnose import of_refusals, opened, quiet
from continualml.decide.learn import about
from continualml.decide.promise import evidence_now, refusal_question
from continualml.decide.standing import Standing
from continualml.evidence import refusals
from continualml.model import Model
from continualml.records import Decision, Intake, Json


def took_in(model: Model, state: Standing, outcome: Intake) -> tuple[Standing, list[Decision]]:
    """Fold what was answered and refused; more refused rows than usual are a broken feed."""
    asked = refusal_question(model, state.block)
    after, alarms = refusals.step(asked, state.refusals, outcome.windows)
    state = replace(state, refusals=after)
    decisions: list[Decision] = []
    for alarm in alarms:
        diagnosis = of_refusals(alarm)
        unsaid = quiet(state, diagnosis)
        state = opened(state, diagnosis, alarm.seq)
        if unsaid:
            continue
        basis: Json = {
            **evidence_now(model, state),
            "family": "refusals",
            "diagnosis": diagnosis.name,
            "began": diagnosis.began,
            "at": alarm.seq,
            "alarm_evidence": alarm.evidence,
            "alarm_threshold": alarm.threshold,
            "refused": {
                "rows": alarm.rows,
                "refused": alarm.refused,
                "usual_at_most": alarm.promised,
                "fields": dict(alarm.fields),
            },
        }
        because, version = diagnosis.because, state.champion.version
        said = about(model, state, "alarm", because=because, basis=basis, version=version)
        decisions.append(replace(said, seq=alarm.seq))  # the window's, not a labelled row's
    return state, decisions


def asked_anew(old: Model, new: Model, before: Standing, after: Standing) -> Standing:
    """Go on under a new policy: where another question is asked, its bets begin anew."""
    asked = refusal_question(new, after.block)
    if asked == refusal_question(old, before.block):
        return after
    return replace(after, refusals=refusals.asked_anew(after.refusals))
