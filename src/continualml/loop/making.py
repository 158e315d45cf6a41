"""What the loop measures and makes: answers on labelled rows, refits, the blend's graph."""

from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np
from loguru import logger
from numpy.typing import NDArray

from continualml import clock, decide
from continualml.errors import InputError
from continualml.evidence import blend, blocks, usual_delay
from continualml.evidence.reference import answered, codes, columns_of, labelled, of_columns
from continualml.loop.training import Product, Trainer, TrainingError
from continualml.model import Model
from continualml.records import (
    Arrived,
    Counted,
    DelaysDescribed,
    Described,
    Events,
    Intake,
    Json,
    Merged,
    Observations,
    Rows,
    Scored,
    Trained,
    TrainingFailed,
    Watched,
    Window,
)
from continualml.scoring.artifact import trained_on
from continualml.scoring.losses import loss, measured, metrics
from continualml.scoring.session import Session
from continualml.store.artifacts import ArtifactError

FIRST = "first"
MOST_ROWS = 2_000
_CHECKED_ROWS = 64
_REFERENCE_ROWS = 1_000
FEWEST_REFERENCE_ROWS = 300
_FEWEST_LABELS = 30


class Past(Protocol):
    """The log of one model, as far as the loop reads it, and the versions made so far."""

    def joined(self, after: int, limit: int) -> Window:
        """Read the next rows that became labelled after the number ``after``."""
        ...

    def training(
        self, through: int, newest: int, without: tuple[tuple[int, int], ...] = ()
    ) -> Window:
        """Read the newest rows labelled at or below ``through``, with corrections up to there.

        Rows observed or labelled at a number in one of ``without`` are left out.
        """
        ...

    def observed(self, after: int, limit: int) -> Observations:
        """Read the next observations after the number ``after``, labelled or not."""
        ...

    def nth_observed(self, after: int, n: int) -> int | None:
        """Find the number of the n-th answered one after ``after``; None while there are fewer."""
        ...

    def events(self, after: int, upto: int, limit: int | None = None) -> Events:
        """Read the next observations and first labels after one number and up to another."""
        ...

    def counted(self, after: int, upto: int, limit: int) -> list[Counted]:
        """Read what was answered and refused after one number and up to another."""
        ...

    def n_joined(self, after: int, upto: int) -> int:
        """Count the rows that became labelled after ``after``, and at or below ``upto``."""
        ...

    def artifact(self, version: int) -> bytes:
        """Read the bytes of a version."""
        ...

    def state(self, version: int) -> bytes:
        """Read what the learner of a version needs to go on learning."""
        ...

    def session(self, version: int) -> Session:
        """Load a version, or take the one that is loaded."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A version to be: its outcome still without a number, its bytes and its manifest.

    ``sha256`` names the bytes once they are kept.
    """

    outcome: Trained | Merged
    artifact: bytes
    manifest: Json
    state: bytes = b""
    sha256: str = ""


def scored(past: Past, model: Model, state: decide.Standing) -> Scored | None:
    """Let every watched version answer the next labelled rows, up to where a refit is due.

    Raises
    ------
    InputError
        If a version was trained on one of the rows, by the rows' ids.
    """
    most = min(decide.rows_until_due(model, state) or MOST_ROWS, MOST_ROWS)
    window = past.joined(state.read, most)
    if not len(window):
        return None
    # What was never asked (a file's rows, made ones) waited for no label: it counts as new.
    observed = np.where(window.version > 0, window.observation_seq, window.seq)
    asked = decide.asked(model, state, observed)
    versions = tuple(asked)
    answers = np.full((len(window), len(versions), model.width), np.nan, dtype="<f4")
    read = False
    for i, (version, rows) in enumerate(asked.items()):
        said = _said(past, model, version, window.only(rows))
        if said is not None:
            answers[rows, i] = said
            read = True
    if not read:
        raise ArtifactError(f"{model.name}: none of the versions {versions} can be read")
    return Scored(
        versions=versions,
        seq=window.seq.astype("<i8").tobytes(),
        target=window.target.astype("<f8").tobytes(),
        answers=answers.tobytes(),
        observed=observed.astype("<i8").tobytes(),
    )


