"""Every command in the docs is run as it is written, in the order in which one reads them."""

import csv
import gzip
import itertools
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import httpx
import pytest
import typer

from continualml import cli
from tests import discord, kuma

ROOT = Path(__file__).parents[1]
STREAM = ROOT / "examples/electricity/electricity.csv.gz"
DOCS = (
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks/README.md",
    ROOT / "benchmarks/serving/README.md",
    *sorted(ROOT.glob("examples/*/README.md")),
)
SHELL = {"", "sh", "bash", "shell", "console"}
PROGRAMS = ("continual ", "make ", "python ", "uv ", "pip ", "curl ", "docker ")

# What cannot run inside a test as it is written: where it, or what it comes down to, is run.
ELSEWHERE = {
    "make up": "tests/tree/conftest.py::tree",
    "make test": ".ci/run",
    "make check": ".ci/run",
    "make docs": "tests/test_site.py::site",
    "make test TESTS='-m claim'": ".github/workflows/ci.yml",
    "make test-containers": ".github/workflows/ci.yml",
    "make chaos": "tests/benchmarks/test_chaos.py::test_make_chaos_knows_its_faults",
    "python -m benchmarks.chaos": "tests/benchmarks/test_chaos.py"
    "::test_make_chaos_knows_its_faults",
    "python -m benchmarks.decisions all": "tests/benchmarks/test_decisions.py::quick",
    "make test-outage": "tests/api/test_outage.py::deployed",
    "make simulate": ".github/workflows/nightly.yml",
    "python -m tests.simulation --seed 123": "tests/simulation/test_simulation.py"
    "::test_a_seed_is_the_same_run_in_another_process_to_the_last_bit",
    "python -m tests.simulation.planted": "tests/simulation/test_simulation.py"
    "::test_each_bug_that_is_planted_still_has_its_place",
    "make systemd": "tests/shipping/test_systemd.py::installed",
}
# Its commands are run in their order by tests/container, which needs an engine.
CONTAINERS = "docs/docker.md"
SERVING = "--peers --rounds 1 --seconds 1 --connections 1 --output ."
# What is added to a command that would take minutes, or write into this tree.
TINY = {
    "continual simulate": "--rows 2000 --first 300 --kind none",
    "continual simulate --kind abrupt": "--rows 2000 --first 300",
    "python -m benchmarks.serving": f"{SERVING} --only without LightGBM",
    "-m benchmarks.serving": f"{SERVING} --only without",  # said otherwise
    "benchmarks/train_to_served.py": "--rounds 1",
    "benchmarks/fold.py": "",
    "benchmarks/unlabelled.py": "--streams 10 --picture unlabelled.png",
    "benchmarks/drift.py": "--worlds 2",
    "-m benchmarks.pictures": "--worlds 20 --output .",
    "benchmarks/replay.py": "20000",
    "-m benchmarks.power_loss": "--instants 10",
    "-m benchmarks.run_length": "--worlds 2 --budget 200",
    "-m benchmarks.nobody_better": "--worlds 1 --rows 1600",
    "-m benchmarks.late_labels": "--worlds 1 --rows 2600",
    "-m benchmarks.broken_refits": "--rows 1600",
    "-m benchmarks.soak": "--help",
}
# What is refused while nothing is the matter, and what is said then.
REFUSED = {"continual accept --because TEXT": "expected a model with an open incident"}
# What a reader puts in the place of the words in capitals.
INSTEAD = {"NAME": "reader", "VERSION": "2", "TEXT": "'it was asked for'"}
# Verbs that change nothing: they follow the others, two at a time.
LOOKS = {"status", "decisions", "explain", "explain-policy", "replay", "verify", "backtest"}
LOOKS |= {"simulate", "config", "doctor"}
STAYS = ("up", "serve", "replay-stream")


def commands() -> dict[str, str]:
    """Return every command of the docs, in their order, with the file where it stands first.

    A sentence may also name a verb without what it needs: the beginning of another command is no
    command of its own there.
    """
    found: dict[str, str] = {}
    said: dict[str, str] = {}
    for path in DOCS:
        name = str(path.relative_to(ROOT))
        blocks, sentences = _parts(path.read_text("utf-8"))
        for command in blocks:
            found.setdefault(command, name)
        for command in sentences:
            said.setdefault(command, name)
    for command, name in said.items():
        if not any(other.startswith(f"{command} ") for other in [*found, *said]):
            found.setdefault(command, name)
    return found


