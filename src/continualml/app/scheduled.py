"""The cycle as a Prefect flow: a process that serves it, and what each of its runs does."""

import os
import socket

from continualml import settings
from continualml.app import logs
from continualml.integrations import prefect
from continualml.loop.cycle import Loop
from continualml.loop.training import Limits, Trainer
from continualml.store import leases
from continualml.store.engine import open_store

_BEAT = "scheduled-cycle"


def continual_cycle() -> str:
    """Turn every model's loop once; a run that comes too late skips itself."""
    logs.begin()  # each run is a process of its own
    project = settings.load()
    said = project.settings
    if prefect.is_stale(said.check_interval_seconds):
        return "skipped: a newer run is due"
    engine = open_store(said.database_url)
    run = prefect.run_as_tasks(retries=said.task_retries, retry_delay_s=said.retry_delay_seconds)
    limits = Limits(seconds=said.train_timeout_seconds, memory_mb=said.train_memory_mb)
    leases.beat(engine, _BEAT)
    with Trainer(limits) as trainer:
        loop = Loop(
            engine=engine,
            artifacts=said.artifacts,
            models=project.models,
            trainer=trainer,
            holder=f"prefect@{socket.gethostname()}:{os.getpid()}",
            most_s=said.check_interval_seconds * 0.8,
        )
        verdicts = [loop.turn(name, run) for name in project.models]
    leases.beat(engine, _BEAT)
    return "; ".join(f"{v.model}: {v.kind}: {v.because}" for v in verdicts)


# Prefect imports this file in each run's process and looks the flow up by the function's name.
continual_cycle = prefect.flow_of(continual_cycle)


if __name__ == "__main__":
    logs.begin()
    prefect.serve(continual_cycle, period_s=settings.load().settings.check_interval_seconds)
