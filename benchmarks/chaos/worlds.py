"""Where the faults happen: one tree after the other, each for the faults that it can have."""

import json
import os
import shutil
import sqlite3
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx

from benchmarks.chaos import disks
from benchmarks.chaos.between import Between
from benchmarks.chaos.cases import WHOLE_TREE, mirror_is_well, prefect_is_well
from benchmarks.chaos.load import Load
from benchmarks.chaos.trial import Case
from benchmarks.chaos.world import World, begun, free_port, python, running, wait

_CLOCK = Path(__file__).with_name("clock.c")
_LEAN = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}

# Runs those of the cases that were asked for, in this world.
Run = Callable[[World, tuple[Case, ...]], None]


def names(world: str) -> list[str]:
    """Name the faults of a world, as they are declared."""
    nowhere = Path()
    of = {
        "whole tree": WHOLE_TREE,
        "behind proxies": _of_proxies([]),
        "disk of its own": (*_of_disk(disks.Disk(nowhere, nowhere)), _PAGE),
        "clock of its own": _of_clock(nowhere),
    }
    return [case.name for case in of[world]]


def whole(folder: Path, run: Run) -> None:
    """Everything that ``continual up`` starts."""
    with running(begun(folder)) as world:
        run(world, WHOLE_TREE)


def apart(folder: Path, run: Run) -> None:
    """MLflow, Prefect and a channel of one's own behind proxies."""
    with ExitStack() as stack:
        mlflow, prefect = free_port(), free_port()
        stack.enter_context(_server(folder, "mlflow", mlflow))
        stack.enter_context(_server(folder, "prefect", prefect))
        proxies = [stack.enter_context(Between(port)) for port in (mlflow, prefect, free_port())]
        to_mlflow, to_prefect, to_channel = (f"127.0.0.1:{p.port}" for p in proxies)
        environment = {
            "MLFLOW_TRACKING_URI": f"http://{to_mlflow}",
            "PREFECT_API_URL": f"http://{to_prefect}/api",
            "CONTINUAL_NOTIFY_URL": f"json://{to_channel}/",
        }
        world = stack.enter_context(running(begun(folder, environment=environment)))
        wait(lambda: _both_well(world), 120, lambda: f"{world.get('/health')}")
        run(world, _of_proxies(proxies))


def _of_proxies(proxies: list[Between]) -> tuple[Case, ...]:
    def slow(_world: World, _load: Load, *, seconds: float) -> None:
        for one in proxies[:2]:
            one.delay_s = seconds

    def silent(_world: World, _load: Load, *, now: bool) -> None:
        for one in proxies:
            one.silent = now

    def refuse(_world: World, _load: Load) -> None:
        for one in proxies:
            one.refuse()

    def take_again(_world: World, _load: Load) -> None:
        for one in proxies:
            one.take_again()

    return (
        Case(
            name="slow: MLflow and Prefect, 1 s for each piece",
            begin=partial(slow, seconds=1.0),
            end=partial(slow, seconds=0.0),
            lasts_s=15,
            well=_both_well,
            patience_s=120,
        ),
        Case(
            name="network loss: all that is optional swallows everything",
            begin=partial(silent, now=True),
            end=partial(silent, now=False),
            lasts_s=15,
            well=_both_well,
            patience_s=150,
        ),
        Case(
            name="network loss: all that is optional refuses",
            begin=refuse,
            end=take_again,
            lasts_s=15,
            well=_both_well,
            patience_s=150,
        ),
    )


def _both_well(world: World) -> bool:
    return mirror_is_well(world) and prefect_is_well(world)