def _parts(text: str) -> tuple[list[str], list[str]]:
    """Return the commands of blocks and tables, and the code in sentences that begins like one.

    Indented blocks and shell fences are commands, line by line; in a table it is the first cell.
    """
    blocks, prose = list[str](), list[str]()
    fence: str | None = None
    before, joined = "", ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("```"):
            fence = line.removeprefix("```") if fence is None else None
        elif fence in SHELL or (fence is None and _indented(raw, before)):
            joined += line.removesuffix("\\")
            if line and not line.endswith("\\"):
                blocks.append(_plain(joined))
                joined = ""
        elif fence is None and line.startswith("|"):
            blocks += _codes(line.split("|")[1])
            prose.append("".join(line.split("|")[2:]))
        elif fence is None:
            prose.append(line)
        before = raw
    return blocks, _codes("\n".join(prose))


def _codes(text: str) -> list[str]:
    """Return the code in a text that begins like a command; it may go on in the next line."""
    found = [code.replace("\n", " ") for code in re.findall(r"`((?:[^`\n]|\n(?!\n))+)`", text)]
    return [_plain(code) for code in found if " " in code and code.startswith(PROGRAMS)]


def _indented(line: str, before: str) -> bool:
    return line.startswith("    ") and (not before.strip() or before.startswith("    "))


def _plain(command: str) -> str:
    """Without its comment; what ``uv run`` would start is started by name."""
    bare = re.sub(r"\s+# .*$", "", command.removeprefix("$ "))
    return bare.removeprefix("uv run --no-sync ")


def _benchmark(command: str) -> str | None:
    """Name the script, or the module with its ``-m``."""
    found = re.match(r"python (benchmarks/\S+|-m benchmarks\.\S+)", command)
    return found[1] if found else None


def _tiny(command: str) -> str:
    return TINY.get(command) or TINY[_benchmark(command) or ""]


def _is_ours(command: str) -> bool:
    return command.startswith(("continual ", "curl ", "python -c ", "mkdir ", "cp "))


def _of_the_example(command: str) -> bool:
    return _is_ours(command) and ("examples/" in command or command.startswith("curl"))


def test_there_is_no_command_that_nothing_runs() -> None:
    found = commands()
    assert len(found) > 20
    run = {c for c in found if _is_ours(c) or c in ELSEWHERE}
    run |= {
        c for c, path in found.items() if path == CONTAINERS and c.startswith("docker compose ")
    }
    run |= {c for c in found if _benchmark(c) in TINY}
    assert {c: path for c, path in found.items() if c not in run} == {}
    assert set(ELSEWHERE) <= set(found)
    assert set(TINY) <= {*found, *map(_benchmark, found)}
    for command, place in ELSEWHERE.items():
        path, _, name = place.partition("::")
        text = (ROOT / path).read_text("utf-8")
        assert (f"def {name}(" in text) if name else (command in text), place


def test_every_flag_that_is_named_is_one() -> None:
    known = set(_flags(typer.main.get_command(cli.app)))
    for path in DOCS:
        for code in re.findall(r"`(--[^`]+)`", path.read_text("utf-8")):
            named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", code))
            assert named <= known, f"{path.name}: {code}"


