"""A container engine for these tests: the one that runs, or one started by hand; else they skip."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

MARK = "container"
BASE = "python:3.11-slim-bookworm"
CAS = "/etc/ssl/certs/host.crt"
START_S = 60.0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these tests out unless they are asked for: they build images, for minutes."""
    if MARK in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker(MARK)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Where the engine listens, and the program that talks to it."""

    client: str
    host: str | None

    @property
    def environment(self) -> dict[str, str]:
        """Return what a program needs to find it; nothing of ours, so that defaults hold."""
        ours = ("CONTINUAL_", "COMPOSE_", "API_KEY", "PREFECT_", "MLFLOW_")
        plain = {n: v for n, v in os.environ.items() if not n.startswith(ours)}
        return plain | ({} if self.host is None else {"DOCKER_HOST": self.host})

    def run(self, *command: str | Path, timeout: float = 1_800) -> str:
        """Run a command of the client to its end; return what it said."""
        told = subprocess.run(
            [self.client, *command],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        assert told.returncode == 0, told.stdout[-2_000:] + told.stderr[-2_000:]
        return told.stdout

    def works(self) -> bool:
        """Tell whether it answers."""
        asked = [self.client, "version", "--format", "{{.Server.Version}}"]
        told = subprocess.run(asked, env=self.environment, capture_output=True, check=False)
        return told.returncode == 0


@pytest.fixture(scope="package")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    client = next((p for p in ("/usr/bin/docker", shutil.which("docker")) if _is_there(p)), None)
    if client is None:
        pytest.skip("no docker program is installed; as root: apt-get install docker.io")
    running = Engine(client=client, host=None)
    if running.works():
        yield running
        return
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        pytest.skip("no engine answers, and only root can start one: apt-get install docker.io")
    with started(client, tmp_path_factory.mktemp("engine")) as one:
        give_base(one, tmp_path_factory.mktemp("base"))
        yield one


def _is_there(path: str | None) -> bool:
    return path is not None and Path(path).exists()


@contextmanager
def started(client: str, place: Path) -> Iterator[Engine]:
    """Start an engine that keeps all it has in one directory; end it, and remove that."""
    one = Engine(client=client, host=f"unix://{place}/socket")
    command = ("dockerd", "--data-root", place / "data", "--exec-root", place / "exec")
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", str(one.host), "--pidfile", place / "pid"],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        end = time.monotonic() + START_S
        while not one.works():
            if process.poll() is not None or time.monotonic() > end:
                pytest.skip(f"no engine can run here: {(place / 'log').read_text('utf-8')[-500:]}")
            time.sleep(0.5)
        yield one
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(place, ignore_errors=True)


def give_base(engine: Engine, place: Path) -> None:
    """Make a stand-in of the base image from the distribution's packages: no registry is asked.

    It is the same release of the same distribution, with its own Python 3.11, and trusts whom this
    machine trusts.
    """
    if shutil.which("debootstrap") is None:
        pytest.skip("no base image, and no debootstrap to make one: apt-get install debootstrap")
    root = place / "root"
    packages = "ca-certificates,python3,python3-venv"
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", root],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    if made.returncode:
        pytest.skip(f"the packages of a base image cannot be had: {made.stdout[-500:]}")
    (root / "usr/local/bin/python3").symlink_to("/usr/bin/python3")
    changes = list[str]()
    if trusted := os.environ.get("SSL_CERT_FILE"):
        shutil.copy(trusted, root / CAS.removeprefix("/"))
        changes = ["--change", f"ENV PIP_CERT={CAS} SSL_CERT_FILE={CAS}"]
    tar = place / "base.tar"
    subprocess.run(["tar", "-C", root, "-cf", tar, "."], check=True)  # noqa: S607
    engine.run("import", *changes, tar, BASE)
    shutil.rmtree(place)
