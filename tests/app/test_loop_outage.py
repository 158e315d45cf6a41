"""The timer and the courier, real processes, over a PostgreSQL that is killed and comes back."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from continualml import demo
from continualml.loop import begin
from continualml.loop.cycle import Loop
from continualml.loop.training import Trainer
from continualml.settings import Settings, environment
from continualml.store import ledger
from continualml.store.engine import open_store, read
from tests import discord, postgres
from tests.conftest import Home, demo_table

pytestmark = pytest.mark.outage


@pytest.fixture
def killable() -> Iterator[postgres.Server]:
    with postgres.server() as one:
        yield one


def until(holds: Callable[[], bool], most_s: float = 240.0) -> float:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < most_s
        time.sleep(0.1)
    return time.monotonic() - began


def test_loop_and_courier_go_on_by_themselves_when_the_database_is_back(
    killable: postgres.Server, tmp_path: Path, trainer: Trainer
) -> None:
    url = killable.new()
    engine = open_store(url)
    with ExitStack() as at_end, discord.serve() as channel:
        at_end.callback(engine.dispose)
        said = Settings(
            data=tmp_path / "data",
            database_url=url,
            discord_webhook_url=SecretStr(channel.url),
        )
        loop = Loop(
            engine=engine,
            artifacts=said.artifacts,
            models={"demo": demo.DEMO},
            trainer=trainer,
            holder="test",
        )
        begin.from_table(loop, "demo", demo_table(600, seed=0))
        home = Home(tmp_path, engine, loop)
        env = {n: v for n, v in os.environ.items() if not n.startswith("CONTINUAL_")}
        env |= environment(said)
        running = [
            at_end.enter_context(started(f"continualml.app.{name}", env, tmp_path / f"{name}.log"))
            for name in ("timer", "courier")
        ]
        home.send(100, seed=1)
        until(lambda: loop.waiting("demo") == 0)

        killable.kill()
        time.sleep(5.0)
        killable.start()
        home.send(600, seed=2, drift=1.5)
        turned_s = until(lambda: loop.waiting("demo") == 0)
        told_s = until(lambda: any("drift" in title.lower() for title in channel.titles()))
        with read(engine) as conn:
            assert ledger.verify(conn) is None
        assert [one.poll() for one in running] == [None, None]  # the same processes as before
        figures = f"loop read on after {turned_s:.1f} s, courier told after {told_s:.1f} s more"
        print(figures)  # noqa: T201  docs/scaling.md says it; -rP shows it


@contextmanager
def started(module: str, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process of ours until the end of the context."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            env=env,
            cwd=log.parent,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)