def _flags(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from parameter.opts
    for one in getattr(command, "commands", {}).values():
        yield from _flags(one)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Somebody who types what the docs say into a shell, in one folder."""

    folder: Path
    ports: dict[str, int]
    outside: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['CONTINUAL_PORT']}"

    def types(self, command: str) -> str:
        """Run a command to its end; return what it wrote."""
        run = self._run(command)
        assert run.returncode == 0, f"{command}\n{run.stdout}\n{run.stderr}"
        return run.stdout

    def is_refused(self, command: str, because: str) -> None:
        """Run a command that is not for now; it says why."""
        run = self._run(command)
        assert run.returncode == cli.CONFIGURATION, f"{command}\n{run.stdout}\n{run.stderr}"
        assert because in run.stderr

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euc", self._here(command)],  # noqa: S607  the reader's shell
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @contextmanager
    def leaves_running(self, command: str, works: Callable[[], bool]) -> Iterator[None]:
        """Start a command, see that it works, and press Ctrl-C at the end."""
        said = self.folder / "said.txt"
        with said.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                shlex.split(f"{Path(sys.executable).parent}/{self._here(command)}"),
                cwd=self.folder,
                env=self._environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            until = time.monotonic() + 60
            while not works():
                assert process.poll() is None, f"{command}\n{said.read_text('utf-8')}"
                assert time.monotonic() < until, f"{command}\n{said.read_text('utf-8')}"
                time.sleep(0.1)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=20)
        assert process.returncode in {cli.OK, cli.INTERRUPTED}, command

    def answers(self, path: str = "/readyz") -> bool:
        try:
            return httpx.get(f"{self.url}{path}", trust_env=False, timeout=5).is_success
        except httpx.TransportError:
            return False

    def shows(self) -> bool:
        pages = f"http://127.0.0.1:{self.ports['CONTINUAL_DASHBOARD_PORT']}/_stcore/health"
        try:
            return httpx.get(pages, trust_env=False, timeout=5).is_success
        except httpx.TransportError:
            return False

    def last_seq(self) -> int:
        token = (self.folder / ".continual/admin.token").read_text("utf-8").strip()
        headers = {"Authorization": f"Bearer {token}"}
        told = httpx.get(f"{self.url}/health", headers=headers, trust_env=False, timeout=5).json()
        return int(told["components"]["store"]["last_seq"])

    def _here(self, command: str) -> str:
        """Name what the docs leave open, and the port that is free here."""
        here = command.replace("127.0.0.1:8000", f"127.0.0.1:{self.ports['CONTINUAL_PORT']}")
        for word, put in {**INSTEAD, "ID": "1"}.items():
            if not re.search(rf"\b{word}\b", here):
                continue
            if word == "ID" and "token" in here:
                listed = self.types("continual token list --json")
                put = re.findall(r'"id": "([^"]+)"', listed)[-1]  # noqa: PLW2901
            here = re.sub(rf"\b{word}\b", put, here)
        return f"{here} {TINY.get(command, '')}".strip()

    def _environment(self) -> dict[str, str]:
        nowhere = f"http://127.0.0.1:{self.ports['CONTINUAL_MLFLOW_PORT']}"  # theirs are not needed
        return os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PREFECT_API_URL": f"{nowhere}/api",
            "MLFLOW_TRACKING_URI": nowhere,
            **self.outside,
            **{name: str(port) for name, port in self.ports.items()},
        }


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    names = tuple(f"CONTINUAL_{n}PORT" for n in ("", "DASHBOARD_", "PREFECT_", "MLFLOW_"))
    ports = {name: free_port() for name in names}
    with discord.serve() as server, kuma.serve() as watch:
        outside = {
            "DISCORD_WEBHOOK_URL": server.url,
            "CONTINUAL_KUMA_URL": watch.url,
            "CONTINUAL_KUMA_PASSWORD": f"{token_urlsafe(12)}-1",
        }
        yield Reader(folder=tmp_path, ports=ports, outside=outside)


@pytest.mark.journey
@pytest.mark.patient
def test_every_command_for_ones_own_data_works_as_written(reader: Reader) -> None:
    with gzip.open(STREAM, "rt", encoding="utf-8") as stream:
        rows = list(itertools.islice(csv.reader(stream), 1_201))
    rows[0][-1] = "y"
    with (reader.folder / "data.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)

    own = [c for c in commands() if _is_ours(c) and not _of_the_example(c)]
    looking = [c for c in own if c.split(" ")[1] in LOOKS]
    for command in own:
        if command.startswith("continual replay-stream"):
            with reader.leaves_running("continual serve", reader.answers):
                _follow(reader, command)
        elif command not in looking:
            _follow(reader, command)
    made = (reader.folder / "continual.toml").read_text("utf-8")
    changed = made.replace("# threshold =", "threshold =")
    (reader.folder / "new.toml").write_text(changed, encoding="utf-8")
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(reader.types, looking))


@pytest.mark.journey
@pytest.mark.patient
def test_every_command_for_the_example_works_as_written(reader: Reader) -> None:
    config = "--config examples/electricity/continual.toml"
    reader.types(f"continual train examples/electricity/electricity.csv.gz {config} --rows 1000")
    with reader.leaves_running(f"continual serve {config}", reader.answers):
        for command in [c for c in commands() if _of_the_example(c)]:
            _follow(reader, command)


def _follow(reader: Reader, command: str) -> None:
    """Do as a command says; who asks a server has one running."""
    program, verb = command.split(" ")[:2]
    if program == "curl":
        told = reader.types(command)
        said = (
            '"predictions"',
            '"accepted"',
            '"outputs"',
            '"status":"ok"',
            "continual_workers 1.0",
        )
        assert any(word in told for word in said)
    elif verb == "replay-stream":
        before = reader.last_seq()
        with reader.leaves_running(command, lambda: reader.last_seq() > before + 80):
            pass
    elif command in REFUSED:
        reader.is_refused(command, REFUSED[command])
    elif verb == "dashboard":
        with reader.leaves_running(command, reader.shows):
            pass
    elif verb in STAYS:
        with reader.leaves_running(command, reader.answers):
            pass
    else:
        reader.types(command)


@pytest.mark.journey
@pytest.mark.patient
@pytest.mark.parametrize("command", [c for c in commands() if _benchmark(c) and c not in ELSEWHERE])
def test_every_benchmark_runs(command: str, tmp_path: Path) -> None:
    if "benchmarks.serving" in command and shutil.which("wrk") is None:
        pytest.skip("wrk is not installed; as root: apt-get install wrk")
    written = command.removeprefix("python ").replace("benchmarks/", f"{ROOT}/benchmarks/")
    run = subprocess.run(
        [sys.executable, *shlex.split(written), *_tiny(command).split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert {"{", "|"} & set(run.stdout)  # figures as JSON, or as a table


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
