"""Another policy over a recorded log: the same folds, the same fits, in memory."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from continualml import decide
from continualml.errors import InputError
from continualml.evidence import blend
from continualml.loop import making, periods
from continualml.loop.training import Trainer
from continualml.model import Model
from continualml.records import (
    Counted,
    Decision,
    Declared,
    Events,
    Observations,
    Outcome,
    Rows,
    Scored,
    Trained,
    Window,
)
from continualml.scoring.losses import measured, metrics
from continualml.scoring.session import Session
from continualml.store import intake, log, windows

LIMITS = (
    "The loop is assumed to turn after every label, and fits to take no time.",
    "Labels that depend on the model's own answers make every backtest wrong.",
    "A policy that was chosen because it did well here will do less well elsewhere.",
)
_SESSIONS = 64
_EVERYTHING = 2**63 - 1
Floats = NDArray[np.float64]
Progress = Callable[[int], None]


@dataclass(slots=True, kw_only=True)
class Recorded:
    """A log in memory, and the versions that are made of it.

    Parameters
    ----------
    rows
        All labelled rows in the order in which they became labelled.
    first
        Number up to which the first champion is trained.
    corrections
        (number, observation's number, target) of later revisions, ascending.
    came
        Observations, with those that were never labelled, and first labels as they came.
    counts
        What was answered and refused, ascending.
    """

    model: Model
    rows: Window
    first: int
    came: Events
    corrections: tuple[tuple[int, int, float], ...] = ()
    counts: tuple[Counted, ...] = ()
    artifacts: dict[int, bytes] = field(default_factory=dict)
    sessions: dict[int, Session] = field(default_factory=dict)
    states: dict[int, bytes] = field(default_factory=dict)
    asked: NDArray[np.intp] = field(init=False)
    asked_seq: NDArray[np.int64] = field(init=False)
    answers: Floats = field(init=False)
    answered_to: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Put the rows also in the order in which they were asked; none is answered yet."""
        self.asked = np.argsort(self.rows.observation_seq)
        self.asked_seq = self.rows.observation_seq[self.asked]
        self.answers = np.full((len(self.rows), self.model.width), np.nan)

    def joined(self, after: int, limit: int) -> Window:
        """Read the next rows that became labelled after the number ``after``."""
        start = int(np.searchsorted(self.rows.seq, after, side="right"))
        return self.rows.part(start, min(start + limit, len(self.rows)))

    def training(
        self, through: int, newest: int, without: tuple[tuple[int, int], ...] = ()
    ) -> Window:
        """Read the newest rows labelled at or below ``through``, with corrections up to there."""
        stop = int(np.searchsorted(self.rows.seq, through, side="right"))
        found = self.rows.part(0, stop).without(without)
        found = found.part(max(0, len(found) - newest), len(found))
        later = {o: t for at, o, t in self.corrections if at <= through}
        if not later:
            return found
        target = [
            later.get(o, t)
            for o, t in zip(found.observation_seq.tolist(), found.target.tolist(), strict=True)
        ]
        return replace(found, target=np.array(target))

    def n_joined(self, after: int, upto: int) -> int:
        """Count the rows that became labelled after ``after``, and at or below ``upto``."""
        start, stop = np.searchsorted(self.rows.seq, (after, upto), side="right")
        return int(stop - start)

    def observed(self, after: int, limit: int) -> Observations:
        """Read the next rows that were asked and answered after the number ``after``."""
        start, stop = np.searchsorted(self.asked_seq, (after, self.answered_to), side="right")
        some = self.asked[start : min(stop, start + limit)]
        rows = self.rows.rows
        return Observations(
            seq=self.rows.observation_seq[some],
            rows=Rows(numeric=rows.numeric[some], categorical=rows.categorical[some]),
            answer=self.answers[some],
        )

    def nth_observed(self, after: int, n: int) -> int | None:
        """Find the number of the n-th observation after ``after``; None while there are fewer."""
        seen = self.came.seq[self.came.observed]
        at = int(np.searchsorted(seen, after, side="right")) + n - 1
        return int(seen[at]) if at < len(seen) else None

    def events(self, after: int, upto: int, limit: int | None = None) -> Events:
        """Read the next observations and first labels after one number and up to another."""
        return self.came.between(after, upto, limit)

    def counted(self, after: int, upto: int, limit: int) -> list[Counted]:
        """Read what was answered and refused after one number and up to another."""
        start, stop = (bisect_right(self.counts, n, key=lambda c: c.seq) for n in (after, upto))
        return list(self.counts[start : min(stop, start + limit)])

    def artifact(self, version: int) -> bytes:
        """Read the bytes of a version."""
        return self.artifacts[version]

    def state(self, version: int) -> bytes:
        """Read what the learner of a version needs to go on learning."""
        return self.states[version]

    def session(self, version: int) -> Session:
        """Load a version, or take the one that is loaded."""
        if version not in self.sessions:
            if len(self.sessions) >= _SESSIONS:
                self.sessions.pop(next(iter(self.sessions)))
            self.sessions[version] = Session(self.artifacts[version])
        return self.sessions[version]

    def under(self, model: Model) -> "Recorded":
        """Take the same log for another policy, with no version made yet.

        Raises
        ------
        InputError
            If the other model is not the same problem.
        """
        for part in ("kind", "target", "features", "classes"):
            if getattr(model, part) != getattr(self.model, part):
                raise InputError(
                    f"models.{model.name}.{part}",
                    expected=f"as in the log: {getattr(self.model, part)!r}",
                    got=getattr(model, part),
                )
        return replace(self, model=model, artifacts={}, sessions={}, states={})

    def register(self, new: making.Made) -> Outcome:
        """Give a version the next number."""
        number = len(self.artifacts) + 1
        self.artifacts[number] = new.artifact
        if new.state:
            self.states[number] = new.state
        return replace(new.outcome, version=number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a policy did on n judged rows, those after the first champion's.

    Parameters
    ----------
    lost
        (n,) losses by metric, in the order in which the rows were asked.
    observation_seq
        (n,) the rows' numbers.
    right
        (n,) whether each row was answered rightly (a regression: within the bound).
    decisions
        All but those to do nothing, each with the count of judged rows at its time.
    refits, refused, fit_seconds
        Fits that were accepted and not, and what they took.
    """

    policy: str
    lost: dict[str, Floats]
    observation_seq: NDArray[np.int64]
    right: NDArray[np.bool_]
    decisions: tuple[tuple[int, Decision], ...]
    refits: int
    refused: int
    fit_seconds: float

    def judged(self, since: int | None) -> NDArray[np.bool_]:
        """(n,) True for the rows asked after the number ``since``; all of them without one."""
        return self.observation_seq > (since or 0)

    def rows_of(self, *kinds: str) -> list[int]:
        """Judged rows at which decisions of these kinds came."""
        return [row for row, d in self.decisions if d.kind in kinds]


def from_store(conn: Connection, model: Model) -> Recorded:
    """Read a model's whole log.

    Raises
    ------
    InputError
        If it has no first champion yet.
    """
    begun = [o for _, o in log.outcomes_after(conn, model.name, 0, 10) if isinstance(o, Trained)]
    if not begun:
        raise InputError(f"models.{model.name}", expected="a log with a first champion", got=None)
    return Recorded(
        model=periods.in_rows(conn, model, decide.Known()),
        rows=windows.joined(conn, model, 0),
        first=begun[0].through,
        corrections=windows.corrections(conn, model),
        came=windows.events(conn, model, begun[0].through, upto=_EVERYTHING),
        counts=tuple(intake.counted(conn, model.name, 0, upto=_EVERYTHING, limit=_EVERYTHING)),
    )


def from_rows(model: Model, rows: Rows, target: Floats, *, delay: int, first: int) -> Recorded:
    """Make a log of rows in time order, each asked, whose labels come ``delay`` rows later.

    Parameters
    ----------
    first
        Rows that the first champion is trained on.
    """
    n = len(rows)
    if not 0 < first < n:
        raise InputError("first", expected=f"a number of rows in [1, {n - 1}]", got=first)
    at = np.arange(n)
    seen = 1 + at + np.maximum(0, at - delay)
    last = at + delay
    labelled = np.where(last < n, seen[np.minimum(last, n - 1)] + 1, seen[-1] + 2 + last - n)
    window = Window(
        seq=labelled,
        observation_seq=seen,
        rows=rows,
        target=target,
        version=np.ones(n, dtype=np.int64),
        answer=np.full((n, model.width), np.nan),
    )
    came = _events(seen, labelled)
    return Recorded(model=model, rows=window, first=int(labelled[first - 1]), came=came)


def _events(seen: NDArray[np.int64], labelled: NDArray[np.int64]) -> Events:
    """Put (n,) numbers of observations and (n,) of their labels, both ascending, in one order."""
    between = np.searchsorted(seen, labelled) - np.arange(1, len(seen) + 1)
    seq = np.concatenate((seen, labelled))
    order = np.argsort(seq)
    return Events(
        seq=seq[order],
        observed=(np.arange(len(seq)) < len(seen))[order],
        delay=np.concatenate((np.full(len(seen), np.nan), between))[order],
    )


def run(
    recorded: Recorded, trainer: Trainer, *, policy: str, progress: Progress | None = None
) -> Result:
    """Run the policy of ``recorded.model`` over the log.

    Raises
    ------
    InputError
        If no first champion comes of the first rows.
    """
    replayed = _Replayed(recorded)
    known = replayed.begin(trainer)
    while True:
        while known.standing and known.standing.orders:
            known = replayed.carry_out(known, trainer)
        scored = making.scored(recorded, recorded.model, _standing(known))
        if scored is None:
            break
        known = replayed.take(known, scored)
        if progress is not None:
            progress(replayed.answered)
    replayed.arrive(known, upto=_EVERYTHING)
    replayed.answer_rest(_standing(known))
    return replayed.result(policy)


class _Replayed:
    """The answers that were given on the way, and what was decided."""

    def __init__(self, recorded: Recorded) -> None:
        self._past, self._model = recorded, recorded.model
        rows = recorded.rows
        after = np.flatnonzero(rows.seq > recorded.first)
        self._order = after[np.argsort(rows.observation_seq[after])]  # as they were asked
        self._decisions: list[tuple[int, Decision]] = []
        self._n = self._refits = self._refused = 0
        self._seconds = 0.0
        self.answered = 0

    def begin(self, trainer: Trainer) -> decide.Known:
        """Train the first champion."""
        order = decide.Order(strategy=making.FIRST, through=self._past.first)
        new = making.made(self._past, trainer, self._model, None, order)
        if not isinstance(new, making.Made):
            raise InputError("first", expected="rows to learn from", got=new)
        known = self._advance(decide.Known(), Declared(model=self._model))
        return self._advance(known, self._past.register(new))

    def carry_out(self, known: decide.Known, trainer: Trainer) -> decide.Known:
        """Make what was ordered, the blend after its members."""
        state = _standing(known)
        fits = [o for o in state.orders if o.strategy != decide.BLEND] or state.orders
        for new in [making.made(self._past, trainer, self._model, state, o) for o in fits]:
            outcome = self._past.register(new) if isinstance(new, making.Made) else new
            if isinstance(outcome, Trained):
                self._seconds += outcome.seconds
            known = self._advance(known, outcome)
        return known

    def take(self, known: decide.Known, scored: Scored) -> decide.Known:
        """Answer what was asked between these labels as it stood then, and take them in."""
        before = _standing(known)
        path = decide.weights_path(self._model, before, scored)
        known = self._advance(known, scored)
        labels = np.frombuffer(scored.seq, "<i8")
        after = _standing(known)
        self._answer(before, labels[labels <= after.read], path)
        while seen := making.watched(self._past, _standing(known), self._model, upto=after.read):
            known = self._advance(known, seen)
        return self.arrive(known, upto=after.read)

    def arrive(self, known: decide.Known, *, upto: int) -> decide.Known:
        """Take in how observations and labels came up to a number, and what was refused."""
        while came := making.arrived(self._past, _standing(known), upto=upto):
            known = self._advance(known, came)
        while asked := making.intake(self._past, _standing(known), upto=upto):
            known = self._advance(known, asked)
        return known

    def answer_rest(self, state: decide.Standing) -> None:
        """Answer what was asked after the last label."""
        self._answer(state, np.array([np.iinfo(np.int64).max]), None)

    def result(self, policy: str) -> Result:
        """Sum up."""
        target = self._past.rows.target[self._order]
        said = self._past.answers[self._order]
        lost = {m: measured(self._model, m, said, target) for m in metrics(self._model)}
        wrong = measured(self._model, "error_rate", said, target)
        return Result(
            policy=policy,
            lost=lost,
            observation_seq=self._past.rows.observation_seq[self._order],
            right=wrong == 0,
            decisions=tuple(self._decisions),
            refits=self._refits,
            refused=self._refused,
            fit_seconds=self._seconds,
        )

    def _advance(self, known: decide.Known, outcome: Outcome) -> decide.Known:
        self._n += 1
        known, decisions = decide.advance(known, self._n, outcome)
        for d in decisions:
            self._refits += d.kind in {"accept", "follow"} and isinstance(outcome, Trained)
            self._refused += d.kind == "refuse"
            if d.kind != "keep":
                self._decisions.append((self.answered, d))
        return known

    def _answer(
        self, state: decide.Standing, labels: NDArray[np.int64], path: Floats | None
    ) -> None:
        """Answer the rows asked up to the last of these labels, with the weights of that time."""
        asked = self._past.rows.observation_seq[self._order[self.answered :]]
        n = int(np.searchsorted(asked, labels[-1])) if len(labels) else 0
        if not n:
            return
        some = self._order[self.answered : self.answered + n]
        rows = Rows(
            numeric=self._past.rows.rows.numeric[some],
            categorical=self._past.rows.rows.categorical[some],
        )
        champion = state.champion
        said = [self._past.session(v).said(rows) for v in champion.graphs]
        answer = said[0]
        if champion.members:
            weights = np.array(decide.champion_weights(state))
            if path is not None and state.follows == decide.BLEND:
                weights = path[np.searchsorted(labels, asked[:n])]
            answer = blend.mixed(weights, np.stack(said, axis=1))
        self._past.answers[some] = answer
        self._past.answered_to = int(asked[n - 1])
        self.answered += n


def _standing(known: decide.Known) -> decide.Standing:
    if known.standing is None:
        raise InputError("standing", expected="a model with a first champion", got=None)
    return known.standing
