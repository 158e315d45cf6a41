"""A model whose turns fail, beside one that is well: its outcomes cannot be read."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from loguru import logger
from sqlalchemy import Engine, Table, Update, delete, func, update

from continualml import demo
from continualml.app import timer, turns
from continualml.app.api.champion import Champions
from continualml.app.api.health import Health
from continualml.app.scheduled import TurnsFailedError, turn_all, turn_and_tell
from continualml.errors import InputError
from continualml.loop import begin
from continualml.loop.cycle import Loop, plainly
from continualml.loop.training import Trainer
from continualml.records import Json
from continualml.settings import Project, Settings
from continualml.store import leases
from continualml.store.engine import write
from continualml.store.log import Labelled, Observed, append_labels, append_observations
from continualml.store.tables import outcomes, snapshots
from tests import kuma
from tests.conftest import demo_table

# The scheduler's own modules warn about its own modules.
pytestmark = [
    pytest.mark.journey,
    pytest.mark.patient,
    pytest.mark.filterwarnings("ignore"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two models over one store; ``broken`` comes first and fails until it is mended."""

    project: Project
    engine: Engine
    loop: Loop

    def loop_health(self) -> Json:
        looked = Health(self.engine, Champions(self.engine, Path(), {}), self.project)
        looked.look()
        told: Json = looked.now["components"]["loop"]
        return told

    def send(self, n: int, *, seed: int) -> None:
        rows, target = demo.generate(n, seed=seed, noise=0.5, drift=0.0)
        for model in self.project.models.values():
            seen = [
                Observed(
                    model=model.name,
                    observation_id=f"{seed}-{i}",
                    numeric=row.tobytes(),
                    categorical=None,
                    version=None,
                    answer=None,
                    recorded_at=float(i),
                )
                for i, row in enumerate(rows.numeric)
            ]
            labels = [
                Labelled(observation_id=o.observation_id, label=model.classes[int(t)])
                for o, t in zip(seen, target, strict=True)
            ]
            with write(self.engine) as conn:
                append_observations(conn, seen)
                append_labels(conn, model, labels, 0.0)

    @contextmanager
    def mended(self) -> Iterator[None]:
        with write(self.engine) as conn:
            conn.execute(_of_broken(outcomes).values(kind=func.substr(outcomes.c.kind, 3)))
        yield
        self.spoil()

    def spoil(self) -> None:
        with write(self.engine) as conn:
            conn.execute(_of_broken(outcomes).values(kind="x-" + outcomes.c.kind))
            conn.execute(delete(snapshots).where(snapshots.c.model == "broken"))


@pytest.fixture
def pair(tmp_path: Path, engine: Engine, trainer: Trainer) -> Pair:
    models = {n: replace(demo.DEMO, name=n) for n in ("broken", "demo")}
    said = Settings(data=tmp_path, database_url=f"sqlite:///{tmp_path / 'log.sqlite'}")
    loop = Loop(
        engine=engine, artifacts=said.artifacts, models=models, trainer=trainer, holder="test"
    )
    for name in models:
        begin.from_table(loop, name, demo_table(600, seed=0))
    project = Project(settings=said, models=models, default="demo")
    made = Pair(project=project, engine=engine, loop=loop)
    made.spoil()
    made.send(60, seed=1)
    return made


def _of_broken(table: Table) -> Update:
    return update(table).where(table.c.model == "broken")


def test_a_failed_turn_stays_visible_until_one_goes_well(pair: Pair) -> None:
    with pytest.raises(InputError):
        turns.turn(pair.loop, "broken")

    said = pair.loop_health()
    assert said["status"] == "degraded"
    assert "the last turn of broken failed: InputError" in said["because"]

    assert leases.acquire(pair.engine, "cycle:broken", "somebody else", 60)
    turns.turn(pair.loop, "broken")  # not turned: another holds the lease
    leases.release(pair.engine, "cycle:broken", "somebody else")
    assert "broken" in pair.loop_health()["because"]

    with pair.mended():
        turns.turn(pair.loop, "broken")
    assert "broken" not in pair.loop_health()["because"]  # only that nothing is scheduled


def test_a_schedule_turns_the_others_and_counts_as_alive_only_by_what_went_well(
    pair: Pair,
) -> None:
    only = replace(pair.loop, models={"broken": pair.project.models["broken"]})
    with pytest.raises(TurnsFailedError, match="broken: InputError"):
        turn_all(only, plainly)
    assert leases.last_beat(pair.engine, timer.SCHEDULED) is None

    with pytest.raises(TurnsFailedError, match=r"^broken: InputError"):
        turn_all(pair.loop, plainly)
    assert leases.last_beat(pair.engine, timer.SCHEDULED) is not None
    assert pair.loop.waiting("demo") == 0


def test_a_model_that_fails_starves_no_other_and_is_tried_less_and_less(pair: Pair) -> None:
    failures: list[float] = []

    def hear(message: str) -> None:
        if "broken failed, again in" in message:
            failures.append(time.monotonic())

    sink = logger.add(hear)
    stopped = threading.Event()
    thread = threading.Thread(target=timer.run, args=(pair.project, stopped), daemon=True)
    thread.start()
    try:
        _until(lambda: pair.loop.waiting("demo") == 0)
        _until(lambda: len(failures) == 4)
        pauses = [b - a for a, b in pairwise(failures)]
        assert all(p >= least for p, least in zip(pauses, (0.4, 0.8, 1.6), strict=True)), pauses
        assert "the last turn of broken failed" in pair.loop_health()["because"]
        with pair.mended():
            _until(lambda: "broken" not in pair.loop_health()["because"])
    finally:
        stopped.set()
        thread.join(20)
        logger.remove(sink)
    assert not thread.is_alive()


def _until(true: Callable[[], bool], most_s: float = 90.0) -> None:
    until = time.monotonic() + most_s
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_each_scheduled_cycle_tells_uptime_kuma_how_it_went_and_how_long_it_took(
    tmp_path: Path,
) -> None:
    def failing() -> str:
        raise TurnsFailedError("demo: RuntimeError: no memory left")

    (tmp_path / "kuma.push").write_text("token\n", encoding="utf-8")
    with kuma.serve() as server:
        server.monitors[1] = {"pushToken": "token"}
        said = Settings(data=tmp_path, kuma_url=server.url)
        assert turn_and_tell(said, lambda: "demo: keep: nothing new") == "demo: keep: nothing new"
        with pytest.raises(TurnsFailedError):
            turn_and_tell(said, failing)
    well, ill = server.beats
    assert (well["status"], well["msg"]) == ("up", "demo: keep: nothing new")
    assert 0 <= float(well["ping"]) < 5_000
    assert (ill["status"], ill["msg"]) == ("down", "demo: RuntimeError: no memory left")
