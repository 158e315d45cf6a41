"""What labelled rows say: the champion against its promise, and each challenger against it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from continualml.decide.diagnose import of_loss, opened, quiet
from continualml.decide.learn import about, order_due, reference_order
from continualml.decide.promise import evidence_now, promised, questions
from continualml.decide.standing import (
    ANCHOR,
    BLEND,
    PREVIOUS,
    RECALL,
    REFERENCE,
    SINCE_ALARM,
    Artifact,
    Order,
    Standing,
    challengers,
    places,
    watched,
)
from continualml.decide.watch import healed, label_alarms
from continualml.errors import InputError
from continualml.evidence import blend, fold, recall
from continualml.model import Model
from continualml.records import Decision, DecisionKind, Scored
from continualml.scoring.losses import loss, measured

Floats = NDArray[np.float64]
_MOST_EARLIER = 3
_FORGETTING = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Answers on n new rows: by graph, by the blend as its weights went, by the one recalled."""

    seq: NDArray[np.int64]
    target: Floats
    by_graph: dict[int, Floats]
    live_blend: Floats | None = None
    weights: blend.WeightsPath | None = None
    leader: NDArray[np.intp] | None = None
    recalled: Floats | None = None

    def weights_after(self, before: blend.Weights, n: int) -> blend.Weights:
        """Weights of the blend after the first n rows."""
        if self.weights is None:
            return before
        return self.weights.after(before, n)

    def recalled_after(self, before: recall.Recalled, n: int) -> recall.Recalled:
        """How the earlier versions stand after the first n rows."""
        if self.recalled is None:
            return before
        return replace(before, loss=tuple(self.recalled[n].tolist()))

    def of(self, artifact: Artifact, *, live: bool = False) -> Floats:
        """(n, width) answers of one artifact; ``live``: with the weights that each row met."""
        if live and self.live_blend is not None:
            return self.live_blend
        if not artifact.members:
            return self.by_graph[artifact.version]
        members = np.stack([self.by_graph[v] for v in artifact.graphs], axis=1)
        return blend.mixed(np.array(artifact.weights), members)


def scored(model: Model, state: Standing, outcome: Scored) -> tuple[Standing, list[Decision]]:
    """Take in what was answered on labelled rows: weigh, bet, and decide what has been proven.

    Rows after an alarm or a proof are left to be read again: other versions are to meet them.

    Raises
    ------
    InputError
        If a version was scored on a row that it was trained on, or a version is missing.
    """
    answered = weighed(model, state, unpacked(model, state, outcome))
    evidence, crossing = fold.step(
        questions(model, state.anchor, state.block),
        state.evidence,
        answered.seq,
        _champion_losses(model, state, answered),
        _differences(model, state, answered),
        present=tuple(a is not None for a in challengers(model, state)),
        quiet=state.quiet_until - state.rows if state.incident is None else len(answered.seq),
    )
    n = int(np.searchsorted(answered.seq, evidence.seq, side="right"))
    state = replace(
        state,
        evidence=evidence,
        read=max(state.read, evidence.seq),
        rows=state.rows + n,
        weights=state.weights if state.incident else answered.weights_after(state.weights, n),
        recalled=state.recalled if state.incident else answered.recalled_after(state.recalled, n),
    )
    state = _lately(model, state, answered, n)
    state, decisions = healed(model, state)
    state, some = label_alarms(model, state, outcome)
    decisions += some
    if crossing and crossing.alarmed:
        state = _alarmed(model, state, decisions)
    if crossing and crossing.proven:
        state = _proven(model, state, crossing.proven[0], decisions)
    if not decisions:
        because = f"no evidence reached its threshold by number {state.read}"
        if state.incident and crossing:
            because = f"a further sign of the {state.incident.name} that is open, said before"
        basis = evidence_now(model, state)
        version = state.champion.version
        decisions.append(about(model, state, "keep", because=because, basis=basis, version=version))
    return order_due(model, state), decisions


