"""The cycle as a Prefect flow: a process that serves it, and what each of its runs does."""

import os
import socket
import time
from collections.abc import Callable
from functools import partial

from loguru import logger

from continualml import settings
from continualml.app import logs, turns, watching
from continualml.app.place import place_of
from continualml.integrations import prefect
from continualml.loop.cycle import Loop, Run
from continualml.loop.training import Limits, Trainer
from continualml.settings import Settings
from continualml.store import leases
from continualml.store.engine import open_store


def continual_cycle() -> str:
    """Turn every model's loop once; a run that comes too late skips itself, and all late ones."""
    logs.begin()  # each run is a process of its own
    project = settings.load()
    said = project.settings
    logs.begin(said)
    engine = open_store(said.database_url)
    if prefect.is_stale(said.check_interval_seconds):
        leases.beat(engine, leases.SKIPPED)  # the scheduler is there, and works off what was late
        # Each of the others would start a process for itself, only to skip itself too.
        n = prefect.cancel_late(said.check_interval_seconds)
        return f"skipped: a newer run is due; {n} others that were late are cancelled"
    run = prefect.run_as_tasks(retries=said.task_retries, retry_delay_s=said.retry_delay_seconds)
    limits = Limits(seconds=said.train_timeout_seconds, memory_mb=said.train_memory_mb)
    with Trainer(limits) as trainer:
        loop = Loop(
            engine=engine,
            artifacts=place_of(said),
            models=project.models,
            trainer=trainer,
            holder=f"prefect@{socket.gethostname()}:{os.getpid()}",
            most_s=said.check_interval_seconds * 0.8,
        )
        return turn_and_tell(said, partial(turn_all, loop, run))


def turn_and_tell(said: Settings, turn: Callable[[], str]) -> str:
    """Turn, and tell Uptime Kuma how it went and how long it took.

    Raises
    ------
    TurnsFailedError
        As the turn does, once that was told.
    """
    began = time.monotonic()
    try:
        verdicts = turn()
    except TurnsFailedError as error:
        watching.beat(said, up=False, because=str(error))
        raise
    took_ms = (time.monotonic() - began) * 1_000
    watching.beat(said, up=True, because=verdicts, took_ms=took_ms)
    return verdicts


def turn_all(loop: Loop, run: Run) -> str:
    """Turn every model's loop once, also behind one that fails; say each verdict.

    Each turn that went well is a beat: a schedule whose every run fails does not count as alive.

    Raises
    ------
    TurnsFailedError
        At the end, naming the models whose turn failed.
    """
    said: list[str] = []
    failed: list[str] = []
    for name in loop.models:
        try:
            verdict = turns.turn(loop, name, run)
        except Exception as error:  # noqa: BLE001  the edge of one model: the others are turned
            logger.exception("scheduled: a turn of {} failed", name)
            failed.append(f"{name}: {type(error).__name__}: {error}")
        else:
            leases.beat(loop.engine, leases.TURNED)
            said.append(f"{name}: {verdict.kind}: {verdict.because}")
    if failed:
        raise TurnsFailedError("; ".join(failed))
    return "; ".join(said)


class TurnsFailedError(RuntimeError):
    """Turns of some models failed; the scheduler shows its run as failed."""


# Prefect imports this file in each run's process and looks the flow up by the function's name.
continual_cycle = prefect.flow_of(continual_cycle)


if __name__ == "__main__":
    logs.begin()
    configured = settings.load().settings
    logs.begin(configured)
    period_s = configured.check_interval_seconds
    logger.info("scheduled: cancelled {} late runs", prefect.cancel_late(period_s))
    prefect.serve(continual_cycle, period_s=period_s)
