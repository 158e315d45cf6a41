"""What was answered on labelled rows, each judged as it was served: by what stood at its time."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from continualml.decide.lines import asked, stood
from continualml.decide.standing import (
    ANCHOR,
    BLEND,
    PREVIOUS,
    RECALL,
    SINCE_ALARM,
    Artifact,
    Standing,
    challengers,
    places,
    watched,
)
from continualml.errors import InputError
from continualml.evidence import blend, recall
from continualml.model import Model
from continualml.records import Scored
from continualml.scoring.losses import loss

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_FROZEN = {SINCE_ALARM, PREVIOUS, ANCHOR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Blended:
    """The blend on n rows: its weights as they went on, and its answers as its weights stood.

    ``stood`` says of each row whether the blend was there when it was observed.
    """

    path: blend.WeightsPath
    said: Floats
    stood: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """The earlier versions on n rows, and which of them led when each row was observed.

    ``path`` is (n + 1, versions) their mean losses, ``led`` (n + 1, 1) who leads by them; ``lost``
    (n,) what the one that led lost, where (``stood``) it was there at the time.
    """

    path: Floats
    led: Floats
    lost: Floats
    stood: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Answers on n new rows.

    ``by_graph`` has what each version answers now, also on rows that were observed before it was
    there; ``as_served`` what stood in its place when each row was observed.
    """

    seq: NDArray[np.int64]
    observed: NDArray[np.int64]
    target: Floats
    by_graph: dict[int, Floats]
    as_served: dict[int, Floats]
    blended: Blended | None = None
    earlier: Earlier | None = None

    def of(self, artifact: Artifact) -> Floats:
        """(n, width) answers of one artifact, a blend's with the weights that it was kept with."""
        if not artifact.members:
            return self.as_served[artifact.version]
        return blend.mixed(np.array(artifact.weights), self.members(artifact))

    def members(self, artifact: Artifact) -> Floats:
        """(n, members, width) answers of a blend's members."""
        return np.stack([self.as_served[v] for v in artifact.graphs], axis=1)

    def champion_now(self, state: Standing) -> Floats:
        """(n, width) answers of the champion as it is now, also to rows from before it was."""
        members = np.stack([self.by_graph[v] for v in state.champion.graphs], axis=1)
        weights = np.array(state.champion.weights or (1.0,))
        if state.follows == BLEND and self.blended is not None:
            weights = self.blended.path.weights[:-1]
        return blend.mixed(weights, members)

    def champion(self, state: Standing) -> Floats:
        """(n, width) answers of the champion."""
        if state.follows == BLEND and self.blended is not None:
            return self.blended.said
        return self.of(state.champion)

    def taken_in(self, state: Standing, n: int) -> Standing:
        """Let weights, and who leads among the earlier ones, go on over the first n rows."""
        if state.incident is not None:  # rows that are not what they say teach nothing
            return state
        if self.blended is not None:
            path = self.blended.path
            state = replace(
                state,
                weights=path.after(state.weights, n),
                weighed=state.weighed.after(self.seq, path.weights, n),
            )
        if self.earlier is not None:
            means = tuple(self.earlier.path[n].tolist())
            state = replace(
                state,
                recalled=replace(state.recalled, loss=means),
                led=state.led.after(self.seq, self.earlier.led, n),
            )
        return state


def answered(model: Model, state: Standing, outcome: Scored) -> Answered:
    """Read the rows that are new, and let blend and earlier versions go over them.

    Raises
    ------
    InputError
        If a version was scored on a row that it was trained on, or a version is missing.
    """
    new = _unpacked(model, state, outcome)
    if head := state.heads.get(BLEND):
        new = replace(new, blended=_blended(model, state, new, head))
    if state.archive:
        new = replace(new, earlier=_earlier(model, state, new))
    return new


