"""What labelled rows say: the champion against its promise, and each challenger against it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from continualml.decide.answers import Answered, answered, differences
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
    archived,
    challengers,
    places,
)
from continualml.decide.watch import healed, label_alarms
from continualml.errors import InputError
from continualml.evidence import fold
from continualml.model import Model
from continualml.records import Decision, DecisionKind, Scored
from continualml.scoring.losses import measured

Floats = NDArray[np.float64]
_MOST_EARLIER = 3
_LATELY_ROWS = 20


def scored(model: Model, state: Standing, outcome: Scored) -> tuple[Standing, list[Decision]]:
    """Take in what was answered on labelled rows: weigh, bet, and decide what has been proven.

    Rows after an alarm or a proof are left to be read again: other versions are to meet them.

    Raises
    ------
    InputError
        If a version was scored on a row that it was trained on, or a version is missing.
    """
    new = answered(model, state, outcome)
    # Like is held against like: what was promised was measured on rows held back right after a fit.
    now = new.champion_now(state)
    names = promised(model, state.anchor)
    evidence, crossing = fold.step(
        questions(model, state.anchor, state.block),
        state.evidence,
        new.seq,
        np.column_stack([measured(model, m, now, new.target) for m in names]),
        differences(model, state, new),
        present=tuple(a is not None for a in challengers(model, state)),
        quiet=state.quiet_until - state.rows if state.incident is None else len(new.seq),
    )
    n = int(np.searchsorted(new.seq, evidence.seq, side="right"))
    state = replace(
        new.taken_in(state, n),
        evidence=evidence,
        read=max(state.read, evidence.seq),
        rows=state.rows + n,
    )
    state = _lately(model, state, new, now[:n])
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
    blended = answered(model, state, outcome).blended
    return None if blended is None else blended.path.weights


def _lately(model: Model, state: Standing, new: Answered, said: Floats) -> Standing:
    """Let the shares of wrong rows go over the first n rows, the newest ones counting most.

    ``said`` is (n, width), the champion's answers.

    Labels that look flipped contradict also who learnt from those that came before them.
    """
    n, target = len(said), new.target[: len(said)]
    own = measured(model, "error_rate", said, target)
    each = [measured(model, "error_rate", a[:n], target) for a in new.by_graph.values()]
    error, contradicted = state.error, state.contradicted
    # A block hangs together: within one, most of twenty rows are often wrong by chance.
    newest = 1 / max(state.block, _LATELY_ROWS)
    for x, y in zip(own.tolist(), np.min(each, axis=0).tolist(), strict=True):
        error = (1 - newest) * error + newest * x
        contradicted = (1 - newest) * contradicted + newest * y
    return replace(state, error=error, contradicted=contradicted)


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
    weights = tuple(now[name] for name, _ in artifact.members)
    return replace(artifact, weights=weights, weighed=state.read)


def remembered(state: Standing, artifact: Artifact) -> Standing:
    """Keep an artifact among the earlier ones that may be recalled, the newest few of them."""
    if state.follows == BLEND:
        artifact = frozen(state, artifact)
    if artifact.version in {a.version for a in state.archive}:
        return state
    archive = (*state.archive, artifact)[-_MOST_EARLIER:]
    lost = dict(zip(state.recalled.versions, state.recalled.loss, strict=True))
    first = next(iter(artifact.expected.values())).loss
    return archived(state, archive, tuple(lost.get(a.version, first) for a in archive))