@contextmanager
def _server(folder: Path, name: str, port: int) -> Iterator[None]:
    """Run a server of one's own, which no tree starts again."""
    where = ("--host", "127.0.0.1", "--port", str(port))
    home = folder / name
    home.mkdir(parents=True)
    commands = {
        "mlflow": (
            *("mlflow", "server", "--workers", "1", *where),
            *("--backend-store-uri", f"sqlite:///{home / 'mlflow.sqlite'}"),
            *("--artifacts-destination", str(home / "artifacts")),
        ),
        "prefect": ("prefect", "server", "start", *where),
    }
    health = {"mlflow": "/health", "prefect": "/api/health"}[name]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*python(), "-m", *commands[name]],
            env={**os.environ, **_LEAN, "PREFECT_HOME": str(home)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}{health}"
        wait(lambda: _up(url), 150, lambda: f"{name} did not start: see {home}")
        yield
    finally:
        _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for number in (15, 9):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _up(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def on_a_disk(folder: Path, run: Run) -> None:
    """The tree alone, its data on a small disk of its own."""
    with disks.disk(folder) as disk, running(_alone(folder, data=disk.at / "data")) as world:
        run(world, (*_of_disk(disk), _PAGE))


def _of_disk(disk: disks.Disk) -> tuple[Case, ...]:
    def restart(world: World, _load: Load) -> None:
        world.stop()
        disk.mend()
        world.start()

    return (
        Case(
            name="disk full",
            begin=lambda _w, _l: disk.fill(),
            end=lambda _w, _l: disk.free(),
            serves=False,
        ),
        Case(
            name="disk hangs",
            begin=lambda _w, _l: disk.freeze(),
            end=lambda _w, _l: disk.thaw(),
            serves=False,
        ),
        Case(
            name="disk fails and is read-only; checked, mounted, started again",
            begin=lambda _w, _l: disk.fail(),
            end=restart,
            serves=False,
        ),
    )


def _spoil(world: World, _load: Load) -> None:
    disks.spoil_a_page(world.database)


def _says_that_it_is_broken(world: World) -> bool:
    """Tell whether people hear of a page that cannot be read: by the API's health, or by verify."""
    if "malformed" in json.dumps(world.get("/health")):
        return True
    command = [*python(), "-m", "continualml", "verify", "--data", str(world.data)]
    command += ["--config", str(world.folder / "continual.toml")]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    return told.returncode == 1 and "malformed" in told.stdout + told.stderr


_PAGE = Case(
    name="corrupt page of the database: somebody says it",
    begin=_spoil,
    well=_says_that_it_is_broken,
    serves=False,
    spoils=True,
)


def with_a_clock(folder: Path, run: Run) -> None:
    """The tree alone, under a clock that can be set."""
    folder.mkdir(parents=True)
    library, clock = folder / "clock.so", folder / "clock"
    compiler = ("cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(_CLOCK), "-ldl")
    subprocess.run(compiler, check=True)
    _set(clock, 0)
    environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(clock)}
    with running(_alone(folder, environment=environment)) as world:
        run(world, _of_clock(clock))


def _of_clock(clock: Path) -> tuple[Case, ...]:
    def jump(name: str, hours: float) -> Case:
        return Case(
            name=f"clock jumps {name}",
            begin=lambda _w, _l: _set(clock, hours),
            lasts_s=8,
            well=lambda world: _courier_tries(world, hours),
        )

    return (
        jump("an hour ahead", 1),
        jump("back to the right time", 0),
        jump("a day back", -24),
        jump("a day ahead, to the right time", 0),
    )


def _courier_tries(world: World, hours: float) -> bool:
    """Tell whether the message that waits will be tried again within a minute of that clock."""
    with closing(sqlite3.connect(world.database, timeout=30)) as conn:
        asked = "SELECT due_at FROM outbox WHERE state = 'waiting' ORDER BY id LIMIT 1"
        (due_at,) = conn.execute(asked).fetchone()
    now = datetime.now(UTC).timestamp() + hours * 3_600
    return abs(float(due_at) - now) < 60


def _set(clock: Path, hours: float) -> None:
    """Write how far the clock is ahead; in place, as every process has it mapped."""
    clock.touch()
    with clock.open("r+b") as file:
        file.write(struct.pack("<q", round(hours * 3_600)))


def no_clock() -> str | None:
    """Say why no clock can be set here; None if one can."""
    return None if shutil.which("cc") else "a clock that can be set needs a C compiler"


def _alone(folder: Path, *, data: Path | None = None, environment: dict[str, str] = {}) -> World:  # noqa: B006  never written
    """Nobody listens where MLflow and Prefect should be: API, timer and courier are enough."""
    nobody = free_port()
    return begun(
        folder,
        data=data,
        environment={
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{nobody}",
            "PREFECT_API_URL": f"http://127.0.0.1:{nobody}/api",
            **environment,
        },
    )