def differences(model: Model, state: Standing, new: Answered) -> Floats:
    """(n, places) loss of the champion - loss of each challenger; 0 where there is none.

    Also 0 where the row was observed before one of both could have answered it: what was trained
    while its label was awaited is no proof of what would have been served.
    """
    served = _served(state, new)
    own = loss(model, new.champion(state), new.target)
    columns = []
    for name, a in zip(places(model), challengers(model, state), strict=True):
        if a is None:
            columns.append(np.zeros_like(own))
            continue
        if name == RECALL and new.earlier is not None:
            lost, stood = new.earlier.lost, new.earlier.stood
        elif name == BLEND and new.blended is not None:
            lost, stood = loss(model, new.blended.said, new.target), new.blended.stood
        else:
            begun = a.known if name in _FROZEN else state.stands_since(name, a)
            lost, stood = loss(model, new.of(a), new.target), new.observed > begun
        columns.append(np.where(served & stood, own - lost, 0.0))
    return np.column_stack(columns)


def _served(state: Standing, new: Answered) -> Bools:
    """(n,) whether the champion, or its strategy, was there when the row was observed."""
    if state.follows == BLEND and new.blended is not None:
        return new.blended.stood
    begun = state.champion.known
    if state.follows is not None:
        begun = state.stands_since(state.follows, state.champion)
    served: Bools = new.observed > begun
    return served


def _unpacked(model: Model, state: Standing, outcome: Scored) -> Answered:
    """Read the rows that are new, after checking that nobody was trained on them."""
    seq = np.frombuffer(outcome.seq, "<i8")
    shape = (len(seq), len(outcome.versions), model.width)
    answers = np.frombuffer(outcome.answers, "<f4").reshape(shape).astype(np.float64)
    # A version without a finite answer was as wrong as can be; nobody waits for it.
    answers[~np.isfinite(answers).all(axis=2)] = np.nan
    new = int(np.searchsorted(seq, state.read, side="right"))
    fresh = seq[new:]
    # Before observations' numbers were noted, every label counted as one that came at once.
    observed = np.frombuffer(outcome.observed or outcome.seq, "<i8")[new:]
    if missing := asked(model, state, observed).keys() - set(outcome.versions):
        raise InputError("scored.versions", expected=f"versions {sorted(missing)} too", got=None)
    there = (state.champion, *challengers(model, state), *state.archive, *state.heads.values())
    for a in there:
        if a and fresh.size and int(fresh[0]) <= a.through:
            raise InputError(
                "scored.seq",
                expected=f"rows after {a.through}, the last that version {a.version} has seen",
                got=int(fresh[0]),
            )
    by_graph = {v: answers[new:, i] for i, v in enumerate(outcome.versions)}
    return Answered(
        seq=fresh,
        observed=observed,
        target=np.frombuffer(outcome.target, "<f8")[new:],
        by_graph=by_graph,
        as_served={v: _as_served(state, v, observed, by_graph) for v in watched(model, state)},
    )


def _as_served(
    state: Standing, version: int, observed: NDArray[np.int64], by_graph: dict[int, Floats]
) -> Floats:
    (last, _), *others = reversed(stood(state, version, observed))
    if not others:
        return by_graph[last]
    said = by_graph[last].copy()
    for who, rows in others:
        said[rows] = by_graph[who][rows]
    return said


def _blended(model: Model, state: Standing, new: Answered, head: Artifact) -> Blended:
    members = new.members(head)
    if state.incident is not None:
        path = blend.standing_still(state.weights, len(new.seq))
    else:
        # Weights are no proof: they learn from what each member answers now.
        lost = [loss(model, new.by_graph[v], new.target) for v in head.graphs]
        path = blend.step(state.weights, np.column_stack(lost))
    weights, stood = state.weighed.stood(new.seq, path.weights, new.observed)
    return Blended(path=path, said=blend.mixed(weights, members), stood=stood)


def _earlier(model: Model, state: Standing, new: Answered) -> Earlier:
    each = np.column_stack([loss(model, new.of(a), new.target) for a in state.archive])
    if state.incident is not None:
        path = np.tile(state.recalled.loss, (len(new.seq) + 1, 1))
    else:
        path = recall.step(state.recalled, each)
    led = path.argmin(axis=1)[:, None].astype(np.float64)
    place, stood = state.led.stood(new.seq, led, new.observed)
    leader = place[:, 0].astype(np.intp)
    known = np.array([a.known for a in state.archive])
    return Earlier(
        path=path,
        led=led,
        lost=each[np.arange(len(new.seq)), leader],
        stood=stood & (new.observed > known[leader]),
    )
