"""A policy on made streams: what it cost to be wrong, late or eager, where the truth is known."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from continualml.loop import backtest, simulate
from continualml.loop.training import Trainer
from continualml.model import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """How a policy did on one kind of stream."""

    kind: simulate.Kind
    score: simulate.Score
    result: backtest.Result


def on_stream(
    kind: simulate.Kind,
    policy: Policy,
    trainer: Trainer,
    *,
    rows: int,
    first: int,
    delay: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> Tried:
    """Run a policy over one made stream and hold it against what really happened there.

    Parameters
    ----------
    rows, first, delay
        Rows of the stream, those of the first champion, and rows until a label comes.
    """
    made = simulate.stream(kind, rows, np.random.default_rng(seed), policy=policy)
    recorded = backtest.from_rows(made.model, made.rows, made.target, delay=delay, first=first)
    result = backtest.run(recorded, trainer, policy=kind, progress=progress)
    answers = recorded.answers.argmax(axis=1)
    judged = recorded.asked[np.isin(recorded.asked_seq, result.observation_seq)]
    correct = np.ones(rows, dtype=np.bool_)  # the first champion's own rows are not judged
    correct[judged] = answers[judged] == made.truth[judged]
    # The last labels come after the last row: what is decided from them counts as decided there.
    at, moves = (
        [min(first + row, rows - 1) for row in result.rows_of(what)]
        for what in ("alarm", "promote")
    )
    score = simulate.score(made, at, moves, correct)
    score = replace(score, accuracy=float(correct[judged].mean()))
    return Tried(kind=kind, score=score, result=result)
