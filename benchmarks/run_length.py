"""Rows until a false alarm, all detectors of one model together, at the edge of what is promised.

Every loss is as high, every feature has moved as far, the labels' share is as far off, and as many
labels are overdue and rows refused as just still counts as unchanged. Evidence grows block by
block, so it does not matter how often one looks: after every row is the same as after many
(tests/evidence, tests/loop).
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import norm

from benchmarks.decisions.worlds import in_runs
from continualml import decide
from continualml.decide.promise import DELAY_TOLERANCE
from continualml.evidence.reference import (
    Reference,
    answered,
    codes,
    columns_of,
    labelled,
    of_columns,
    standard_error,
)
from continualml.evidence.refusals import RefusalEvidence, rows_of_a_bet
from continualml.evidence.usual_delay import DelayReference
from continualml.model import Feature, Model, Policy
from continualml.records import (
    Arrived,
    Counted,
    Decision,
    DelaysDescribed,
    Described,
    Intake,
    Outcome,
    Rows,
    Scored,
    Trained,
    Watched,
)

Floats = NDArray[np.float64]
FEATURES, REFERENCE_ROWS = 8, 1_000
_WRONG, _SURE = 0.15, np.linspace(0.7, 0.9, 1_000)
_SOON, _LATE = 5, 30
_REFUSED = 0.08
# An observation, the labels that follow it and a window of counts have so many numbers.
_NUMBERS = 4
_CHUNK = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What just still counts as unchanged: how far features move, and two shares."""

    shift: float
    yes: float
    late: float


