"""Whether labels still come, and as soon as they used to: people are told, nothing is learnt."""

from dataclasses import replace

import msgspec
import numpy as np

from continualml.decide.diagnose import Diagnosis, never_labelled, of_delay
from continualml.decide.learn import about
from continualml.decide.promise import delay_question, evidence_now
from continualml.decide.standing import Coming, Standing
from continualml.errors import InputError
from continualml.evidence import delay
from continualml.evidence.usual_delay import DelayReference
from continualml.model import Model
from continualml.records import Arrived, Decision, DelaysDescribed, Json

FIRST_ROWS = 1_000
_MOST_ROWS = 32_000
Step = tuple[Standing, list[Decision]]


def delays_described(model: Model, state: Standing, outcome: DelaysDescribed) -> Step:
    """Hold the next labels' coming against this reference.

    Where labels were too few for one, twice as many rows are awaited, and after 32,000 the first
    ones are forgotten. If there was none at all, that is said once.

    Raises
    ------
    InputError
        If it is not what was wanted.
    """
    there = state.coming
    wanted = (there.after, there.wanted)
    if there.reference is not None or (outcome.after, outcome.observations) != wanted:
        got = (outcome.after, outcome.observations)
        raise InputError("delays_described", expected=f"rows after, and so many: {wanted}", got=got)
    if outcome.reference:
        reference = msgspec.msgpack.decode(outcome.reference, type=DelayReference)
        asked = delay_question(model, state.block, reference)
        begun = delay.untouched(asked, seq=outcome.through)
        coming = replace(there, silent=False, reference=reference, evidence=begun)
        return replace(state, coming=coming), []
    coming = Coming(
        after=there.after if there.wanted < _MOST_ROWS else outcome.through,
        wanted=2 * there.wanted if there.wanted < _MOST_ROWS else FIRST_ROWS,
        silent=outcome.labels == 0,
    )
    state = replace(state, coming=coming)
    if there.silent or not coming.silent:
        return state, []
    diagnosis = never_labelled(outcome.observations, began=outcome.after)
    return state, [_alarm(model, state, diagnosis, at=outcome.through)]


def arrived(model: Model, state: Standing, outcome: Arrived) -> Step:
    """Fold what was logged; labels that are late or do not come at all are said.

    Raises
    ------
    InputError
        If there is no reference to hold them against.
    """
    there = state.coming
    if there.reference is None or there.evidence is None:
        raise InputError("arrived", expected="a reference of the labels' delays first", got=None)
    after, alarms = delay.step(
        delay_question(model, state.block, there.reference),
        there.evidence,
        np.frombuffer(outcome.seq, "<i8"),
        np.frombuffer(outcome.observed, "u1") == 1,
        np.frombuffer(outcome.delay, "<f8"),
    )
    state = replace(state, coming=replace(there, evidence=after))
    return state, [
        _alarm(model, state, of_delay(said, there.reference), at=said.seq, said=said)
        for said in alarms
        if not (isinstance(said, delay.Overdue) and said.again)  # labels that stay late: said once
    ]


def asked_anew(old: Model, new: Model, before: Standing, after: Standing) -> Standing:
    """Go on under a new policy: where another question is asked, its bets begin anew."""
    there = after.coming
    if there.reference is None or there.evidence is None:
        return after
    asked = delay_question(new, after.block, there.reference)
    if asked == delay_question(old, before.block, there.reference):
        return after
    begun = delay.asked_anew(asked, there.evidence)
    return replace(after, coming=replace(there, evidence=begun))


def _alarm(
    model: Model,
    state: Standing,
    diagnosis: Diagnosis,
    *,
    at: int,
    said: delay.Overdue | delay.Silence | None = None,
) -> Decision:
    basis: Json = {
        **evidence_now(model, state),
        "family": "delay",
        "diagnosis": diagnosis.name,
        "began": diagnosis.began,
        "at": at,
    }
    if isinstance(said, delay.Overdue):
        basis |= {"alarm_evidence": said.evidence, "alarm_threshold": said.threshold}
    because, version = diagnosis.because, state.champion.version
    decision = about(model, state, "alarm", because=because, basis=basis, version=version)
    return replace(decision, seq=at)  # the rows' own number, not that of a labelled row read
