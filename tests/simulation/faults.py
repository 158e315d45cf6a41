"""What befalls a run: each seed draws which kinds of faults it has, and when."""

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import delete

from continualml.errors import InputError
from continualml.loop import command
from continualml.store.engine import StoreUnavailableError, write
from continualml.store.tables import snapshots
from tests.simulation.schedule import Process

if TYPE_CHECKING:
    from tests.simulation.world import World


def befall(world: "World", lasts_s: float) -> list[str]:
    """Draw the kinds of faults of this run, and plan them; return their names."""
    schedule = world.schedule
    kinds = [name for name in _KINDS if schedule.chance(0.4)]
    for name in kinds:
        for _ in range(int(schedule.random.integers(1, 5))):
            at_s = schedule.between(0.0, lasts_s)
            schedule.spawn(world.nature, _task(world, name), after_s=at_s)
    if schedule.chance(0.4):
        kinds.append("stops")
        schedule.hazards = 0.004
    if schedule.chance(0.3):
        kinds.append("failing fits")
        world.house.failing = schedule.between(0.05, 0.4)
    if schedule.chance(0.3):
        kinds.append("lost answers")
        world.outside.unsaid = schedule.between(0.05, 0.3)
    return kinds


def _task(world: "World", name: str) -> Callable[[], None]:
    return lambda: _KINDS[name](world)


def _crash(world: "World") -> None:
    names = sorted(world.there)
    process = world.there[names[int(world.schedule.random.integers(len(names)))]].process
    process.dies_in = int(world.schedule.random.geometric(0.03))


def _clock(world: "World") -> None:
    by = world.schedule.between(*((-7_200, 7_200) if world.schedule.chance(0.5) else (-60, 60)))
    world.schedule.set_s += by
    world.schedule.say("world", f"the clock is set by {by:.0f} s")


def _locked(world: "World") -> None:
    """Somebody holds the store: an operator's shell, a backup, a full disk."""
    conn = sqlite3.connect(world.directory / "log.sqlite", isolation_level=None)
    try:
        conn.execute("PRAGMA busy_timeout=0")
        try:
            conn.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:  # somebody else does already
            return
        world.schedule.say("world", "the store is locked")
        world.locked = True
        world.schedule.sleep(world.schedule.between(0.5, 15))
    finally:
        conn.close()
    world.locked = False
    world.schedule.say("world", "the store is free")


def _outage(world: "World") -> None:
    name = ("mlflow", "discord", "api")[int(world.schedule.random.integers(3))]
    until = world.schedule.now_s + world.schedule.between(5, 90)
    world.outside.down_until[name] = until
    world.schedule.say("world", f"{name} is down until {until:.0f}")


def _closed(world: "World") -> None:
    """Somebody deletes the webhook, and makes it again."""
    world.outside.discord.deleted = True
    world.schedule.sleep(world.schedule.between(5, 40))
    world.outside.discord.deleted = False
    world.unpark()


def _artifact(world: "World") -> None:
    """A file is damaged or gone for a while, and put back."""
    files = sorted(world.house.artifacts.glob("*.onnx"))
    if not files:
        return
    path = files[int(world.schedule.random.integers(len(files)))]
    if path in world.damaged:
        return
    whole = path.read_bytes()
    world.damaged.add(path)
    if world.schedule.chance(0.5):
        path.unlink()
    else:
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    world.schedule.say("world", f"artifact {path.name[:8]} is damaged")
    try:
        world.schedule.sleep(world.schedule.between(1, 25))
    finally:
        path.write_bytes(whole)
        world.damaged.discard(path)
    world.schedule.say("world", f"artifact {path.name[:8]} is put back")


def _forgotten(world: "World") -> None:
    """The cache of what is known is lost."""
    process = Process("forgets")
    try:
        with write(world.house.open(process)) as conn:
            conn.execute(delete(snapshots))
    except StoreUnavailableError:
        return
    world.schedule.say("world", "the snapshot is lost")


def _person(world: "World") -> None:
    """Somebody promotes, goes back, or says that how it is, is right."""
    process, schedule = Process("person"), world.schedule
    name, engine = world.house.model.name, world.house.open(process)
    way = int(schedule.random.integers(3))
    version = int(schedule.random.integers(1, 8)) if way == 0 else None
    said = {"said": "it was asked for", "by": "ada"}

    def act() -> None:
        try:
            if way == 2:
                entry = command.accept(engine, name, **said)
            else:
                entry = command.command(
                    engine, world.house.artifacts, name, version=version, **said
                )
            schedule.say("person", f"{entry.decision.kind} {entry.decision.version}")
        except (InputError, StoreUnavailableError) as error:
            schedule.say("person", f"is refused: {str(error)[:80]}")

    schedule.spawn(process, act)


def _upgrade(world: "World") -> None:
    """Another release is rolled out, one process after the other."""
    world.house.release += 1
    world.schedule.say("world", f"release {world.house.release}")
    for name in sorted(world.there):
        world.end(name)
        world.schedule.sleep(world.schedule.between(0.5, 5))


def _policy(world: "World") -> None:
    """The policy is changed, and the processes are started anew."""
    world.change_policy()
    for name in sorted(world.there.keys() & {"scheduled", "timer"}):
        world.end(name)


_KINDS: dict[str, Callable[["World"], None]] = {
    "crash": _crash,
    "crash again": _crash,
    "clock": _clock,
    "lock": _locked,
    "outage": _outage,
    "closed": _closed,
    "artifact": _artifact,
    "snapshot": _forgotten,
    "person": _person,
    "upgrade": _upgrade,
    "policy": _policy,
}
