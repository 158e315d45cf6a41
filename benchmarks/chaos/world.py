"""A process tree as ``continual up`` starts it, in a directory of its own, and its processes."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.stream_model import CONFIG
from continualml import demo

_START_S, _STOP_S = 240.0, 40.0
_FIRST_ROWS = 1_000
_STRATEGIES = """
[[models.stream.policy.strategies]]
name = "newest-500"
window = 500
refit = 500

[[models.stream.policy.strategies]]
name = "newest-2000"
window = 2000
refit = 1000
"""


class BrokenWorldError(RuntimeError):
    """The tree did not do what every case needs: start, stop, answer."""


@dataclass(slots=True)
class World:
    """A running tree.

    Parameters
    ----------
    folder
        Configuration and what the tree printed; ``data`` may lie on a disk of its own.
    """

    folder: Path
    data: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    addresses: dict[str, str] = field(default_factory=dict)

    @property
    def said(self) -> str:
        return (self.folder / "up.log").read_text("utf-8", errors="replace")

    @property
    def token(self) -> str:
        return (self.data / "admin.token").read_text("utf-8").strip()

    @property
    def port(self) -> int:
        return int(self.addresses["api"].rsplit(":", 1)[1])

    @property
    def database(self) -> Path:
        return self.data / "log.sqlite"

    def start(self) -> None:
        """Start the tree, and wait until the API, and whatever else has a page, is healthy."""
        before = len(self.said) if (self.folder / "up.log").exists() else 0
        command = [*python(), "-m", "continualml", "up", "--data", str(self.data)]
        command += ["--config", str(self.folder / "continual.toml")]
        with (self.folder / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.folder,
            )
        wanted = "Everything runs" if "PREFECT_API_URL" not in self.environment else "api  "

        def up() -> bool:
            return wanted in self.said[before:] and self.ready()

        self.addresses = {"api": f"http://127.0.0.1:{self.environment['CONTINUAL_PORT']}"}
        wait(up, _START_S, lambda: f"the tree did not start:\n{self.said[before:][-2_000:]}")
        found = re.findall(r"^(\w+) +healthy after.*(http://[\d.:]+)", self.said, re.MULTILINE)
        self.addresses |= dict(found)

    def stop(self) -> None:
        """End the tree and see that nothing of it is left."""
        if self.process is None:
            return
        family = [self.first(), *self.first().children(recursive=True)] if self.running() else []
        for one in family:  # what a case stopped has to go on, or it cannot end
            _signal(one, signal.SIGCONT)
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _, left = psutil.wait_procs(family, timeout=10)
        for one in left:
            _signal(one, signal.SIGKILL)
        self.process = None

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def client(self) -> httpx.Client:
        """Ask the API as its admin."""
        return httpx.Client(
            base_url=self.addresses["api"],
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=30,
            trust_env=False,
        )

    def first(self) -> psutil.Process:
        if self.process is None:
            raise BrokenWorldError("the tree does not run")
        return psutil.Process(self.process.pid)

    def found(self, *words: str) -> list[psutil.Process]:
        """List the processes of the tree whose command has all these words."""
        some = []
        for one in self.first().children(recursive=True):
            try:
                if all(any(w in part for part in one.cmdline()) for w in words):
                    some.append(one)
            except psutil.Error:
                continue  # it ended
        return some

    def kill(self, *words: str) -> None:
        """Kill what has these words, and its children."""
        for one in self._with_children(*words):
            _signal(one, signal.SIGKILL)

    def hang(self, *words: str) -> None:
        for one in self._with_children(*words):
            _signal(one, signal.SIGSTOP)

    def go_on(self, *words: str) -> None:
        for one in self._with_children(*words):
            _signal(one, signal.SIGCONT)

    def _with_children(self, *words: str) -> list[psutil.Process]:
        some = self.found(*words)
        if not some:
            raise BrokenWorldError(f"no process {' '.join(words)}")
        return [*some, *(c for one in some for c in one.children(recursive=True))]

    def ready(self) -> bool:
        try:
            url = f"{self.addresses['api']}/readyz"
            return httpx.get(url, timeout=2, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def get(self, path: str) -> dict[str, Any]:
        """Ask the API; an empty answer while it gives none."""
        try:
            answer = httpx.get(
                f"{self.addresses['api']}{path}",
                headers={"Authorization": f"Bearer {self.token}"},
                timeout=5,
                trust_env=False,
            )
            told: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError):
            return {}
        return told

    def component(self, name: str) -> dict[str, Any]:
        """Tell what ``/health`` says of a component."""
        told: dict[str, Any] = self.get("/health").get("components", {}).get(name, {})
        return told

    def rows_read(self) -> int:
        """Count the labelled rows that the loop has read; -1 while nobody says it."""
        report = self.get("/models/stream").get("loop")
        return int(report["rows"]) if report else -1


def begun(folder: Path, *, data: Path | None = None, environment: Mapping[str, str] = {}) -> World:
    """Make a directory with a model and its first champion; nothing runs yet."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "continual.toml").write_text(CONFIG + _STRATEGIES, "utf-8")
    theirs = ("MLFLOW_", "PREFECT_", "CONTINUAL_", "API_KEY")
    own = {n: v for n, v in os.environ.items() if not n.startswith(theirs)}
    names = ("PORT", "DASHBOARD_PORT", "PREFECT_PORT", "MLFLOW_PORT")
    ports = {f"CONTINUAL_{n}": str(free_port()) for n in names}
    world = World(
        folder=folder,
        data=data or folder / "data",
        environment=own | ports | {"CHECK_INTERVAL_SECONDS": "20"} | dict(environment),
    )
    rows, target = demo.generate(_FIRST_ROWS, seed=0, noise=0.5, drift=0.0)
    lines = ["x1,x2,x3,x4,y"] + [
        ",".join([*(f"{v:.5f}" for v in row), demo.DEMO.classes[int(t)]])
        for row, t in zip(rows.numeric, target, strict=True)
    ]
    (folder / "first.csv").write_text("\n".join(lines) + "\n", "utf-8")
    train = [*python(), "-m", "continualml", "train", str(folder / "first.csv")]
    train += ["--config", str(folder / "continual.toml"), "--data", str(world.data)]
    done = subprocess.run(train, env=own, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BrokenWorldError(f"no first champion: {done.stderr[-1_000:]}")
    return world


@contextmanager
def running(world: World) -> Iterator[World]:
    """Start a tree and end it, whatever happens meanwhile."""
    try:
        world.start()
        yield world
    finally:
        world.stop()


def python() -> list[str]:
    return [sys.executable]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait(true: Callable[[], bool], seconds: float, say: Callable[[], str]) -> float:
    """Wait until it is true; return how long that took.

    Raises
    ------
    BrokenWorldError
        If it has not become true in that time.
    """
    began = time.monotonic()
    while not true():
        if time.monotonic() - began > seconds:
            raise BrokenWorldError(say())
        time.sleep(0.2)
    return time.monotonic() - began


def _signal(one: psutil.Process, number: signal.Signals) -> None:
    try:
        one.send_signal(number)
    except psutil.NoSuchProcess:
        return  # it ended by itself
