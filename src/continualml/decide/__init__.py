"""What follows from what is known: (standing, outcome) -> standing, decisions, orders. Pure."""

from dataclasses import replace

import msgspec

from continualml.decide.arrive import FIRST_ROWS, arrived, delays_described
from continualml.decide.command import accepted, collected, command_of, commanded, way_back
from continualml.decide.diagnose import BROKEN_FEED
from continualml.decide.judge import scored, weights_path
from continualml.decide.learn import (
    about,
    artifact,
    blended,
    failed,
    merged,
    order_due,
    reference_order,
    trained,
)
from continualml.decide.lines import asked, lined_up, stood
from continualml.decide.policy import changed, declared, policy_hash
from continualml.decide.promise import evidence_now, promised, questions, shares
from continualml.decide.provenance import Known, built, with_provenance
from continualml.decide.refuse import took_in
from continualml.decide.standing import (
    ANCHOR,
    BLEND,
    PREVIOUS,
    RECALL,
    REFERENCE,
    SINCE_ALARM,
    Artifact,
    Coming,
    Incident,
    Order,
    Standing,
    Stood,
    challengers,
    champion_weights,
    places,
    rows_until_due,
    watched,
)
from continualml.decide.unfit import unfit
from continualml.decide.watch import described
from continualml.decide.watch import watched as watched_columns
from continualml.evidence import fold
from continualml.evidence.refusals import RefusalEvidence
from continualml.model import Model
from continualml.records import (
    Accepted,
    Arrived,
    Built,
    Collected,
    Commanded,
    Decision,
    Declared,
    DelaysDescribed,
    Described,
    Intake,
    Json,
    Merged,
    Outcome,
    Scored,
    Trained,
    TrainingFailed,
    Unfit,
    Watched,
)

__all__ = [
    "ANCHOR",
    "BLEND",
    "BROKEN_FEED",
    "PREVIOUS",
    "RECALL",
    "REFERENCE",
    "SINCE_ALARM",
    "Artifact",
    "Incident",
    "Known",
    "Order",
    "Standing",
    "Stood",
    "advance",
    "artifact",
    "asked",
    "begin",
    "blended",
    "challengers",
    "champion_weights",
    "changed",
    "command_of",
    "evidence_now",
    "lined_up",
    "places",
    "policy_hash",
    "promised",
    "questions",
    "rows_until_due",
    "shares",
    "step",
    "stood",
    "watched",
    "way_back",
    "weights_path",
    "with_provenance",
]

Step = tuple[Standing, tuple[Decision, ...]]


def begin(model: Model, seq: int, outcome: Trained) -> Step:
    """Take in the outcome with which everything begins: the first champion."""
    block = outcome.block or model.policy.block or 1
    first = artifact(outcome)
    state = Standing(
        seq=seq,
        read=first.through,
        rows=0,
        block=block,
        champion=first,
        follows=None,
        anchor=first,
        previous=None,
        evidence=fold.untouched(questions(model, first, block), seq=first.through),
        coming=Coming(after=first.through, wanted=FIRST_ROWS),
        refusals=RefusalEvidence(seq=first.through),
        policy=policy_hash(model),
    )
    basis: Json = {
        "promised": promised(model, first),
        "block": block,
        "hold": outcome.hold,
        "policy": state.policy,
        "model": msgspec.to_builtins(model),
    }
    because = f"first champion, trained on rows up to number {first.through}, judged on later ones"
    said = about(model, state, "first", because=because, basis=basis, version=first.version)
    state = replace(state, orders=(reference_order(state),))
    return order_due(model, state), (said,)


def step(model: Model, state: Standing, seq: int, outcome: Outcome) -> Step:
    """Take in one outcome with its number; an outcome at or below ``state.seq`` changes nothing.

    ``model`` is the schema and policy in force before the outcome.

    Raises
    ------
    InputError
        If a version was scored on a row that it was trained on, or a version is missing; or if a
        new policy has another schema.
    """
    if seq <= state.seq:
        return state, ()
    match outcome:
        case Scored():
            after, decisions = scored(model, state, outcome)
        case Trained():
            after, decisions = trained(model, state, outcome)
        case Merged():
            after, decisions = merged(model, state, outcome)
        case TrainingFailed():
            after, decisions = failed(model, state, outcome)
        case Described() | Watched() | DelaysDescribed() | Arrived() | Intake():
            after, decisions = _looked_at(model, state, outcome)
        case Commanded() | Accepted() | Unfit():
            after, decisions = _without_proof(model, state, outcome)
        case Collected():
            after, decisions = collected(model, state, outcome)
        case Declared():
            after, decisions = _declared(model, state, outcome)
        case _:  # what the loop runs on is no evidence; ``advance`` notes it
            after, decisions = state, []
    return replace(after, seq=seq), tuple(decisions)


def _looked_at(
    model: Model,
    state: Standing,
    outcome: Described | Watched | DelaysDescribed | Arrived | Intake,
) -> tuple[Standing, list[Decision]]:
    """Take in what rows and labels look like, or how they came, whoever is the champion."""
    match outcome:
        case Described():
            return described(model, state, outcome)
        case Watched():
            return watched_columns(model, state, outcome)
        case DelaysDescribed():
            return delays_described(model, state, outcome)
        case Arrived():
            return arrived(model, state, outcome)
        case Intake():
            return took_in(model, state, outcome)


def _without_proof(
    model: Model, state: Standing, outcome: Commanded | Accepted | Unfit
) -> tuple[Standing, list[Decision]]:
    match outcome:
        case Commanded():
            return commanded(model, state, outcome)
        case Accepted():
            return accepted(model, state, outcome)
        case Unfit():
            return unfit(model, state, outcome)


def _declared(model: Model, state: Standing, outcome: Declared) -> tuple[Standing, list[Decision]]:
    new = outcome.model
    after = replace(declared(model, new, state), policy=policy_hash(new))
    differs = changed(model, new)
    because = f"the policy changed: {', '.join(differs)}"
    basis: Json = {
        **evidence_now(new, after),
        "changed": differs,
        "policy": after.policy,
        "model": msgspec.to_builtins(new),
    }
    version = after.champion.version
    said = about(new, after, "policy", because=because, basis=basis, version=version)
    return order_due(new, after), [said]


def advance(known: Known, seq: int, outcome: Outcome) -> tuple[Known, tuple[Decision, ...]]:
    """Take in any outcome of a model's log, from its first one on: the fold that a replay runs."""
    model, state = known.model, known.standing
    decisions: tuple[Decision, ...] = ()
    if isinstance(outcome, Built):
        return built(known, seq, outcome)
    if model is not None and state is not None:
        state, decisions = step(model, state, seq, outcome)
    elif model is not None and isinstance(outcome, Trained):
        state, decisions = begin(model, seq, outcome)
    if isinstance(outcome, Declared):
        model = outcome.model
    return replace(known, model=model, standing=state), decisions
