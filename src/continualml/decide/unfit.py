"""What follows when a serving process cannot let a version answer: it goes, at once."""

from dataclasses import replace

from continualml.decide.judge import frozen, installed
from continualml.decide.learn import about, blend_ordered, order_due
from continualml.decide.promise import evidence_now, questions
from continualml.decide.standing import BLEND, Artifact, Standing, archived
from continualml.evidence import fold
from continualml.model import Model
from continualml.records import Decision, Json, Unfit


def unfit(model: Model, state: Standing, outcome: Unfit) -> tuple[Standing, list[Decision]]:
    """Let an earlier version answer in place of the unfit one, and begin all evidence anew.

    The unfit one leaves every place from which it could come back; of a version that does not
    answer any more nothing else is to be done. Where there is nobody else, it answers on.
    """
    version, before = outcome.version, state.champion.version
    found = {"guard": outcome.guard, "version": version, "because": outcome.because}
    basis: Json = {**evidence_now(model, state), "unfit": found}
    if version != before:
        after = _left(model, state, version)
        because = f"version {version}, which is not the champion, is unfit: {outcome.because}"
        return after, [about(model, after, "keep", because=because, basis=basis, version=before)]
    winner = _way_back(state, version)
    if winner is None:
        because = f"version {version} is unfit, and there is no other to answer: {outcome.because}"
        return state, [about(model, state, "keep", because=because, basis=basis, version=before)]
    after = installed(model, state, winner, follows=None)
    # As they were: the unfit one is to take no place among the earlier ones, nor anybody's.
    after = archived(replace(after, previous=None), state.archive, state.recalled.loss)
    after = order_due(model, _left(model, after, version))
    because = f"version {version} is unfit: {outcome.because}"
    basis = {**basis, "from": before}
    said = about(model, after, "rollback", because=because, basis=basis, version=winner.version)
    return after, [said]


def _way_back(state: Standing, version: int) -> Artifact | None:
    """Name who answers instead: the one before the last promotion, the anchor, an earlier one."""
    earlier = (state.previous, state.anchor, *reversed(state.archive))
    return next((a for a in earlier if a and not _has(a, version)), None)


def _has(artifact: Artifact, version: int) -> bool:
    return version in {artifact.version, *artifact.graphs}


def _left(model: Model, state: Standing, version: int) -> Standing:
    """Take a version, and every blend of it but the champion, from all places but the champion's.

    A strategy without its newest version has none until its next refit; the blend is made anew of
    those that are left.
    """

    def gone(artifact: Artifact) -> bool:
        return artifact.version != state.champion.version and _has(artifact, version)

    heads = {name: a for name, a in state.heads.items() if not gone(a)}
    kept = tuple(a for a in state.archive if not gone(a))
    lost = dict(zip(state.recalled.versions, state.recalled.loss, strict=True))
    stood = {n: tuple(s for s in ln if s.version != version) for n, ln in state.lines.items()}
    if kept != state.archive:
        state = archived(state, kept, tuple(lost[a.version] for a in kept))
    after = replace(
        state,
        heads=heads,
        lines={name: line for name, line in stood.items() if line},
        previous=None if state.previous and gone(state.previous) else state.previous,
    )
    if gone(state.anchor):  # another artifact promises from here on
        live = state.follows == BLEND
        anchor = frozen(state, state.champion) if live else state.champion
        asked = questions(model, anchor, state.block)
        after = replace(after, anchor=anchor, evidence=fold.silenced(asked, state.evidence))
    return blend_ordered(after) if state.heads.keys() - heads.keys() - {BLEND} else after
