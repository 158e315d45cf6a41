"""What others would have scored on the same stream: kept for ever, refitted blindly, no change."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from continualml.learning.fit import fit
from continualml.learning.table import Table
from continualml.model import Learner, Model
from continualml.records import Rows, Window
from continualml.scoring.session import Session

_WINDOW, _PERIOD, _HOLD = 500, 100, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """(n,) whether each row from ``start`` on was right, by name."""

    start: int
    right: dict[str, NDArray[np.bool_]]


def compare(model: Model, table: Table, *, start: int, stop: int, delay: int) -> Compared:
    """Score the usual practices on rows ``start`` to ``stop`` with labels ``delay`` rows late."""
    index = {c: float(i) for i, c in enumerate(model.classes)}
    target = np.array([index[t] for t in table.labels[:stop]])
    first = _fitted(model, table.rows, target, 0, start - _HOLD)
    rows = range(start, stop)
    kept = first.answer(_cut(table.rows, start, stop)).argmax(axis=1)
    blind = kept.copy()
    for at in range(start, stop, _PERIOD):
        known = at - delay
        session = _fitted(model, table.rows, target, max(0, known - _WINDOW), known)
        end = min(at + _PERIOD, stop)
        blind[at - start : end - start] = session.answer(_cut(table.rows, at, end)).argmax(axis=1)
    truth = target[start:stop]
    return Compared(
        start=start,
        right={
            "never retrained": kept == truth,
            f"blind refit, newest {_WINDOW} every {_PERIOD}": blind == truth,
            f"no change (the label {delay} rows ago)": target[[r - delay for r in rows]] == truth,
        },
    )


def _fitted(
    model: Model, rows: Rows, target: NDArray[np.float64], start: int, stop: int
) -> Session:
    ids = np.arange(start + 1, stop + 1)
    window = Window(
        seq=ids,
        observation_seq=ids,
        rows=_cut(rows, start, stop),
        target=target[start:stop],
        version=np.zeros(stop - start, dtype=np.int64),
        answer=np.full((stop - start, model.width), np.nan),
    )
    return Session(fit(model, Learner(), window, seed=model.seed, strategy="compared").artifact)


def _cut(rows: Rows, start: int, stop: int) -> Rows:
    return Rows(numeric=rows.numeric[start:stop], categorical=rows.categorical[start:stop])
