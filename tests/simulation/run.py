"""Runs one seed: from a copy of a template, with the world's clocks and network."""

import shutil
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from continualml import clock
from continualml.store import channels, group_commit, ledger
from continualml.store.engine import open_store, read, write
from tests.simulation.world import World, live


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a run came to; ``failure`` says what did not hold."""

    seed: int
    failure: str | None
    digest: str
    faults: list[str]
    trace: list[str]
    decisions: Counter[str]
    points: dict[str, int]
    commits: int
    simulated_s: float


def template(directory: Path, *, begun: bool) -> None:
    """Make the store from which runs begin: empty, or with a first champion."""
    world = World(directory, seed=0)
    engine = open_store(f"sqlite:///{directory / 'log.sqlite'}")
    with simulated(world), write(engine) as conn:
        channels.opened(conn, "discord", "template")
    engine.dispose()
    if begun:
        with simulated(world):
            world.begin_from_file(150)
            world.schedule.run(60.0)
        for one in world.house.engines:
            one.dispose()
    world.oracle.close()


def simulated(world: World) -> ExitStack:
    """Let the machine's clocks and network be those of a world."""
    stack = ExitStack()
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    patch.setattr(clock, "now", world.schedule.now)
    patch.setattr(clock, "steady_s", world.schedule.steady_s)
    # Without the process beside the event loop, as on PostgreSQL: what it does not commit, and what
    # it may have committed, is left to the writer that is simulated.
    patch.setattr(group_commit, "file_of", lambda _engine: None)
    patch.setattr(httpx, "get", world.outside.get)
    patch.setattr(httpx, "request", world.outside.request)
    patch.setattr(httpx, "create_ssl_context", lambda *_a, **_k: None)
    return stack


def run(seed: int, templates: Path, directory: Path) -> Ran:
    """Run one seed in an empty directory, from a copy of a template."""
    begun = seed % 4 != 3
    shutil.copytree(templates / ("begun" if begun else "empty"), directory)
    world = World(directory, seed)
    with simulated(world):
        failure, befallen = live(world, begun=begun)
        world.schedule.end()
    kinds: Counter[str] = Counter()
    engine = open_store(f"sqlite:///{directory / 'log.sqlite'}", migrate=False)
    with read(engine) as conn:
        for entry in ledger.entries(conn, limit=100_000):
            kinds[entry.decision.kind] += 1
            world.schedule.note(entry.hash)
    engine.dispose()
    return Ran(
        seed=seed,
        failure=failure,
        digest=world.schedule.digest(),
        faults=befallen,
        trace=world.schedule.trace,
        decisions=kinds,
        points=world.schedule.points,
        commits=world.oracle.commits,
        simulated_s=world.schedule.now_s,
    )
