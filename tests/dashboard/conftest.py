"""The example's first 3,208 rows as they are after the loop has read them, and who shows them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pytest

from continualml import settings
from continualml.learning.table import Table
from continualml.learning.table import read as read_table
from continualml.loop import begin
from continualml.loop.cycle import Loop
from continualml.loop.training import Trainer
from continualml.records import Rows
from continualml.scoring.session import Session
from continualml.settings import Project
from continualml.store import artifacts, pointers
from continualml.store.engine import open_store, read, write
from continualml.store.log import Labelled, Observed, append_labels, append_observations
from tests.tree.conftest import free_port, own_environment, until

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/electricity"
FIRST, ROWS, DAY = 1_000, 3_208, 48
PASSWORD = "violet tram 47 orchard"  # noqa: S105  of this test alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A running API and, if asked for, a dashboard beside it."""

    folder: Path
    api: httpx.Client
    token: str
    dashboard: str
    server: subprocess.Popen[bytes]


@pytest.fixture(scope="session")
def logged(tmp_path_factory: pytest.TempPathFactory, trainer: Trainer) -> Path:
    """Make a log: rows are answered, labels come a day later, the loop turns every day."""
    folder = tmp_path_factory.mktemp("logged")
    project = settings.load(EXAMPLE / "continual.toml", data=folder)
    model = project.models["electricity"]
    table = read_table(EXAMPLE / "electricity.csv.gz", model, limit=ROWS)
    engine = open_store(project.settings.database_url)
    loop = Loop(
        engine=engine,
        artifacts=project.settings.artifacts,
        models=project.models,
        trainer=trainer,
        holder="test",
        most_s=600.0,
    )
    begin.from_table(loop, model.name, part(table, 0, FIRST))
    sent: list[Labelled] = []
    for start in range(FIRST, ROWS, DAY):
        some = part(table, start, min(start + DAY, ROWS))
        with read(engine) as conn:
            champion = pointers.pointer(conn, model.name, "champion")
            assert champion is not None
            known = pointers.version(conn, model.name, champion.version)
            assert known is not None
        weights = np.array(champion.weights, np.float32) if champion.weights else None
        session = Session(artifacts.read(project.settings.artifacts, known.sha256))
        answer, now = session.answer(some.rows, weights), datetime.now(UTC).timestamp()
        rows = [
            Observed(
                model=model.name,
                observation_id=f"row-{start + i}",
                numeric=some.rows.numeric[i].astype("<f8").tobytes(),
                categorical=None,
                version=champion.version,
                answer=answer[i].astype("<f8").tobytes(),
                recorded_at=now,
                revision=champion.revision,
            )
            for i in range(len(some.labels))
        ]
        with write(engine) as conn:
            append_observations(conn, rows)
            if sent:
                append_labels(conn, model, sent, now)
        sent = [
            Labelled(observation_id=r.observation_id, label=t)
            for r, t in zip(rows, some.labels, strict=True)
        ]
        loop.turn(model.name)
    engine.dispose()
    return folder


def part(table: Table, start: int, stop: int) -> Table:
    cut = slice(start, stop)
    rows = Rows(numeric=table.rows.numeric[cut], categorical=table.rows.categorical[cut])
    return Table(rows=rows, labels=table.labels[cut])


def project_of(site: Site) -> Project:
    return settings.load(EXAMPLE / "continual.toml", data=site.folder)


@pytest.fixture(scope="session")
def site(logged: Path) -> Iterator[Site]:
    """Serve the log to everybody who only looks."""
    with served(logged, dashboard=True) as one:
        yield one


@contextmanager
def served(folder: Path, *, dashboard: bool, **variables: str) -> Iterator[Site]:
    """Start the API's process, and the dashboard's; end both."""
    ports = {n: str(free_port()) for n in ("CONTINUAL_PORT", "CONTINUAL_DASHBOARD_PORT")}
    environment = own_environment() | {
        "CONTINUAL_CONFIG": str(EXAMPLE / "continual.toml"),
        "CONTINUAL_DATA": str(folder),
        "DASHBOARD_PASSWORD": PASSWORD,
        **ports,
        **variables,
    }
    url, pages = (f"http://127.0.0.1:{port}" for port in ports.values())
    commands = [("-m", "continualml.app.api"), ("-m", "continualml", "dashboard")]
    running = [
        subprocess.Popen([sys.executable, *command], env=environment, cwd=folder)
        for command in commands[: 1 + dashboard]
    ]
    try:
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as api:
            until(lambda: answers(f"{url}/livez"), 60, lambda: "the API did not start")
            token = (folder / "admin.token").read_text("utf-8").strip()
            api.headers["Authorization"] = f"Bearer {token}"
            if dashboard:
                health = f"{pages}/_stcore/health"
                until(lambda: answers(health), 60, lambda: "the dashboard did not start")
            yield Site(folder=folder, api=api, token=token, dashboard=pages, server=running[0])
    finally:
        for process in running:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGTERM)
        for process in running:
            process.wait(timeout=30)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5).is_success
    except httpx.TransportError:
        return False
