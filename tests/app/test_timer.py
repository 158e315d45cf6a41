"""The timer in a thread, over a real store, while a scheduler beats and when it falls silent."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from loguru import logger
from sqlalchemy import Engine

from continualml import demo
from continualml.app import timer
from continualml.loop import begin
from continualml.loop.cycle import Loop
from continualml.loop.training import Trainer
from continualml.settings import Project, Settings
from continualml.store import intake, leases
from continualml.store.engine import write
from tests.conftest import Home, demo_table

pytestmark = pytest.mark.journey

PERIOD_S = 1.0
BLOCK = 50
MODEL = replace(demo.DEMO, policy=replace(demo.DEMO.policy, block=BLOCK, retrain="on_alarm"))


@pytest.fixture
def timed(tmp_path: Path, engine: Engine, trainer: Trainer) -> Iterator[Home]:
    """A champion with blocks of 50 rows; only the timer's thread turns its loop."""
    said = Settings(
        data=tmp_path,
        database_url=f"sqlite:///{tmp_path / 'log.sqlite'}",
        check_interval_seconds=PERIOD_S,
    )
    loop = Loop(
        engine=engine,
        artifacts=said.artifacts,
        models={"demo": MODEL},
        trainer=trainer,
        holder="test",
    )
    begin.from_table(loop, "demo", demo_table(600, seed=0))
    project = Project(settings=said, models={"demo": MODEL}, default="demo")
    stopped = threading.Event()
    thread = threading.Thread(target=timer.run, args=(project, stopped), daemon=True)
    leases.beat(engine, timer.SCHEDULED)
    thread.start()
    yield Home(tmp_path, engine, loop)
    stopped.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_part_of_a_block_is_turned_after_three_silent_periods_and_not_before(
    timed: Home,
) -> None:
    timed.send(BLOCK, seed=1)
    _beat_until(timed, lambda: _turned(timed))  # a whole block is turned at once
    timed.send(BLOCK // 5, seed=2)
    begun: list[float] = []
    sink = logger.add(
        lambda _: begun.append(time.monotonic()), filter=lambda r: "no scheduled" in r["message"]
    )
    last = 0.0
    for _ in range(12):  # more than three periods in which the scheduler is there
        last = time.monotonic()
        leases.beat(timed.engine, timer.SCHEDULED)
        time.sleep(0.3 * PERIOD_S)
    assert timed.loop.waiting("demo") == BLOCK // 5
    assert not begun

    _until(lambda: _turned(timed))
    logger.remove(sink)

    assert len(begun) == 1
    assert begun[0] - last > 3 * PERIOD_S


def test_refused_rows_are_turned_at_once_though_no_label_came(timed: Home) -> None:
    with write(timed.engine) as conn:
        intake.append(conn, "demo", answered=30, refused=0, fields={}, recorded_at=0.0)
        intake.append(conn, "demo", answered=20, refused=10, fields={"x2": 10}, recorded_at=0.0)
    assert timed.loop.refused("demo")
    _beat_until(timed, lambda: not timed.loop.refused("demo"))


def _turned(timed: Home) -> bool:
    """Whether nothing waits and no turn is under way, which would read what comes now."""
    if timed.loop.waiting("demo") or not leases.acquire(timed.engine, "cycle:demo", "test", 1.0):
        return False
    leases.release(timed.engine, "cycle:demo", "test")
    return True


def _beat_until(timed: Home, true: Callable[[], bool]) -> None:
    def beaten() -> bool:
        leases.beat(timed.engine, timer.SCHEDULED)
        return true()

    _until(beaten)


def _until(true: Callable[[], bool], most_s: float = 20.0) -> None:
    until = time.monotonic() + most_s
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)
