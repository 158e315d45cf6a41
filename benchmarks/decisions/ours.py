"""Continual ML itself on a stream: the backtest's loop under the default policy."""

import numpy as np

from benchmarks.decisions.loops import Result
from benchmarks.decisions.stream_data import Stream, known
from continualml.loop import backtest
from continualml.loop.training import Trainer
from continualml.model import Feature, Model
from continualml.records import Rows


def ours(stream: Stream, delay: int) -> Result:
    """Run the product over the stream as if its rows had come in and its labels after them."""
    n, columns = stream.x.shape
    classes = tuple(str(c) for c in range(int(stream.target.max()) + 1))
    model = Model(
        name=stream.name,
        kind="classification",
        target="y",
        features=tuple(Feature(name=f"x{i}") for i in range(columns)),
        classes=classes,
    )
    recorded = backtest.from_rows(
        model,
        Rows(numeric=stream.x, categorical=np.empty((n, 0), dtype=object)),
        stream.target.astype(np.float64),
        # There, a label of delay 0 comes between its row and the next; here that is 1 as well.
        delay=max(delay, 1) - 1,
        first=stream.first,
    )
    with Trainer() as trainer:
        run = backtest.run(recorded, trainer, policy="default")
    return Result(
        right=run.right,
        refits=run.refits,
        swaps=len(run.rows_of("promote", "rollback", "follow")),
        promotions=len(run.rows_of("promote")),
        labels=known(n - 1, delay, stream.first),
    )
