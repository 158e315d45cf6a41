"""Who is on trial: challengers beside the champion on the same rows, and two versions compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Query, Request
from numpy.typing import NDArray
from sqlalchemy import Connection

from continualml.app.api.history import Level, looking
from continualml.app.api.problems import ProblemError
from continualml.evidence import confidence
from continualml.model import Model
from continualml.records import LedgerEntry, Scored, Version
from continualml.scoring.losses import measured, metrics
from continualml.store import ledger, log, pointers
from continualml.store.engine import read

router = APIRouter()
_WEIGHED: Final = ("keep", "alarm")
_MOVES: Final = ("first", "promote", "rollback", "policy")
_ALPHA: Final = 0.05
_MOST: Final = 400
_MOST_ROWS: Final = 20_000  # that two versions are compared on, or a piece more
_MOST_STEPS: Final = 120
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """After so many rows: the running mean difference, and an interval that holds at all times."""

    seq: int
    rows: int
    mean: float
    low: float | None
    high: float | None
    evidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A challenger beside the champion: loss of the champion - its own, above 0 where it is better.

    ``level`` is the gate's evidence now, on which the decision rests, and its threshold.
    """

    place: str
    version: int
    level: Level
    rows: int
    steps: list[Step]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """All trials since the champion was installed, the one with the most evidence first."""

    model: str
    champion: int | None
    metric: str
    since: int | None
    error_level: float
    trials: list[Trial]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of one version: how it was made, and its mean losses on the common rows."""

    version: int
    strategy: str
    recorded_at: str
    sha256: str
    trained_rows: int | None
    losses: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two versions on the rows that both answered and neither was trained on."""

    model: str
    metric: str
    rows: int
    first: Known
    second: Known
    steps: list[Step]


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """A page of versions, the newest first; ``next_before`` is the cursor of the next page."""

    model: str
    versions: list[Known]
    pointers: dict[str, int]
    next_before: int | None


@router.get("/models/{model}/trials", summary="Each challenger beside the champion, block by block")
def trials(request: Request, model: str) -> Trials:
    """Tell how the trials stand."""
    serving = looking(request)
    asked = serving.model(model)

    return serving.looked_at(("trials", asked.name), lambda conn: _trials(conn, asked))


