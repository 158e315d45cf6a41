"""The processes of the product, with their real insides, in simulated time."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, event

from continualml import clock
from continualml.app import turns
from continualml.app.api.champion import Champions
from continualml.errors import InputError
from continualml.loop.build import this_build
from continualml.loop.cycle import Loop
from continualml.model import Model
from continualml.records import Rows
from continualml.settings import Project, Settings
from continualml.store.artifacts import ArtifactError
from continualml.store.engine import StoreUnavailableError, open_store
from continualml.store.group_commit import GroupCommit
from continualml.store.log import Labelled, Observed
from continualml.store.tickets import Ticket, next_batch
from tests.simulation.learner import SimulatedTrainer
from tests.simulation.outside import Outside
from tests.simulation.schedule import Box, Process, Schedule

T = TypeVar("T")
_MOST_ROWS = 6
LOOK_S = 4.0
_NO_FIT = "expected a learner and rows that give a version"


@dataclass(slots=True)
class House:
    """What all processes share: one machine, one store, one configuration.

    Parameters
    ----------
    release
        Counts upgrades: a process that starts runs the newest.
    committed
        Told after each transaction that wrote.
    """

    schedule: Schedule
    outside: Outside
    directory: Path
    model: Model
    failing: float
    committed: Callable[[str], None]
    release: int = 0
    engines: list[Engine] = field(default_factory=list)

    @property
    def artifacts(self) -> Path:
        return self.directory / "artifacts"

    def project(self) -> Project:
        address = SecretStr(self.outside.discord.url)
        said = Settings(
            data=self.directory,
            discord_webhook_url=address,
            check_interval_seconds=30,
            mlflow_tracking_uri="simulated",
        )
        models = {self.model.name: self.model}
        return Project(settings=said, models=models, default=self.model.name)

    def build(self) -> dict[str, str]:
        return {**this_build(), "continualml": f"0.1.{self.release}"}

    def open(self, process: Process) -> Engine:
        """Open the store for a process, which may end at each of its transactions."""
        engine = open_store(f"sqlite:///{self.directory / 'log.sqlite'}", migrate=False)
        self.engines.append(engine)
        point, wrote = self.schedule.point, set[int]()

        def begin(_driver: Any, _record: Any, _proxy: Any) -> None:
            point(process, "begin")  # nobody holds the store yet

        def commit(conn: Connection) -> None:
            if conn.get_execution_options().get("writes"):
                if process.alive and process.dies_in is not None:
                    point(process, "commit")
                wrote.add(id(conn.connection.driver_connection))

        def back(driver: Any, _record: Any) -> None:
            if id(driver) in wrote:
                wrote.discard(id(driver))
                self.committed(process.name)

        event.listen(engine, "connect", _at_once)
        event.listen(engine, "checkout", begin)
        event.listen(engine, "commit", commit)
        event.listen(engine, "checkin", back)
        return engine


def _at_once(driver: Any, _record: Any) -> None:
    """Neither wait for the disk (processes end here, not machines), nor for whoever writes."""
    with closing(driver.cursor()) as cursor:
        cursor.execute("PRAGMA synchronous=OFF")
        cursor.execute("PRAGMA busy_timeout=0")


class Api:
    """A serving process: it answers with the champion, and writes what waits together."""

    def __init__(self, house: House, name: str) -> None:
        self.process = Process(name)
        self._house = house
        engine = house.open(self.process)
        self.champions = Champions(engine, house.artifacts, {house.model.name: house.model})
        self._writer = GroupCommit(engine)
        self._waiting: list[Ticket] = []
        self._writes = False
        house.schedule.spawn(self.process, self._follow, after_s=0.1)

    def close(self) -> None:
        self._writer.close()

    def predict(self, ids: list[str], numeric: np.ndarray[Any, Any], box: Box) -> None:
        """Answer rows; the box gets the rows as they stand in the log, or why they do not."""
        name = self._house.model.name
        champion = self.champions.get(name)
        if champion is None:
            box.put(RuntimeError("no champion"))
            return
        rows = Rows(numeric=numeric, categorical=np.empty((len(ids), 0), dtype=object))
        (said,) = champion.answers(rows, [len(ids)])
        if isinstance(said, Exception):
            raise said
        seen = [
            Observed(
                model=name,
                observation_id=one,
                numeric=row.astype("<f8").tobytes(),
                categorical=None,
                version=champion.known.version,
                revision=champion.revision,
                answer=answer.astype("<f8").tobytes(),
                recorded_at=clock.now().timestamp(),
            )
            for one, row, answer in zip(ids, numeric, said, strict=True)
        ]

        def told(there: list[Observed | None] | Exception) -> None:
            if isinstance(there, list):
                box.put([old or new for old, new in zip(there, seen, strict=True)])
            else:
                box.put(there)

        self._put(Ticket(rows=seen, told=told))

    def label(self, items: list[Labelled], box: Box) -> None:
        """Take labels; the box gets a verdict for each, or why there are none."""
        at = clock.now().timestamp()
        self._put(Ticket(model=self._house.model, labels=items, recorded_at=at, told=box.put))

    def _put(self, ticket: Ticket) -> None:
        self._waiting.append(ticket)
        if not self._writes:
            self._writes = True
            after_s = self._house.schedule.between(0.005, 0.2)
            self._house.schedule.spawn(self.process, self._write, after_s=after_s)

    def _follow(self) -> None:
        while True:
            self.champions.look()
            self._house.schedule.sleep(LOOK_S)

    def _write(self) -> None:
        schedule = self._house.schedule
        while self._waiting:
            schedule.point(self.process, "append")
            batch = next_batch(self._waiting, _MOST_ROWS)
            self._waiting = list(batch.later)
            answers = self._writer._commit(batch.now)  # noqa: SLF001  the writer without its thread
            self._house.committed(self.process.name)
            schedule.point(self.process, "appended")
            for ticket, answer in zip(batch.now, answers, strict=True):
                ticket.told(answer)
        self._writes = False


class Runner:
    """A process that turns the loop: the timer when a block waits, or the scheduled cycle."""

    def __init__(self, house: House, name: str, *, every_s: float, eager: bool) -> None:
        self.process = Process(name)
        self._house = house
        self._every_s = every_s
        self._eager = eager
        self.loop = loop_of(house, self.process)
        house.schedule.spawn(self.process, self._run, after_s=house.schedule.between(0, every_s))

    def _run(self) -> None:
        schedule, name = self._house.schedule, self._house.model.name
        while True:
            try:
                if not self._eager or self.loop.waiting(name) >= (self.loop.block(name) or 1):
                    verdict = turns.turn(self.loop, name, self._verb)
                    schedule.say(self.process.name, f"{verdict.kind}: {verdict.because}")
            except (StoreUnavailableError, ArtifactError) as error:
                schedule.say(self.process.name, f"{type(error).__name__}: {error}")
            except InputError as error:  # no fit, no first champion: it is tried again
                schedule.say(self.process.name, str(error))
                if _NO_FIT not in str(error):
                    raise
            schedule.sleep(self._every_s)

    def _verb(self, name: str, step: Callable[[], T], /) -> T:
        schedule = self._house.schedule
        schedule.point(self.process, f"before {name}")
        done = step()
        schedule.point(self.process, f"after {name}")
        return done


def loop_of(house: House, process: Process) -> Loop:
    """Make the loop of a process that turns it or begins it."""
    schedule = house.schedule

    def renew(act: Callable[[], object], every_s: float) -> Any:
        def once() -> None:
            try:
                act()
            except StoreUnavailableError as error:
                schedule.say(process.name, f"the lease is not renewed: {error}")

        return schedule.repeatedly(process, once, every_s)

    return Loop(
        engine=house.open(process),
        artifacts=house.artifacts,
        models={house.model.name: house.model},
        trainer=SimulatedTrainer(schedule, process, house.failing),
        holder=process.name,
        build=house.build(),
        meanwhile=renew,
    )