def run_lengths(
    worlds: int, *, budget: int, block: int, rho: float, seed: int
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Let each world run to its first alarm.

    Parameters
    ----------
    rho
        Correlation of each column, error, label, delay and refusal with that of the row before, in
        [0, 1).

    Returns
    -------
    (worlds,) observed rows until the first alarm, and how often each family gave it.
    """
    rng = np.random.default_rng(seed)
    model = _model(budget, block)
    columns, labels = _references(model)
    edge, state = _begun(model, columns, labels)
    rows, families = np.empty(worlds, dtype=np.int64), dict[str, int]()
    for i in range(worlds):
        said = _first_alarm(model, state, columns, edge, rng, rho)
        rows[i] = _row(said) + 1
        family = said.basis.get("family", "loss")
        families[family] = families.get(family, 0) + 1
    return rows, families


def _first_alarm(
    model: Model,
    state: decide.Standing,
    columns: Reference,
    edge: Edge,
    rng: np.random.Generator,
    rho: float,
) -> Decision:
    number = state.seq
    for outcomes in _stream(model, columns, edge, rng, rho):
        said: list[Decision] = []
        for outcome in outcomes:
            number += 1
            state, decisions = decide.step(model, state, number, outcome)
            said += [d for d in decisions if d.kind == "alarm"]
        if said:
            return min(said, key=_row)
    raise AssertionError("a stream has no end")


def _row(alarm: Decision) -> int:
    """Say after how many further observations it came."""
    return (int(alarm.basis.get("at", alarm.seq)) - REFERENCE_ROWS * _NUMBERS) // _NUMBERS


def _stream(
    model: Model, columns: Reference, edge: Edge, rng: np.random.Generator, rho: float
) -> Iterator[tuple[Outcome, ...]]:
    """Give what comes, some rows at a time: observations, their labels soon or late, delays."""
    place, last = REFERENCE_ROWS, np.zeros((1, FEATURES))
    target, wrong, sure, late = (np.empty(0) for _ in range(4))
    while True:
        shocks = np.sqrt(1 - rho**2) * rng.normal(size=(_CHUNK, FEATURES))
        if place == REFERENCE_ROWS:
            last = rng.normal(size=(1, FEATURES))
        x, _ = lfilter([1.0], [1.0, -rho], shocks, axis=0, zi=rho * last)
        last = x[-1:]
        drawn = (rng.random(_CHUNK) < p for p in (edge.yes, _WRONG, edge.late))
        yes, no, behind = (in_runs(rng, some.astype(float), rho) for some in drawn)
        target, wrong, late = (
            np.concatenate(pair) for pair in ((target, yes), (wrong, no), (late, behind))
        )
        sure = np.concatenate((sure, rng.choice(_SURE, _CHUNK)))
        refused = (rng.random(_CHUNK) < _REFUSED).astype(float)
        begun = place - REFERENCE_ROWS
        here = np.arange(begun, begun + _CHUNK)
        answer = _answers(target, wrong, sure)
        rows = Rows(numeric=x - edge.shift, categorical=np.empty((_CHUNK, 0), dtype=object))
        found = codes(columns, columns_of(model, rows, answered(model, answer[here])))
        seq = (here + REFERENCE_ROWS) * _NUMBERS
        watched = Watched(version=1, seq=seq.astype("<i8").tobytes(), codes=found.tobytes())
        came, of, after = _labels(here, late)
        scored = Scored(
            versions=(1,),
            seq=came.astype("<i8").tobytes(),
            target=target[of].astype("<f8").tobytes(),
            answers=answer[of][:, None].astype("<f4").tobytes(),
        )
        both = np.concatenate((seq, came))
        order = np.argsort(both)
        arrived = Arrived(
            seq=both[order].astype("<i8").tobytes(),
            observed=(order < _CHUNK).astype("u1").tobytes(),
            delay=np.concatenate((np.full(_CHUNK, np.nan), after))[order].astype("<f8").tobytes(),
        )
        yield watched, scored, arrived, _counted(model, here, in_runs(rng, refused, rho))
        place += _CHUNK


def _counted(model: Model, here: NDArray[np.int64], refused: Floats) -> Intake:
    """Count, of as many rows as were observed, those that were refused, in the shortest windows."""
    n = rows_of_a_bet(model.policy.block or 1)
    last = (here[n - 1 :: n] + REFERENCE_ROWS) * _NUMBERS + _NUMBERS - 1
    found = refused.reshape(-1, n).sum(axis=1).astype(int)
    return Intake(
        windows=tuple(
            Counted(seq=seq, answered=n - k, refused=k, fields={"x0": k} if k else {})
            for seq, k in zip(last.tolist(), found.tolist(), strict=True)
        )
    )


def _labels(
    here: NDArray[np.int64], late: Floats
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Say which labels come after these observations: their numbers, whose, how many rows later."""
    pairs = []
    for k, (delay, behind) in enumerate(((_SOON, 0.0), (_LATE, 1.0)), start=1):
        of = here - delay
        kept = (of >= 0) & (late[np.maximum(of, 0)] == behind)
        number = (here[kept] + REFERENCE_ROWS) * _NUMBERS + k
        pairs.append((number, of[kept], np.full(int(kept.sum()), float(delay))))
    number, of, after = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    order = np.argsort(number)
    return number[order], of[order], after[order]


def _answers(target: Floats, wrong: Floats, sure: Floats) -> Floats:
    """(n, 2) probabilities; the likelier class is wrong where ``wrong`` is 1."""
    yes = np.where((target == 1) != (wrong == 1), sure, 1 - sure)
    return np.column_stack((1 - yes, yes))


def _model(budget: int, block: int) -> Model:
    return Model(
        name="quiet",
        kind="classification",
        target="y",
        classes=("no", "yes"),
        features=tuple(Feature(name=f"x{i}") for i in range(FEATURES)),
        policy=Policy(block=block, false_alarms=budget, retrain="on_alarm"),
    )


def _references(model: Model) -> tuple[Reference, Reference]:
    """Describe normal features by their quantiles, in random order, labels half and half."""
    rng = np.random.default_rng(0)
    quantiles = norm.ppf((np.arange(REFERENCE_ROWS) + 0.5) / REFERENCE_ROWS)
    x = np.column_stack([rng.permutation(quantiles) for _ in range(FEATURES)])
    half = np.arange(REFERENCE_ROWS) % 2
    target, right = rng.permutation(half).astype(float), rng.permutation(half)
    wrong = (rng.permutation(REFERENCE_ROWS) < _WRONG * REFERENCE_ROWS) & (right >= 0)
    answer = _answers(target, wrong.astype(float), rng.permutation(_SURE))
    rows = Rows(numeric=x, categorical=np.empty((REFERENCE_ROWS, 0), dtype=object))
    columns = of_columns(columns_of(model, rows, answered(model, answer)))
    return columns, of_columns(labelled(model, target))


def _begun(model: Model, columns: Reference, labels: Reference) -> tuple[Edge, decide.Standing]:
    """Begin with a champion whose promise is what it loses, and with all references."""
    lost = {
        "brier": _mean(_SURE**2, (1 - _SURE) ** 2),
        "error_rate": _WRONG,
        "log_loss": _mean(-np.log(1 - _SURE), -np.log(_SURE)) / np.log(100),
    }
    through = REFERENCE_ROWS * _NUMBERS - 1
    first = Trained(
        strategy="first",
        version=1,
        through=through,
        hold=200,
        held={metric: (mean - model.policy.tolerance, 0.0) for metric, mean in lost.items()},
        worse_by=0.0,
        standard_error=0.0,
        predecessor=None,
        seconds=0.0,
    )
    state, _ = decide.begin(model, 1, first)
    share = 0.1
    usual = DelayReference(
        rows=REFERENCE_ROWS,
        horizon=10,
        overdue=share,
        error=standard_error(share, REFERENCE_ROWS),
        longest_gap=8,
    )
    tolerance = model.policy.drift_tolerance
    shift = min(
        float(norm.ppf(s + tolerance + 3 * e)) - cut
        for column in columns.columns[:FEATURES]
        for cut, s, e in zip(column.cuts, column.shares, column.errors, strict=True)
        if s + tolerance + 3 * e < 1
    )
    values = labels.columns[0]
    at = values.values.index("yes")
    edge = Edge(
        shift=shift,
        yes=values.shares[at] + tolerance + 3 * values.errors[at],
        late=share + DELAY_TOLERANCE + 3 * usual.error,
    )
    packed = msgspec.msgpack.encode
    for outcome in (
        Described(version=1, observed=through, columns=packed(columns), labels=packed(labels)),
        DelaysDescribed(
            after=state.coming.after,
            observations=state.coming.wanted,
            through=through,
            labels=state.coming.wanted,
            reference=packed(usual),
        ),
    ):
        state, _ = decide.step(model, state, state.seq + 1, outcome)
    usually = RefusalEvidence(seq=through, known=True, promised=_REFUSED)
    return edge, replace(state, refusals=usually)


def _mean(wrong: Floats, right: Floats) -> float:
    return float((_WRONG * wrong + (1 - _WRONG) * right).mean())


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--worlds", type=int, default=400)
    asked.add_argument("--budget", type=int, default=10_000)
    said = asked.parse_args()
    for block, rho in ((1, 0.0), (24, 0.0), (48, 0.0), (1, 0.3), (24, 0.3), (48, 0.3)):
        rows, families = run_lengths(said.worlds, budget=said.budget, block=block, rho=rho, seed=1)
        error = rows.std(ddof=1) / len(rows) ** 0.5
        told = {"block": block, "rho": rho, "budget": said.budget, "mean_rows": round(rows.mean())}
        told |= {"standard_error": round(error), "worlds": said.worlds, "first": families}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
