"""What an alarm is taken for, and the cheapest sound remedy; the rules are in docs/diagnosis.md.

A broken feed and a label fault are incidents: while one is open nothing is learnt and nothing is
promoted, because rows are not what they say; people are told instead.
"""

from dataclasses import dataclass, replace

from continualml.decide.promise import promised, questions
from continualml.decide.standing import REFERENCE, Incident, Shift, Standing, silence
from continualml.evidence import fold
from continualml.evidence.delay import Overdue, Silence
from continualml.evidence.drift import DriftAlarm
from continualml.evidence.moved import looks_broken
from continualml.evidence.refusals import Refused
from continualml.evidence.usual_delay import DelayReference
from continualml.model import Model

BROKEN_FEED, LABEL_FAULT = "broken feed", "label fault"
COVARIATE_SHIFT, PRIOR_SHIFT, CONCEPT_CHANGE = "covariate shift", "prior shift", "concept change"
LABELS_LATE, LABELS_SILENT = "labels late", "labels silent"
# The share of right answers is one of few rows: so much above the promise is taken for it.
_FLIPPED = 0.1
_MOST_EXCLUDED = 8
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What it is called, why, where it began; ``incident``: whether learning must wait."""

    name: str
    because: str
    began: int
    incident: bool


def of_columns(alarm: DriftAlarm) -> Diagnosis:
    """Tell a broken feed from a shift of the features.

    A column that went missing, stands still, jumped in its unit or says what it never said is
    broken; a distribution that moved is a shift, and none of the loop's business while the loss
    keeps its promise.
    """
    broken = [m for m in alarm.moved if looks_broken(m)]
    if broken:
        what = ", ".join(f"{m.name} ({m.pattern})" for m in broken)
        because = f"{BROKEN_FEED}: {what}, since number {alarm.began}; nothing is learnt meanwhile"
        return Diagnosis(name=BROKEN_FEED, because=because, began=alarm.began, incident=True)
    what = ", ".join(
        f"{m.name} {m.direction} ({m.cell}: {m.reference_share:.2f} -> {m.share:.2f} of rows)"
        for m in alarm.moved
    )
    because = (
        f"{COVARIATE_SHIFT}: {what}, since number {alarm.began}; while the loss keeps its promise, "
        "nothing follows from it"
    )
    return Diagnosis(name=COVARIATE_SHIFT, because=because, began=alarm.began, incident=False)


def of_labels(alarm: DriftAlarm) -> Diagnosis:
    """Tell labels that no longer differ from a share of classes that moved."""
    first = alarm.moved[0]
    if looks_broken(first):
        because = (
            f"{LABEL_FAULT}: every label is the same since number {alarm.began}; nothing is learnt "
            "meanwhile"
            if first.pattern == "constant"
            else f"{LABEL_FAULT}: labels are {first.pattern} since number {alarm.began}; "
            "nothing is learnt meanwhile"
        )
        return Diagnosis(name=LABEL_FAULT, because=because, began=alarm.began, incident=True)
    because = (
        f"{PRIOR_SHIFT}: the share of {first.cell} went from {first.reference_share:.2f} to "
        f"{first.share:.2f} since number {alarm.began}; while the loss keeps its promise, nothing "
        "follows from it"
    )
    return Diagnosis(name=PRIOR_SHIFT, because=because, began=alarm.began, incident=False)


def of_refusals(alarm: Refused) -> Diagnosis:
    """Name the fields for which more rows than usual are refused."""
    named = [f"{name} ({n})" for name, n in alarm.fields[:_MOST_NAMED]]
    because = (
        f"{BROKEN_FEED}: {alarm.refused} of {alarm.rows} rows were refused since number "
        f"{alarm.began}, at fault: {', '.join(named)}; nothing is learnt meanwhile"
    )
    return Diagnosis(name=BROKEN_FEED, because=because, began=alarm.began, incident=True)


def of_delay(said: Overdue | Silence, reference: DelayReference) -> Diagnosis:
    """Tell labels that come late, or no longer for as many rows, from none at all."""
    if isinstance(said, Silence):
        because = f"{LABELS_SILENT}: none since row {said.began}, {said.observations} observations"
        return Diagnosis(name=LABELS_SILENT, because=because, began=said.began, incident=False)
    because = (
        f"{LABELS_LATE}: since row {said.began} more observations than usual "
        f"({reference.overdue:.0%}) have no label after {reference.horizon} further ones; late "
        "and lost ones look the same"
    )
    return Diagnosis(name=LABELS_LATE, because=because, began=said.began, incident=False)


def never_labelled(observations: int, *, began: int) -> Diagnosis:
    """Say that not one label came since the start, or since rows were counted anew."""
    because = f"{LABELS_SILENT}: no label since row {began}, {observations} observations"
    return Diagnosis(name=LABELS_SILENT, because=because, began=began, incident=False)


def of_loss(model: Model, state: Standing, *, metric: str, level: float, began: int) -> Diagnosis:
    """Tell a concept change from labels that look flipped, or an incident that is open.

    With two classes, a champion that is wrong as often as it was promised to be right answers
    the opposite of the labels, and if every other version does too, the labels have turned: a
    world seldom turns by itself into its exact contrary.
    """
    said = f"the champion's {metric} is above the promised {level:.4f} since number {began}"
    if state.incident is not None:
        because = f"{said}; taken for the {state.incident.name} that is open"
        return Diagnosis(name=state.incident.name, because=because, began=began, incident=True)
    right = promised(replace(model, policy=replace(model.policy, threshold=None)), state.anchor)
    # Labels that a person has accepted contradict whoever learnt from earlier ones.
    learnt = state.champion.through >= state.accepted
    two = len(model.classes) == 2 and learnt  # noqa: PLR2004  two classes have one opposite
    opposite = 1 - state.error <= min(right["error_rate"] + _FLIPPED, 0.5)
    flipped = two and opposite and state.contradicted > 0.5  # noqa: PLR2004  most of them
    if flipped:
        because = (
            f"{LABEL_FAULT}: {said}, and lately {state.error:.0%} of the labels are the opposite "
            "of its answers: they look flipped; nothing is learnt meanwhile"
        )
        return Diagnosis(name=LABEL_FAULT, because=because, began=began, incident=True)
    because = f"{CONCEPT_CHANGE}: {said}"
    return Diagnosis(name=CONCEPT_CHANGE, because=because, began=began, incident=False)


def quiet(state: Standing, diagnosis: Diagnosis) -> bool:
    """Whether it is a further sign of an open incident, too soon after the last one to be said."""
    there = state.incident
    if there is None or not diagnosis.incident:
        return False
    return state.rows - there.opened < there.quiet.get(diagnosis.name, 0)


def said_before(state: Standing, names: tuple[str, ...]) -> bool:
    """Whether a move of each of these columns was said, too lately for another one to be news."""
    there = (state.shifts.get(name) for name in names)
    return all(s is not None and state.rows - s.rows < s.wait for s in there)


def shifted(model: Model, state: Standing, names: tuple[str, ...]) -> Standing:
    """Note that columns moved: the next move is said after the budget's rows, then twice as many.

    A world that goes on moving is one piece of news, and each alarm of it would be right: so the
    guarantee, which is about alarms without a change, has no say in this.
    """
    known = said_before(state, names)
    shifts = dict(state.shifts)
    for name in names:
        before = shifts.get(name)
        if before is not None and (known or state.rows - before.rows < before.wait):
            shifts[name] = replace(before, unsaid=before.unsaid + 1)
        else:
            wait = 2 * before.wait if before else model.policy.false_alarms
            shifts[name] = Shift(rows=state.rows, wait=wait)
    return replace(state, shifts=shifts)


def opened(state: Standing, diagnosis: Diagnosis, at: int) -> Standing:
    """Open an incident, or note that it goes on; what was ordered is dropped.

    Its next sign is said when it would have closed without one, and then each time when it has
    lasted twice as long.
    """
    if not diagnosis.incident:
        return state
    before = state.incident
    told = dict(before.quiet) if before else {}
    if not quiet(state, diagnosis):
        lasted = state.rows - before.opened if before else 0
        told[diagnosis.name] = max(2 * lasted, silence(state))
    incident = Incident(
        name=before.name if before else diagnosis.name,
        began=min(before.began, diagnosis.began) if before else diagnosis.began,
        last=max(before.last, at) if before else at,
        rows=state.rows,
        opened=before.opened if before else state.rows,
        quiet=told,
    )
    # A reference that is wanted anew would be one of faulty rows; the first one may come.
    first = state.drift is None
    kept = tuple(o for o in state.orders if first and o.strategy == REFERENCE)
    return replace(state, incident=incident, orders=kept, moving=None)


def recovered(model: Model, state: Standing) -> Standing:
    """Close an incident after ten blocks, at least 200 labelled rows, without a further sign.

    It is closed by the rows after these: of one long portion the labelled rows are taken in first,
    and what columns, labels and refusals looked like meanwhile must have had its say. Where rows
    were refused, ten bets on refusals are awaited too: they come by the clock, not by labels.
    """
    incident = state.incident
    if incident is None or state.rows - incident.rows < silence(state):
        return state
    if not incident.due or state.refusals.uneasy:
        return replace(state, incident=replace(incident, due=True))
    excluded = (*state.excluded, (incident.began, incident.last))[-_MOST_EXCLUDED:]
    asked = questions(model, state.anchor, state.block)
    return replace(
        state,
        incident=None,
        excluded=excluded,
        evidence=fold.anew(asked, state.evidence, seq=state.read),
    )