def _said(past: Past, model: Model, version: int, rows: Window) -> NDArray[np.float64] | None:
    """Let a version answer rows; None if it cannot be read."""
    try:
        session = past.session(version)
    except (ArtifactError, InputError) as error:
        # It answers nothing, which costs as much as can be; the others are judged all the same.
        logger.error("{}: version {} cannot be scored: {}", model.name, version, error)
        return None
    if (seen := trained_on(session.manifest, rows.observation_seq)).any():
        raise InputError(
            "scored.rows",
            expected=f"rows that version {version} was not trained on",
            got=rows.observation_seq[seen][:3].tolist(),
        )
    return session.said(rows.rows)


def watched(past: Past, state: decide.Standing, model: Model, *, upto: int) -> Watched | None:
    """Say where the columns of new observations lie, of those numbered at or below ``upto``."""
    there = state.drift
    if there is None:
        return None
    found = past.observed(there.of_columns.seq, MOST_ROWS)
    n = int(np.searchsorted(found.seq, upto, side="right"))
    if not n:
        return None
    rows = Rows(numeric=found.rows.numeric[:n], categorical=found.rows.categorical[:n])
    columns = columns_of(model, rows, answered(model, found.answer[:n]))
    return Watched(
        version=there.version,
        seq=found.seq[:n].astype("<i8").tobytes(),
        codes=codes(there.columns, columns).tobytes(),
    )


def arrived(past: Past, state: decide.Standing, *, upto: int) -> Arrived | DelaysDescribed | None:
    """Say how observations and labels came, of those numbered at or below ``upto``."""
    there = state.coming
    if there.reference is None:
        return _delays_described(past, state, upto=upto)
    found = past.events(there.seq, upto, MOST_ROWS)
    if not len(found):
        return None
    return Arrived(
        seq=found.seq.astype("<i8").tobytes(),
        observed=found.observed.astype("u1").tobytes(),
        delay=found.delay.astype("<f8").tobytes(),
    )


def intake(past: Past, state: decide.Standing, *, upto: int) -> Intake | None:
    """Say what was answered and refused, in windows numbered at or below ``upto``."""
    found = past.counted(state.refusals.seq, upto, MOST_ROWS)
    return Intake(windows=tuple(found)) if found else None


def _delays_described(past: Past, state: decide.Standing, *, upto: int) -> DelaysDescribed | None:
    """Describe how labels came while the rows that were wanted did; None while these are fewer."""
    after, wanted = state.coming.after, state.coming.wanted
    through = past.nth_observed(after, wanted)
    if through is None or through > upto:
        return None
    found = past.events(after, through)
    at, came = np.cumsum(found.observed), ~np.isnan(found.delay)
    of = at[came] - found.delay[came]
    reference = b""
    if np.count_nonzero((of >= 1) & (of <= wanted / 2)) >= _FEWEST_LABELS:
        usual = usual_delay.of_events(found.observed, found.delay, block=state.block)
        reference = msgspec.msgpack.encode(usual)
    return DelaysDescribed(
        after=after,
        observations=wanted,
        through=through,
        labels=int(came.sum()),
        reference=reference,
    )


def made(
    past: Past, trainer: Trainer, model: Model, state: decide.Standing | None, order: decide.Order
) -> Made | Described | TrainingFailed:
    """Carry out one order: a fit, the blend's new graph, or a reference."""
    try:
        if order.strategy == decide.REFERENCE and state is not None:
            return _described(past, model, state, order)
        if order.strategy == decide.BLEND:
            return _merged(past, trainer, model, order)
        return _fitted(past, trainer, model, state, order)
    except (TrainingError, InputError, ArtifactError) as error:
        return TrainingFailed(strategy=order.strategy, through=order.through, because=str(error))


def _described(past: Past, model: Model, state: decide.Standing, order: decide.Order) -> Described:
    """Describe the newest labelled rows, and what the champion answers on them."""
    newest = _REFERENCE_ROWS
    if order.since is not None:
        newest = max(FEWEST_REFERENCE_ROWS, past.n_joined(order.since - 1, order.through))
    window = past.training(order.through, min(newest, _REFERENCE_ROWS), order.without)
    if order.since is not None:  # labels that came since may be of rows from before
        later = window.observation_seq >= order.since
        window = window.only(later) if later.sum() >= FEWEST_REFERENCE_ROWS else window
    if not len(window):
        raise TrainingError("every labelled row is left out")
    # Who answers now: that is what the next answers are held against.
    answers = state.champion
    said = np.stack([past.session(v).said(window.rows) for v in answers.graphs], axis=1)
    weights = np.array(decide.champion_weights(state)) if answers.members else np.ones(1)
    columns = columns_of(model, window.rows, answered(model, blend.mixed(weights, said)))
    labels = labelled(model, window.target)
    return Described(
        version=state.anchor.version,
        observed=int(window.observation_seq.max()),
        columns=msgspec.msgpack.encode(of_columns(columns, block=state.block)),
        labels=msgspec.msgpack.encode(of_columns(labels, block=state.block)),
    )


