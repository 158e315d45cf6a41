"""Accuracy on Electricity when one refit in twenty learns from labels that are turned around."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from continualml import settings
from continualml.learning.table import read
from continualml.loop import backtest
from continualml.loop.training import Product, Trainer
from continualml.model import Learner, Model
from continualml.records import Json, Window

HOME = Path(__file__).parent.parent / "examples" / "electricity"


class Careless(Trainer):
    """Turns the labels of one fit in twenty around, drawn with a seed; the first one is sound."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self._rng, self._share, self._fits, self.broken = np.random.default_rng(5), share, 0, 0

    def fit(
        self,
        model: Model,
        learner: Learner,
        window: Window,
        *,
        strategy: str,
        seed: int,
        resumes: bool = False,
        state: bytes = b"",
        before: Json | None = None,
    ) -> Product:
        """Fit, on turned labels where chance says so."""
        self._fits += 1
        if self._fits > 1 and self._rng.random() < self._share:
            self.broken += 1
            window = replace(window, target=1 - window.target)
        return super().fit(
            model,
            learner,
            window,
            strategy=strategy,
            seed=seed,
            resumes=resumes,
            state=state,
            before=before,
        )


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, default=None, help="only the first rows")
    asked.add_argument("--delay", type=int, default=48)
    said = asked.parse_args()
    model = settings.load(HOME / "continual.toml").models["electricity"]
    table = read(HOME / "electricity.csv.gz", model, limit=said.rows)
    target = np.array([float(model.classes.index(t)) for t in table.labels])
    for share in (0.0, 0.05):
        recorded = backtest.from_rows(model, table.rows, target, delay=said.delay, first=1_000)
        with Careless(share) as trainer:
            result = backtest.run(recorded, trainer, policy=f"{share:.0%} broken")
        told = {
            "broken": trainer.broken,
            "accuracy": round(float(result.right.mean()), 4),
            "refits": result.refits,
            "refused": result.refused,
            "promotions": len(result.rows_of("promote")),
            "ways_back": len(result.rows_of("rollback")),
            "alarms": len(result.rows_of("alarm")),
        }
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
