"""How labels come, measured by the loop over a real store."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from continualml import demo
from continualml.loop import backtest, begin
from continualml.loop.cycle import Loop
from continualml.loop.replay import replay
from continualml.loop.training import Trainer
from continualml.records import Arrived, Decision, DelaysDescribed
from continualml.store import ledger, log
from continualml.store.engine import open_store, read, write
from continualml.store.log import Labelled, Observed, append_labels, append_observations
from tests.conftest import Home, demo_table

ANSWER = np.array([0.5, 0.5], dtype="<f8").tobytes()
Delays = Callable[[int], int | None]


class Served:
    """Rows that are asked one after the other, each labelled so many rows later, or never."""

    def __init__(self, engine: Engine, n: int) -> None:
        self.engine, self.at = engine, 0
        self.rows, self.truth = demo.generate(n, seed=5, noise=0.5, drift=0.0)
        self.due: dict[int, list[int]] = {}

    def serve(self, n: int, delay: Delays) -> None:
        with write(self.engine) as conn:
            for i in range(self.at, self.at + n):
                one = Observed(
                    model="demo",
                    observation_id=f"served-{i}",
                    numeric=self.rows.numeric[i].tobytes(),
                    categorical=None,
                    version=1,
                    answer=ANSWER,
                    recorded_at=0.0,
                )
                append_observations(conn, [one])
                if (late := delay(i)) is not None:
                    self.due.setdefault(i + late, []).append(i)
                said = [
                    Labelled(
                        observation_id=f"served-{j}", label=demo.DEMO.classes[int(self.truth[j])]
                    )
                    for j in self.due.pop(i, [])
                ]
                append_labels(conn, demo.DEMO, said, 0.0)
        self.at += n


def about_delay(engine: Engine) -> list[Decision]:
    with read(engine) as conn:
        entries = ledger.entries(conn, kinds=("alarm",), limit=1_000)[::-1]
    return [e.decision for e in entries if e.decision.basis["family"] == "delay"]


def told(decisions: list[Decision]) -> list[tuple[Any, ...]]:
    return [(d.basis["diagnosis"], d.seq, d.basis["began"], d.because) for d in decisions]


def usual(i: int) -> int:
    return i % 7


def never(_i: int) -> None:
    return None


CHANGES: list[tuple[int, Delays]] = [
    (1_200, usual),
    (200, lambda i: 15 + i % 7),
    (200, usual),
    (200, never),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, trainer: Trainer) -> Path:
    """A log that nobody has looked at yet: labels as usual, late, as usual, and none."""
    directory = tmp_path_factory.mktemp("arriving")
    engine = open_store(f"sqlite:///{directory / 'log.sqlite'}")
    begin.from_table(loop_over(directory, engine, trainer), "demo", demo_table(600, seed=0))
    served = Served(engine, 2_000)
    for n, delay in CHANGES:
        served.serve(n, delay)
    engine.dispose()
    return directory


def loop_over(directory: Path, engine: Engine, trainer: Trainer) -> Loop:
    return Loop(
        engine=engine,
        artifacts=directory / "artifacts",
        models={"demo": demo.DEMO},
        trainer=trainer,
        holder="test",
        most_s=600.0,
    )


def test_late_and_missing_labels_are_found_in_the_log_and_replayed_bit_for_bit(
    world: Path, tmp_path: Path, trainer: Trainer
) -> None:
    directory = shutil.copytree(world, tmp_path / "one")
    engine = open_store(f"sqlite:///{directory / 'log.sqlite'}")
    loop_over(directory, engine, trainer).turn("demo")
    found = about_delay(engine)
    names = [d.basis["diagnosis"] for d in found]
    assert names == ["labels late", "labels late", "labels silent"]
    at = counted(engine, found)
    assert 2_400 < at[0][0] < 2_450  # as many observations as labels came before
    with read(engine) as conn:
        again = replay(conn, "demo")
        recorded = backtest.from_store(conn, demo.DEMO)
        outcomes = [o for _, o in log.outcomes_after(conn, "demo", 0, 10_000)]
        report = ledger.entries(conn, kinds=("keep",), limit=1)[0].decision.basis
    assert (again.differences, again.close) == ((), 0)
    assert set(report["delay"]) == {"level", "silent"}
    (described,) = [o for o in outcomes if isinstance(o, DelaysDescribed)]
    assert described.observations == 1_000
    arrived = [np.frombuffer(o.seq, "<i8") for o in outcomes if isinstance(o, Arrived)]
    assert (np.diff(np.concatenate(arrived)) > 0).all()  # each once, in order
    # In memory the same is said of the same log.
    result = backtest.run(recorded, trainer, policy="same")
    assert told([d for _, d in result.decisions if d.basis.get("family") == "delay"]) == told(found)
    engine.dispose()


def test_it_does_not_matter_when_the_loop_turns(
    world: Path, tmp_path: Path, trainer: Trainer, home: Home
) -> None:
    directory = shutil.copytree(world, tmp_path / "one")
    engine = open_store(f"sqlite:///{directory / 'log.sqlite'}")
    loop_over(directory, engine, trainer).turn("demo")
    once = about_delay(engine)
    engine.dispose()

    served = Served(home.engine, 2_000)
    for n, delay in CHANGES:
        for _ in range(n // 200):
            served.serve(200, delay)
            home.loop.turn("demo")
    often = about_delay(home.engine)
    # Outcomes take numbers of the log too, so rows are counted.
    assert [d.basis["diagnosis"] for d in often] == [d.basis["diagnosis"] for d in once]
    assert counted(home.engine, often) == counted_in(directory, once)


def counted(engine: Engine, decisions: list[Decision]) -> list[tuple[int, int]]:
    with read(engine) as conn:
        seq = backtest.from_store(conn, demo.DEMO).came.seq
    at = [np.searchsorted(seq, (d.seq, d.basis["began"])).tolist() for d in decisions]
    return [(a, b) for a, b in at]


def counted_in(directory: Path, decisions: list[Decision]) -> list[tuple[int, int]]:
    engine = open_store(f"sqlite:///{directory / 'log.sqlite'}")
    found = counted(engine, decisions)
    engine.dispose()
    return found


def test_a_stream_whose_labels_never_come_is_said_to_be_silent(home: Home) -> None:
    served = Served(home.engine, 2_500)
    served.serve(999, never)
    home.loop.turn("demo")
    assert about_delay(home.engine) == []
    served.serve(1_200, never)
    home.loop.turn("demo")
    (said,) = about_delay(home.engine)
    assert said.basis["diagnosis"] == "labels silent"
    assert said.because.endswith("1000 observations")
    assert said.basis["delay"] == {"level": None, "silent": True}