def _merged(past: Past, trainer: Trainer, model: Model, order: decide.Order) -> Made:
    members = [(name, version, past.artifact(version)) for name, version in order.members]
    rows = past.training(order.through, _CHECKED_ROWS).rows
    new = trainer.merge(model, members, rows, strategy=order.strategy)
    outcome = Merged(
        strategy=order.strategy, version=0, through=order.through, members=order.members
    )
    return Made(outcome=outcome, artifact=new.artifact, manifest=new.manifest)


def _fitted(
    past: Past, trainer: Trainer, model: Model, state: decide.Standing | None, order: decide.Order
) -> Made | TrainingFailed:
    """Fit on all but the newest rows, and check on those beside the strategy's predecessor."""
    began = clock.steady_s()
    window = past.training(order.through, _span(past, model, order), order.without)
    if order.by_observation and order.since is not None:
        window = window.only(window.observation_seq >= order.since)
    hold = _hold(model, order, len(window))
    if len(window) < 2 * hold:
        because = f"{len(window)} labelled rows, expected at least {2 * hold}"
        return TrainingFailed(strategy=order.strategy, through=order.through, because=because)
    predecessor = _predecessor(state, order)
    shown = window.part(0, len(window) - hold)
    new = _learnt(past, trainer, model, order, shown, predecessor=predecessor)
    kept = window.part(len(window) - hold, len(window))
    answer = Session(new.artifact).answer(kept.rows)
    own = loss(model, answer, kept.target)
    worse = np.zeros(hold)
    if predecessor is not None:
        before = past.session(predecessor).said(kept.rows)
        worse = own - loss(model, before, kept.target)
    held = {}
    for metric in metrics(model):
        lost = measured(model, metric, answer, kept.target)
        held[metric] = (float(lost.mean()), float(lost.std(ddof=1)) / hold**0.5)
    outcome = Trained(
        strategy=order.strategy,
        version=0,
        through=order.through,
        hold=hold,
        held=held,
        worse_by=float(worse.mean()),
        standard_error=float(worse.std(ddof=1)) / hold**0.5,
        predecessor=predecessor,
        seconds=clock.steady_s() - began,
        block=(model.policy.block or blocks.estimate(own)) if order.strategy == FIRST else None,
    )
    check = {"hold": hold, **{f"hold_{m}": mean for m, (mean, _) in held.items()}}
    manifest = {**new.manifest, "check": check}
    return Made(outcome=outcome, artifact=new.artifact, manifest=manifest, state=new.state)


def _learnt(
    past: Past,
    trainer: Trainer,
    model: Model,
    order: decide.Order,
    window: Window,
    *,
    predecessor: int | None,
) -> Product:
    """Fit anew, or let the predecessor go on with the rows that it has not learnt."""
    known = {s.name: s for s in model.policy.strategies}.get(order.strategy)
    learner, state, before = known.learner if known else model.learner, b"", None
    if known and known.resumes and predecessor is not None:
        state = past.state(predecessor)
        before = past.session(predecessor).manifest["rows"]
        start = int(np.searchsorted(window.seq, before["through"], side="right"))
        window = window.part(start, len(window))
    return trainer.fit(
        model,
        learner,
        window,
        strategy=order.strategy,
        seed=model.seed,
        resumes=known is not None and known.resumes,
        state=state,
        before=before,
    )


def _predecessor(state: decide.Standing | None, order: decide.Order) -> int | None:
    """Name the version that a refit must not be worse than: its strategy's last one."""
    if state is None or order.strategy == decide.SINCE_ALARM:
        return None
    head = state.heads.get(order.strategy)
    return head.version if head else None


def _span(past: Past, model: Model, order: decide.Order) -> int:
    spans = {s.name: s.window for s in model.policy.strategies}
    if order.strategy in spans:
        return max(spans[order.strategy], 2 * model.policy.hold)
    since = 0 if order.since is None else order.since - 1
    return max(past.n_joined(since, order.through), 2 * model.policy.hold)


def _hold(model: Model, order: decide.Order, n: int) -> int:
    # A first promise rests on more rows: it is approximately valid from 200 on.
    most = max(model.policy.hold, min(200, n // 5))
    return most if order.strategy == FIRST else model.policy.hold