def weights_path(model: Model, state: Standing, outcome: Scored) -> Floats | None:
    """(n + 1, members) weights of the blend before each row and after the last; None without one.

    They are those of a loop that turns after every label.
    """
    path = weighed(model, state, unpacked(model, state, outcome)).weights
    return None if path is None else path.weights


def unpacked(model: Model, state: Standing, outcome: Scored) -> Answered:
    """Read the rows that are new, after checking that nobody was trained on them."""
    seq = np.frombuffer(outcome.seq, "<i8")
    shape = (len(seq), len(outcome.versions), model.width)
    answers = np.frombuffer(outcome.answers, "<f4").reshape(shape).astype(np.float64)
    # A version without a finite answer was as wrong as can be; nobody waits for it.
    answers[~np.isfinite(answers).all(axis=2)] = np.nan
    new = int(np.searchsorted(seq, state.read, side="right"))
    fresh = seq[new:]
    if missing := set(watched(model, state)) - set(outcome.versions):
        raise InputError("scored.versions", expected=f"versions {sorted(missing)} too", got=None)
    there = (state.champion, *challengers(model, state), *state.archive, *state.heads.values())
    for a in there:
        if a and fresh.size and int(fresh[0]) <= a.through:
            raise InputError(
                "scored.seq",
                expected=f"rows after {a.through}, the last that version {a.version} has seen",
                got=int(fresh[0]),
            )
    return Answered(
        seq=fresh,
        target=np.frombuffer(outcome.target, "<f8")[new:],
        by_graph={v: answers[new:, i] for i, v in enumerate(outcome.versions)},
    )


def weighed(model: Model, state: Standing, answered: Answered) -> Answered:
    """Let the blend's weights and the choice among earlier versions go over the rows."""
    if head := state.heads.get(BLEND):
        members = np.stack([answered.by_graph[v] for v in head.graphs], axis=1)
        lost = [loss(model, members[:, j], answered.target) for j in range(members.shape[1])]
        path = blend.step(state.weights, np.column_stack(lost))
        live = blend.mixed(path.weights[:-1], members)
        answered = replace(answered, live_blend=live, weights=path)
    if state.archive:
        lost = [loss(model, answered.of(a), answered.target) for a in state.archive]
        leader, recalled = recall.step(state.recalled, np.column_stack(lost))
        answered = replace(answered, leader=leader, recalled=recalled)
    return answered


def _lately(model: Model, state: Standing, answered: Answered, n: int) -> Standing:
    """Let the shares of wrong rows go over the first n rows, the newest ones counting most."""
    target = answered.target[:n]
    own = measured(model, "error_rate", _champion(state, answered)[:n], target)
    each = [measured(model, "error_rate", a[:n], target) for a in answered.by_graph.values()]
    error, contradicted = state.error, state.contradicted
    for x, y in zip(own.tolist(), np.min(each, axis=0).tolist(), strict=True):
        error = _FORGETTING * error + (1 - _FORGETTING) * x
        contradicted = _FORGETTING * contradicted + (1 - _FORGETTING) * y
    return replace(state, error=error, contradicted=contradicted)


def _champion(state: Standing, answered: Answered) -> Floats:
    return answered.of(state.champion, live=state.follows == BLEND)


def _champion_losses(model: Model, state: Standing, answered: Answered) -> Floats:
    """(n, metrics) losses of the champion that something was promised about."""
    said = _champion(state, answered)
    names = promised(model, state.anchor)
    return np.column_stack([measured(model, m, said, answered.target) for m in names])


def _differences(model: Model, state: Standing, answered: Answered) -> Floats:
    """(n, places) loss of the champion - loss of each challenger; 0 where there is none."""
    target = answered.target
    own = loss(model, _champion(state, answered), target)
    columns = []
    for name, a in zip(places(model), challengers(model, state), strict=True):
        if a is None:
            columns.append(np.zeros_like(own))
        elif name == RECALL and answered.leader is not None:
            each = [loss(model, answered.of(e), target) for e in state.archive]
            columns.append(own - np.column_stack(each)[np.arange(len(own)), answered.leader])
        else:
            columns.append(own - loss(model, answered.of(a, live=name == BLEND), target))
    return np.column_stack(columns)


