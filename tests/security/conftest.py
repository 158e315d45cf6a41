"""The API's project and servers, as its own tests have them, and one server for many tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from continualml.settings import Project
from continualml.store import pointers
from continualml.store.engine import open_store, write
from tests.api.conftest import (
    _nothing_from_outside,
    api,
    point,
    process,
    project,
    project_in,
    register,
    registered,
    running,
    serve,
    token,
)

__all__ = (
    "_nothing_from_outside",
    "api",
    "point",
    "process",
    "project",
    "register",
    "serve",
    "token",
)


@dataclass(frozen=True, slots=True)
class Server:
    """A real server process with a champion of each model, what it printed, and its admin."""

    project: Project
    process: psutil.Process
    said: Path
    token: str
    api: httpx.Client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    project = project_in(tmp_path_factory.mktemp("server"))
    for model in ("loan", "price"):
        version = registered(project, model=model)
        engine = open_store(project.settings.database_url)
        with write(engine) as conn:
            pointers.point(conn, model, "champion", version, 0)
        engine.dispose()
    said = project.settings.data.parent / "said.log"
    with running(project, said) as child:
        secret = project.settings.admin_token.read_text("utf-8").strip()
        with httpx.Client(
            base_url=f"http://127.0.0.1:{project.settings.port}",
            headers={"Authorization": f"Bearer {secret}"},
            trust_env=False,
            timeout=20,
        ) as api:
            yield Server(project, psutil.Process(child.pid), said, secret, api)
