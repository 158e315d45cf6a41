"""One simulated run: processes that start and end, clients, faults, and how it comes to rest."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
from loguru import logger
from sqlalchemy import Connection, Engine

from continualml import demo
from continualml.app import courier
from continualml.errors import InputError
from continualml.learning.table import Table
from continualml.loop import begin, carry_out
from continualml.store import channels, ledger, outbox, windows
from continualml.store.artifacts import ArtifactError
from continualml.store.engine import StoreUnavailableError, read, write
from tests import discord
from tests.discord import Discord
from tests.simulation import faults
from tests.simulation.clients import Clients
from tests.simulation.oracle import Oracle
from tests.simulation.outside import Outside
from tests.simulation.processes import Api, House, Runner, loop_of
from tests.simulation.schedule import Broken, Process, Schedule
from tests.simulation.telling import Courier
from tests.small_model import MODEL

ROWS, LASTS_S = 80, 150.0
# For whoever begins from nothing; with so many the timer begins by itself, too.
FILE_ROWS = 400
# Simulated seconds after the last fault within which the loop comes to rest: ten cycles; and
# everything: a clock that was set back may hold messages up for ten minutes.
LOOP_RESTS_S, RESTS_S = 300.0, 900.0
_MESSAGES = "messages"
_SCHEDULED_S, _TIMER_S, _LOOK_S = 30.0, 3.0, 4.0


@dataclass(slots=True)
class World:
    """The run of one seed in a directory of its own."""

    directory: Path
    seed: int
    schedule: Schedule = field(init=False)
    outside: Outside = field(init=False)
    house: House = field(init=False)
    oracle: Oracle = field(init=False)
    clients: Clients = field(init=False)
    nature: Process = field(default_factory=lambda: Process("world"))
    there: dict[str, Api | Runner | Courier] = field(default_factory=dict)
    damaged: set[Path] = field(default_factory=set)
    locked: bool = False
    rested: bool = False
    waits_for: str = "nothing yet"
    _starts: dict[str, Callable[[], Api | Runner | Courier]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        self.schedule = schedule = Schedule(random)
        url = f"http://127.0.0.1:9/api/webhooks/{discord.WEBHOOK}/{discord.TOKEN}"
        server = Discord(url=url, now_s=schedule.steady_s, window_s=2.0)
        self.outside = Outside(schedule, random, server)
        self.oracle = Oracle(self.directory / "log.sqlite", MODEL)
        self.house = House(
            schedule=schedule,
            outside=self.outside,
            directory=self.directory,
            model=MODEL,
            failing=0.0,
            committed=self.oracle.committed,
        )
        self.clients = Clients(
            schedule=schedule,
            process=self.nature,
            oracle=self.oracle,
            model=MODEL,
            apis=lambda: [a for a in self.there.values() if isinstance(a, Api) and a.process.alive],
            n=ROWS,
            lasts_s=LASTS_S,
        )

    def start(self) -> None:
        """Start as many processes as the seed says."""
        house, schedule = self.house, self.schedule
        for i in range(int(schedule.random.integers(1, 4))):
            self._starts[f"api-{i}"] = lambda i=i: Api(house, f"api-{i}")  # type: ignore[misc]
        for i in range(int(schedule.random.integers(1, 3))):
            name = "scheduled" if i == 0 else "timer"
            every_s = _SCHEDULED_S if i == 0 else _TIMER_S
            self._starts[name] = lambda name=name, every_s=every_s, i=i: Runner(  # type: ignore[misc]
                house, name, every_s=every_s, eager=i > 0
            )
        self._starts["courier"] = lambda: Courier(house, "courier")
        for name, make in self._starts.items():
            self.there[name] = make()
        schedule.spawn(self.nature, self._supervise)

    def end(self, name: str) -> None:
        """End a process; it is started again."""
        self.schedule.say("world", f"{name} is ended")
        self.schedule.kill(self.there[name].process)

    def unpark(self) -> None:
        """A person lets Discord's channel take messages again."""
        engine = self.house.open(Process("person"))
        while True:
            try:
                with write(engine) as conn:
                    channels.unpark(conn, "discord")
            except StoreUnavailableError:
                self.schedule.sleep(2.0)  # tells them so, and they repeat the command
            else:
                return

    def change_policy(self) -> None:
        """Ask for another budget of false alarms."""
        alarms = int(self.schedule.random.integers(40, 200))
        policy = replace(self.house.model.policy, false_alarms=alarms)
        self.house.model = replace(self.house.model, policy=policy)
        self.schedule.say("world", f"false_alarms = {alarms}")

    def begin_from_file(self, n: int = FILE_ROWS) -> None:
        """A person trains the first champion from a file, and repeats the command if it fails."""
        rows, target = demo.generate(n, seed=self.seed, noise=0.3, drift=0.0)
        table = Table(rows=rows, labels=tuple(MODEL.classes[int(t)] for t in target))
        process = Process("train")

        def train() -> None:
            while True:
                try:
                    loop = loop_of(self.house, process)
                    entry = begin.from_table(loop, MODEL.name, table)
                except (StoreUnavailableError, InputError, ArtifactError) as error:
                    self.schedule.say("train", f"{type(error).__name__}: {str(error)[:90]}")
                    if "without a champion" in str(error):
                        return
                else:
                    self.schedule.say("train", f"first: version {entry.decision.version}")
                    return
                self.schedule.sleep(5.0)

        self.schedule.spawn(process, train, after_s=self.schedule.between(0, 2))

    def heal(self) -> None:
        """End all faults; who was stopped or has ended goes on."""
        self.schedule.say("world", "faults end")
        self.schedule.hazards = self.house.failing = self.outside.unsaid = 0.0
        self.outside.down_until.clear()
        for one in self.there.values():
            one.process.dies_in = None
            one.process.stopped_until = min(one.process.stopped_until, self.schedule.now_s)

    def look(self) -> None:
        """Notice when everything has come to rest."""
        engine = self.house.open(Process("looks"))
        while not self.rested:
            self.schedule.sleep(_LOOK_S)
            self.waits_for = self._waits_for(engine)
            self.rested = not self.waits_for

    def _waits_for(self, engine: Engine) -> str:
        if self.clients.unanswered:
            return f"{self.clients.unanswered} requests"
        if self.locked:  # a fault that outlasts the others; who looks at the end writes too
            return "the store, which is locked"
        if self.damaged:
            return f"{len(self.damaged)} artifacts to be put back"
        with read(engine) as conn:
            return next(chain(self._of_the_loop(conn), _of_the_courier(conn)), "")

    def _of_the_loop(self, conn: Connection) -> Iterator[str]:
        """Name what the loop has still to do."""
        known = carry_out.known(conn, MODEL.name)
        if known.standing is None or known.model is None:
            yield "a first champion"
            return
        if n := windows.n_joined(conn, MODEL, known.standing.read):
            yield f"{n} labelled rows to be read"
        yield from (f"the order of {o.strategy}" for o in known.standing.orders)
        if carry_out.foreign(conn, MODEL.name) is not None:
            yield "a guard's word to be taken in"
        if known.build != self.house.build():
            yield "the new release"
        if known.model.policy != self.house.model.policy:
            yield "the new policy"

    def _supervise(self) -> None:
        """Start anew what has ended, after a while."""
        while True:
            for name, make in self._starts.items():
                if not self.there[name].process.alive:
                    self.schedule.sleep(self.schedule.between(0.1, 5.0))
                    self.close(name)
                    self.there[name] = make()
                    self.schedule.say(name, "starts")
            self.schedule.sleep(0.5)

    def close(self, name: str) -> None:
        one = self.there[name]
        if isinstance(one, Api):
            one.close()