def _alarmed(model: Model, state: Standing, decisions: list[Decision]) -> Standing:
    strongest = state.evidence.strongest
    began = state.evidence.alarms[strongest].strongest_began
    metric, level = list(promised(model, state.anchor).items())[strongest]
    diagnosis = of_loss(model, state, metric=metric, level=level, began=began)
    basis = {
        **evidence_now(model, state),
        "family": "loss",
        "diagnosis": diagnosis.name,
        "began": began,
        "metric": metric,
    }
    because, version = diagnosis.because, state.champion.version
    if not quiet(state, diagnosis):
        said = about(model, state, "alarm", because=because, basis=basis, version=version)
        decisions.append(said)
    asked = questions(model, state.anchor, state.block)
    state = replace(state, evidence=fold.silenced(asked, state.evidence))
    if diagnosis.incident:
        return opened(state, diagnosis, state.read)
    wanted = [Order(strategy=SINCE_ALARM, through=state.read, since=began)]
    if model.policy.retrain == "on_alarm":
        wanted += [Order(strategy=s.name, through=state.read) for s in model.policy.strategies]
    wanted = [replace(o, without=state.excluded) for o in wanted]
    waiting = {o.strategy for o in wanted}
    return replace(
        remembered(state, state.champion),
        orders=(*(o for o in state.orders if o.strategy not in waiting), *wanted),
    )


def _proven(model: Model, state: Standing, place: int, decisions: list[Decision]) -> Standing:
    name = places(model)[place]
    winner = challengers(model, state)[place]
    if winner is None:  # an absent challenger has no evidence
        raise InputError("crossing.proven", expected="a challenger that is there", got=name)
    back = name in {RECALL, PREVIOUS, ANCHOR}
    basis = {**evidence_now(model, state), "place": name, "from": state.champion.version}
    what = f"the {name} version" if back else f"strategy {name}"
    proof = basis["gate"][name]
    because = (
        f"{what} is proven better than version {state.champion.version}: evidence "
        f"{proof['evidence']:.3g} against {proof['threshold']:.3g}"
    )
    kind: DecisionKind = "rollback" if back else "promote"
    decisions.append(
        about(model, state, kind, because=because, basis=basis, version=winner.version)
    )
    frozen_one = back or name == SINCE_ALARM
    return installed(model, state, winner, follows=None if frozen_one else name)


def installed(model: Model, state: Standing, winner: Artifact, *, follows: str | None) -> Standing:
    """Let another artifact answer; the one before is kept, and all evidence starts anew."""
    winner = frozen(state, winner) if follows == BLEND else winner
    state = remembered(state, state.champion)
    return replace(
        state,
        champion=winner,
        follows=follows,
        anchor=winner,
        previous=frozen(state, state.champion) if state.follows == BLEND else state.champion,
        quiet_until=state.rows + model.policy.cooldown,
        evidence=fold.untouched(questions(model, winner, state.block), seq=state.read),
        drift=None,
        orders=(*(o for o in state.orders if o.strategy != REFERENCE), reference_order(state)),
    )


def frozen(state: Standing, artifact: Artifact) -> Artifact:
    """Keep the weights of the live blend as they are now; another artifact stays what it is."""
    if not artifact.members:
        return artifact
    now = dict(zip(state.weights.names, state.weights.weights, strict=True))
    return replace(artifact, weights=tuple(now[name] for name, _ in artifact.members))


def remembered(state: Standing, artifact: Artifact) -> Standing:
    """Keep an artifact among the earlier ones that may be recalled, the newest few of them."""
    if state.follows == BLEND:
        artifact = frozen(state, artifact)
    if artifact.version in {a.version for a in state.archive}:
        return state
    archive = (*state.archive, artifact)[-_MOST_EARLIER:]
    lost = dict(zip(state.recalled.versions, state.recalled.loss, strict=True))
    first = next(iter(artifact.expected.values())).loss
    versions = tuple(a.version for a in archive)
    return replace(
        state,
        archive=archive,
        recalled=recall.Recalled(
            versions=versions, loss=tuple(lost.get(v, first) for v in versions)
        ),
    )