@router.get("/models/{model}/versions", summary="All versions, the newest first")
def versions(
    request: Request,
    model: str,
    before: Annotated[int | None, Query(ge=1)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Versions:
    """Page through the versions."""
    serving = looking(request)
    name = serving.model(model).name
    with read(serving.engine) as conn:
        found = pointers.versions_of(conn, name, before=before, limit=limit)
        pointed = pointers.pointed(conn, name)
    return Versions(
        model=name,
        versions=[_known(v, v.manifest.get("check") or {}) for v in found],
        pointers=pointed,
        next_before=found[-1].version if len(found) == limit else None,
    )


@router.get("/models/{model}/compare", summary="Two versions on the rows that both answered")
def compare(
    request: Request,
    model: str,
    first: Annotated[int | None, Query(ge=1, description="default: the champion")] = None,
    second: Annotated[int | None, Query(ge=1, description="default: the challenger")] = None,
) -> Compared:
    """Compare two versions on the newest rows that neither was trained on."""
    serving = looking(request)
    asked = serving.model(model)

    key = ("compare", asked.name, first, second)
    return serving.looked_at(key, lambda conn: _compared(conn, asked, first, second))


def _trials(conn: Connection, model: Model) -> Trials:
    name = model.name
    moved = next(iter(ledger.entries(conn, model=name, kinds=_MOVES, limit=1)), None)
    found = ledger.entries(
        conn, model=name, kinds=_WEIGHED, after=moved.n if moved else None, limit=_MOST
    )
    weighed = {_outcome(e): e for e in reversed(found) if e.decision.basis.get("gate")}
    metric = metrics(model)[0]
    entries = list(weighed.values())
    if not entries:
        champion = pointers.pointed(conn, name).get("champion")
        return Trials(
            model=name, champion=champion, metric=metric, since=None, error_level=_ALPHA, trials=[]
        )
    scored = log.scored_between(conn, name, min(weighed), max(weighed), limit=_MOST)
    last = entries[-1].decision
    places = sorted(last.basis["gate"], key=lambda p: -last.basis["gate"][p]["evidence"])
    members, block = _Members(conn, model), int(last.basis["block"])
    return Trials(
        model=name,
        champion=last.version,
        metric=metric,
        since=moved.n if moved else None,
        error_level=_ALPHA,
        trials=[_trial(members, entries, scored, place, block=block) for place in places],
    )


def _trial(
    members: "_Members",
    entries: Sequence[LedgerEntry],
    scored: dict[int, Scored],
    place: str,
    *,
    block: int,
) -> Trial:
    """Read the differences on the rows that each decision took in, while the place was taken."""
    found: list[Paired] = []
    at: list[int] = []
    evidence: list[float] = []
    read = 0
    for entry in entries:
        d, outcome = entry.decision, scored.get(_outcome(entry))
        there = d.basis["gate"].get(place)
        after, read = read, d.seq
        if there is None or outcome is None or d.version is None:
            continue
        at.append(d.seq)
        evidence.append(there["evidence"])
        versions, weights = (d.version, there["version"]), d.basis.get("weights", {})
        pair = members.paired(outcome, versions, weights, by=(members.metric,))
        if pair is not None:
            found.append(pair.between(after, read))
    last = entries[-1].decision.basis["gate"][place]
    return Trial(
        place=place,
        version=last["version"],
        level=Level(**last),
        rows=sum(len(p.seq) for p in found),
        steps=_steps(found, members.metric, block, (at, evidence)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Losses of two versions by metric, each (n, 2), on the rows with the numbers ``seq``."""

    seq: NDArray[np.int64]
    lost: dict[str, Floats]

    def between(self, after: int, upto: int) -> "Paired":
        """Take the rows after one number and up to another."""
        start, stop = np.searchsorted(self.seq, (after, upto), side="right")
        return Paired(
            seq=self.seq[start:stop], lost={m: x[start:stop] for m, x in self.lost.items()}
        )


class _Members:
    """Answers of a version in what was scored: its own, or the weighted ones of a blend's parts."""

    def __init__(self, conn: Connection, model: Model) -> None:
        self._conn, self._model = conn, model
        self._parts: dict[int, tuple[tuple[str, int], ...]] = {}
        self._last_row: dict[int, int] = {}
        self.metric = metrics(model)[0]

    def paired(
        self,
        scored: Scored,
        pair: tuple[int, int],
        weights: dict[str, float],
        *,
        by: Sequence[str],
    ) -> Paired | None:
        """Measure both versions on rows that both answered; None if one was not scored there.

        A row that was observed before one of them was trained is left out, as it is no proof.
        """
        said = [a for v in pair if (a := self.answers(scored, v, weights)) is not None]
        if len(said) < len(pair):
            return None
        observed = np.frombuffer(scored.observed or scored.seq, "<i8")
        both = observed > max(self._through(v) for v in pair)
        both &= np.isfinite(said).all(axis=(0, 2))
        target = np.frombuffer(scored.target, "<f8")[both]
        return Paired(
            seq=np.frombuffer(scored.seq, "<i8")[both],
            lost={
                m: np.column_stack([measured(self._model, m, a[both], target) for a in said])
                for m in by
            },
        )

    def answers(self, scored: Scored, version: int, weights: dict[str, float]) -> Floats | None:
        """(n, width) answers, or None if it was not among those scored."""
        parts = self._of(version)
        if not {v for _, v in parts} <= set(scored.versions):
            return None
        n = len(scored.seq) // 8
        shape = (n, len(scored.versions), self._model.width)
        each = np.frombuffer(scored.answers, "<f4").reshape(shape).astype(np.float64)
        columns = [each[:, scored.versions.index(v)] for _, v in parts]
        share = np.array([weights.get(strategy, 1 / len(parts)) for strategy, _ in parts])
        if len(parts) == 1:
            return columns[0]
        return np.tensordot(share / share.sum(), np.stack(columns), axes=1)

    def _through(self, version: int) -> int:
        """Name the last row that a version has seen, or the members of a blend."""
        if version not in self._last_row:
            parts = self._of(version)
            known = [pointers.version(self._conn, self._model.name, v) for _, v in parts]
            through = [int(v.manifest["rows"].get("through", 0)) for v in known if v]
            self._last_row[version] = max(through)
        return self._last_row[version]

    def _of(self, version: int) -> tuple[tuple[str, int], ...]:
        if version not in self._parts:
            known = pointers.version(self._conn, self._model.name, version)
            members = known.manifest.get("members", []) if known else []
            self._parts[version] = tuple((m["strategy"], m["version"]) for m in members) or (
                ("", version),
            )
        return self._parts[version]


def _compared(conn: Connection, model: Model, asked: int | None, beside: int | None) -> Compared:
    pointed = pointers.pointed(conn, model.name)
    first = asked if asked is not None else pointed.get("champion")
    second = beside if beside is not None else pointed.get("challenger", first)
    if first is None or second is None:
        raise ProblemError(404, "unknown-version", f"{model.name} has no version to compare yet")
    known = [pointers.version(conn, model.name, v) for v in (first, second)]
    for number, one in zip((first, second), known, strict=True):
        if one is None:
            raise ProblemError(404, "unknown-version", f"{model.name} has no version {number}")
    last = next(iter(ledger.entries(conn, model=model.name, kinds=_WEIGHED, limit=1)), None)
    basis = last.decision.basis if last else {}
    members, weights = _Members(conn, model), basis.get("weights", {})
    found: list[Paired] = []
    read = 0
    newest = log.last_outcome(conn, model.name)
    scored = log.scored_between(conn, model.name, 0, newest, limit=_MOST, most_rows=_MOST_ROWS)
    for outcome in scored.values():
        pair = members.paired(outcome, (first, second), weights, by=metrics(model))
        if pair is not None and len(pair.seq):
            found.append(pair.between(read, int(pair.seq[-1])))  # after an alarm rows come twice
            read = max(read, int(pair.seq[-1]))
    each = [
        {m: float(np.concatenate([p.lost[m][:, i] for p in found]).mean()) for m in metrics(model)}
        if found
        else {}
        for i in (0, 1)
    ]
    told = [_known(v, losses) for v, losses in zip(known, each, strict=True) if v]
    return Compared(
        model=model.name,
        metric=metrics(model)[0],
        rows=sum(len(p.seq) for p in found),
        first=told[0],
        second=told[1],
        steps=_steps(found, metrics(model)[0], int(basis.get("block", 1))),
    )


def _steps(
    found: list[Paired],
    metric: str,
    block: int,
    weighed: tuple[list[int], list[float]] | None = None,
) -> list[Step]:
    """Cut the differences into whole blocks, and say after each how large they are on average.

    Parameters
    ----------
    weighed
        Numbers at which the evidence was known, ascending, and the evidence there.
    """
    if not found:
        return []
    lost = np.concatenate([p.lost[metric] for p in found])
    seq = np.concatenate([p.seq for p in found])
    blocks = len(seq) // block
    if not blocks:
        return []
    difference = (lost[:, 0] - lost[:, 1])[: blocks * block].reshape(blocks, block)
    mean, low, high = confidence.sequence(difference.mean(axis=1), alpha=_ALPHA)
    ends = seq[block - 1 :: block][:blocks]
    every = -(-blocks // _MOST_STEPS)
    at = np.searchsorted(weighed[0], ends, side="left").tolist() if weighed else [None] * blocks
    return [
        Step(
            seq=int(ends[i]),
            rows=(i + 1) * block,
            mean=float(mean[i]),
            low=_finite(low[i]),
            high=_finite(high[i]),
            evidence=weighed[1][k] if weighed and k is not None and k < len(weighed[1]) else None,
        )
        for i, k in enumerate(at)
        if (blocks - 1 - i) % every == 0
    ]


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _known(version: Version, losses: dict[str, Any]) -> Known:
    rows = version.manifest.get("rows") or {}
    return Known(
        version=version.version,
        strategy=version.strategy,
        recorded_at=version.recorded_at,
        sha256=version.sha256,
        trained_rows=rows.get("n"),
        losses={m: x for m, x in losses.items() if isinstance(x, float)},
    )


def _outcome(entry: LedgerEntry) -> int:
    return int(entry.decision.basis.get("decided_from", {}).get("outcome", 0))