def _of_the_courier(conn: Connection) -> Iterator[str]:
    """Name what people and mirrors have still to be told."""
    for to in ("mlflow", "discord"):
        if n := outbox.counts(conn, to).get(outbox.WAITING, 0):
            yield f"{_MESSAGES} to {to}, {n}"
    there, last = channels.get(conn, "discord"), ledger.entries(conn, limit=1)
    if there is None or (last and there.told != last[0].n):
        yield f"{_MESSAGES} about the last entries"


def live(world: World, *, begun: bool) -> tuple[str | None, list[str]]:
    """Let a world live to its end; return what did not hold, if anything, and its faults."""
    schedule, befallen = world.schedule, ["none"]
    try:
        world.oracle.committed("template")
        befallen = faults.befall(world, LASTS_S)
        world.start()
        if not begun:
            for _ in range(int(schedule.random.integers(1, 3))):
                world.begin_from_file()
        world.clients.begin()
        schedule.run(LASTS_S)
        world.heal()
        schedule.spawn(world.nature, world.look)
        schedule.run(LASTS_S + LOOP_RESTS_S, lambda: world.rested)
        late = not world.rested and not world.waits_for.startswith(_MESSAGES)
        world.oracle.require(not late, f"after {LOOP_RESTS_S:g} s it waits for {world.waits_for}")
        schedule.run(LASTS_S + RESTS_S, lambda: world.rested)
        world.oracle.require(world.rested, f"after {RESTS_S:g} s it waits for {world.waits_for}")
        _at_rest(world)
    except Broken as error:
        return str(error), befallen
    except Exception as error:  # noqa: BLE001  whatever a process did not expect is a finding
        logger.exception("seed {}", world.seed)
        return f"{type(error).__name__}: {error}", befallen
    finally:
        for name in world.there:
            world.close(name)
        for engine in world.house.engines:
            engine.dispose()
        world.oracle.close()
    if world.oracle.failure is not None:
        return str(world.oracle.failure), befallen
    return None, befallen


def _at_rest(world: World) -> None:
    engine = world.house.open(Process("oracle"))
    noticing, _ = courier.open_channel(world.house.project(), engine, "discord")
    world.oracle.at_rest(engine, noticing, world.outside)
