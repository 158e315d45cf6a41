"""The whole tree, as ``make up`` starts it; one for all tests of this folder."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A running tree: its first process, what it said, and where its servers listen.

    ``login`` is the user's name and the password of Prefect's and MLflow's pages.
    ``home`` is the home folder of all its processes, empty at first; ``heard`` has a line for each
    process that runs Python, and for each time that one of them asked beyond this machine.
    """

    process: subprocess.Popen[bytes]
    said: Path
    token: str
    api: httpx.Client
    prefect: str
    mlflow: str
    login: tuple[str, str]
    data: Path
    home: Path
    heard: Path

    def model(self) -> dict[str, Any]:
        """Return what the API says about the example's model."""
        told: dict[str, Any] = self.api.get("/models/electricity").raise_for_status().json()
        return told

    def kill(self, *words: str) -> None:
        """Kill the component whose command has these words, and all that it started."""
        component = next(
            p for p in psutil.Process(self.process.pid).children() if set(words) <= set(p.cmdline())
        )
        for process in [*component.children(recursive=True), component]:
            process.kill()

    def until(self, true: Callable[[], bool], seconds: float) -> None:
        """Wait until it is true, or fail with the tree's last words."""
        until(true, seconds, lambda: self.said.read_text("utf-8")[-3_000:])


@pytest.fixture(scope="package")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    folder = tmp_path_factory.mktemp("tree")
    (folder / "home").mkdir()
    ports = {n: str(free_port()) for n in ("PORT", "DASHBOARD_PORT", "PREFECT_PORT", "MLFLOW_PORT")}
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [*command_of_make_up(), "--data", str(folder / "data"), "--speed", "15"],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=own_environment()
            | {"CHECK_INTERVAL_SECONDS": "20", "HOME": str(folder / "home")}
            | listened_to(folder / "heard.log")
            | {f"CONTINUAL_{n}": port for n, port in ports.items()},
        )
    try:
        said = folder / "up.log"
        until(lambda: "Everything runs" in said.read_text("utf-8"), 180, said.read_text)
        # A port that was taken meanwhile has given way to the next: what `up` said holds.
        found = re.findall(
            r"^(\w+) +healthy after.*(http://[\d.:]+)", said.read_text("utf-8"), re.MULTILINE
        )
        address = dict(found)
        token = (folder / "data/admin.token").read_text("utf-8").strip()
        user, _, password = (folder / "data/pages.login").read_text("utf-8").strip().partition(":")
        with httpx.Client(
            base_url=address["api"],
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=20,
        ) as api:
            yield Tree(
                process=process,
                said=said,
                token=token,
                api=api,
                prefect=address["prefect"],
                mlflow=address["mlflow"],
                login=(user, password),
                data=folder / "data",
                home=folder / "home",
                heard=folder / "heard.log",
            )
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        process.wait(timeout=20)
    assert time.monotonic() - began < 10
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)


def listened_to(log: Path) -> dict[str, str]:
    """Let every Python of the tree, however it is started, say whom it connects to."""
    return {"PYTHONPATH": str(ROOT / "tests/tree/listener"), "HEARD_IN": str(log)}


def own_environment() -> dict[str, str]:
    """Leave out what other tests' clients wrote: MLflow's keeps its address in the environment."""
    theirs = ("MLFLOW_", "PREFECT_", "CONTINUAL_", "API_KEY")
    return {n: v for n, v in os.environ.items() if not n.startswith(theirs)}


def command_of_make_up() -> list[str]:
    """Return what ``make up`` runs in the end, in this environment."""
    said = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "up"],  # noqa: S607  the one on the path
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    last = shlex.split(said.splitlines()[-1])
    assert last[1:4] == ["run", "--no-sync", "continual"]
    return [sys.executable, "-m", "continualml", *last[4:]]


def until(true: Callable[[], bool], seconds: float, say: Callable[[], str]) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, say()
        time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
