"""What a person commands: it is carried out as said, without proof, and written down as that."""

from dataclasses import replace

import msgspec

from continualml.decide.diagnose import BROKEN_FEED
from continualml.decide.judge import frozen, installed
from continualml.decide.learn import about, order_due, reference_order
from continualml.decide.promise import evidence_now, questions
from continualml.decide.standing import (
    BLEND,
    REFERENCE,
    SINCE_ALARM,
    Artifact,
    Expected,
    Order,
    Standing,
)
from continualml.errors import InputError
from continualml.evidence import fold, refusals
from continualml.model import Model
from continualml.records import Accepted, Collected, Commanded, Decision, Json


def way_back(state: Standing) -> Artifact:
    """Name who answers again after a way back: the anchor, or else the champion before it.

    Raises
    ------
    InputError
        If there is nobody to go back to.
    """
    if state.anchor.version != state.champion.version:
        return state.anchor
    if state.previous is None or state.previous.version == state.champion.version:
        raise InputError(
            "rollback",
            expected="a version to go back to",
            got=f"version {state.champion.version} alone",
            remedy="promote a version by its number",
        )
    return state.previous


def commanded(model: Model, state: Standing, outcome: Commanded) -> tuple[Standing, list[Decision]]:
    """Let the commanded version answer, follow nobody, and begin all evidence anew.

    The one that answered before stays as a challenger: it comes back by proof like any other.
    After a way back that was commanded, the next one leads further back, not to and fro.
    """
    before = state.champion.version
    # When the weights of an earlier blend were taken is not said: not later than now.
    winner = replace(_artifact(outcome), weighed=state.read if outcome.members else 0)
    if (head := state.heads.get(BLEND)) and head.version == winner.version:
        winner = frozen(state, head)  # the weights that it has now
    basis: Json = {
        **evidence_now(model, state),
        "from": before,
        "by_hand": outcome.by,
        "said": outcome.said,
    }
    because = f"by hand, without proof, in place of version {before}: {outcome.said}"
    after = installed(model, state, winner, follows=None)
    if outcome.kind == "rollback":
        to_anchor = winner.version == state.anchor.version
        after = replace(after, previous=state.previous if to_anchor else None)
    if winner.version == before:  # it answers on, and follows its strategy no longer
        after = replace(after, previous=state.previous)
    said = about(model, after, outcome.kind, because=because, basis=basis, version=winner.version)
    return order_due(model, after), [said]


def accepted(model: Model, state: Standing, outcome: Accepted) -> tuple[Standing, list[Decision]]:
    """Take the open incident for how things are: learn from its rows as after a concept change.

    What columns and labels look like since then is the new reference, a challenger is trained on
    the rows since then, and none of them is left out of a fit.

    Raises
    ------
    InputError
        If no incident is open.
    """
    incident = state.incident
    if incident is None:
        raise InputError("accept", expected="a model with an open incident", got=None)
    fits = Order(
        strategy=SINCE_ALARM,
        through=state.read,
        since=incident.began,
        # Columns break as observations come; labels that come later may be of rows from before.
        by_observation=incident.name == BROKEN_FEED,
        without=state.excluded,
    )
    reference = reference_order(state, since=incident.began)
    others = (o for o in state.orders if o.strategy not in {SINCE_ALARM, REFERENCE})
    asked = questions(model, state.anchor, state.block)
    after = replace(
        state,
        incident=None,
        accepted=state.read,
        evidence=fold.anew(asked, state.evidence, seq=state.read),
        orders=(*others, fits, reference),
    )
    if incident.name == BROKEN_FEED:
        after = replace(after, refusals=refusals.accepted(state.refusals))
    because = (
        f"by hand: what was taken for a {incident.name} since number {incident.began} is how "
        f"things are, and learnt from: {outcome.said}"
    )
    basis: Json = {
        "incident": msgspec.to_builtins(incident),
        "by_hand": outcome.by,
        "said": outcome.said,
    }
    version = state.champion.version
    said = about(model, after, "recover", because=because, basis=basis, version=version)
    return order_due(model, after), [said]


def collected(model: Model, state: Standing, outcome: Collected) -> tuple[Standing, list[Decision]]:
    """Write down what was deleted; nothing that is still to be decided rests on it."""
    files = len(outcome.graphs) + len(outcome.learners)
    because = (
        f"by hand: {outcome.observations} rows below number {outcome.below} and {files} artifacts "
        "that nothing needs any more are gone"
    )
    gone = msgspec.to_builtins(outcome)
    basis: Json = {"by_hand": gone.pop("by"), "collected": gone}
    version = state.champion.version
    return state, [about(model, state, "collect", because=because, basis=basis, version=version)]


def command_of(artifact: Artifact, *, back: bool, said: str, by: str) -> Commanded:
    """Write down a command with all that must be known of the version."""
    return Commanded(
        kind="rollback" if back else "promote",
        version=artifact.version,
        said=said,
        by=by,
        through=artifact.through,
        rows=artifact.rows,
        expected={m: (e.loss, e.variance) for m, e in artifact.expected.items()},
        members=artifact.members,
        weights=artifact.weights,
    )


def _artifact(outcome: Commanded) -> Artifact:
    return Artifact(
        version=outcome.version,
        through=outcome.through,
        expected={m: Expected(loss=a, variance=b) for m, (a, b) in outcome.expected.items()},
        rows=outcome.rows,
        members=outcome.members,
        weights=outcome.weights,
    )
