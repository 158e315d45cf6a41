"""What many tests stand on: a small model, its rows, and a loop over a real store."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import Engine

from continualml import demo
from continualml.learning.table import Table
from continualml.loop import begin
from continualml.loop.cycle import Loop
from continualml.loop.training import Trainer
from continualml.store.engine import open_store, write
from continualml.store.log import Labelled, Observed, append_labels, append_observations
from tests import postgres

# The same examples each time; the first text ever drawn on a machine builds Unicode tables.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Keep the environment as it was: MLflow's client writes its address there."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Server]:
    """A real PostgreSQL, for all tests that want one."""
    with postgres.server() as one:
        yield one


@dataclass(frozen=True, slots=True)
class Home:
    """A store with a first champion of the demo model."""

    directory: Path
    engine: Engine
    loop: Loop

    @property
    def artifacts(self) -> Path:
        """The directory of its artifacts."""
        assert isinstance(self.loop.artifacts, Path)
        return self.loop.artifacts

    def send(self, n: int, *, seed: int, drift: float = 0.0, version: int | None = None) -> None:
        """Log n rows of the demo problem and their labels."""
        rows, target = demo.generate(n, seed=seed, noise=0.5, drift=drift)
        seen = [
            Observed(
                model="demo",
                observation_id=f"{seed}-{i}",
                numeric=row.tobytes(),
                categorical=None,
                version=version,
                answer=None,
                recorded_at=float(i),
            )
            for i, row in enumerate(rows.numeric)
        ]
        labels = [
            Labelled(observation_id=o.observation_id, label=demo.DEMO.classes[int(t)])
            for o, t in zip(seen, target, strict=True)
        ]
        with write(self.engine) as conn:
            append_observations(conn, seen)
            append_labels(conn, demo.DEMO, labels, 0.0)


def demo_table(n: int, *, seed: int) -> Table:
    rows, target = demo.generate(n, seed=seed, noise=0.5, drift=0.0)
    return Table(rows=rows, labels=tuple(demo.DEMO.classes[int(t)] for t in target))


@pytest.fixture(scope="session")
def trainer() -> Iterator[Trainer]:
    with Trainer() as one:
        yield one


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_store(f"sqlite:///{tmp_path / 'log.sqlite'}")
    yield opened
    opened.dispose()


@pytest.fixture
def home(tmp_path: Path, engine: Engine, trainer: Trainer) -> Home:
    loop = Loop(
        engine=engine,
        artifacts=tmp_path / "artifacts",
        models={"demo": demo.DEMO},
        trainer=trainer,
        holder="test",
        most_s=600.0,  # a slow machine must not leave rows to the next turn
    )
    begin.from_table(loop, "demo", demo_table(600, seed=0))
    return Home(tmp_path, engine, loop)


def numeric(*values: float) -> bytes:
    return np.array(values, dtype="<f8").tobytes()
