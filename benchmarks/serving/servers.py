"""Who is measured, how each is started, and what each is asked."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.serving import champions, environments
from benchmarks.serving.bodies import ROOT
from benchmarks.serving.processes import DidNotServeError, free_ports

CONNECTIONS: Final = (1, 16, 64)
OURS: Final = "durable log"
# Nobody is told anything; uvicorn's access log costs MLflow and says nothing here.
_QUIET: Final = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "UVICORN_ACCESS_LOG": "false",
}
_PYTHON_M: Final = (sys.executable, "-m")
_V2: Final = "/v2/models/electricity/infer"


class Cell(NamedTuple):
    """One load: the form of the body, rows in it, and connections."""

    form: str
    rows: int
    connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server in one configuration.

    Parameters
    ----------
    peer
        Whose environment it runs in; ours if empty.
    routes
        Where each form of a body goes.
    cells
        What it is asked; single rows first, as its memory is read after them.
    """

    name: str
    peer: str = ""
    workers: int = 1
    app: str = ""
    champion: str = "logistic regression"
    routes: Mapping[str, str]
    cells: tuple[Cell, ...] = field(repr=False)

    @property
    def full_name(self) -> str:
        """Name it with the number of its workers."""
        return f"{self.name}, {self.workers} worker{'s' * (self.workers > 1)}"


def cell_name(server: Server, cell: Cell) -> str:
    """Name a cell of the results."""
    rows = f"{cell.rows:,} row{'s' * (cell.rows > 1)} {cell.form}"
    return f"{server.full_name} | {rows} | {cell.connections} connections"


def _cells(forms: Mapping[str, tuple[int, ...]], connections: tuple[int, ...]) -> tuple[Cell, ...]:
    found = [Cell(f, n, c) for f, sizes in forms.items() for n in sizes for c in connections]
    return tuple(sorted(found, key=lambda cell: cell.rows))


def _all() -> tuple[Server, ...]:
    ours = {
        "named": "/predict",
        "tensor": _V2,
        "split": "/invocations",
    }
    full = _cells({"named": (1, 100, 1_000), "tensor": (100, 1_000)}, CONNECTIONS)
    same = _cells({"tensor": (1,), "split": (1, 1_000)}, (16,))
    every = tuple(sorted((*full, *same), key=lambda cell: cell.rows))
    few = (*_cells({"named": (1,)}, (1, 16)), Cell("tensor", 1_000, 16))
    tutorial = {"named": "/predict", "plain": "/batch"}
    single = _cells({"named": (1,), "plain": (100, 1_000)}, CONNECTIONS)
    peers = {
        "MLflow models serve": ("mlflow", "split", "/invocations"),
        "BentoML": ("bentoml", "plain", "/predict"),
        "MLServer": ("mlserver", "tensor", _V2),
        "LitServe": ("litserve", "plain", "/predict"),
    }
    grid: list[Server] = []
    for n in (1, 2):
        grid.append(Server(name=OURS, workers=n, routes=ours, cells=every))
        grid.append(
            Server(
                name="tutorial",
                peer="tutorial",
                app="app",
                workers=n,
                routes=tutorial,
                cells=single,
            )
        )
        grid += [
            Server(
                name=name,
                peer=peer,
                workers=n,
                routes={form: path},
                cells=_cells({form: (1, 100, 1_000)}, CONNECTIONS),
            )
            for name, (peer, form, path) in peers.items()
        ]
    bare = (*_cells({"named": (1,)}, CONNECTIONS), Cell("tensor", 1_000, 16))
    return (
        *grid,
        Server(name="without log", app="unlogged", routes=ours, cells=bare),
        *(
            Server(name=f"durable log, {name}", champion=name, routes=ours, cells=few)
            for name in (champions.BLEND, "LightGBM", "random forest")
        ),
        Server(
            name="tutorial, def",
            peer="tutorial",
            app="threaded",
            routes=tutorial,
            cells=_cells({"named": (1,)}, CONNECTIONS),
        ),
    )


SERVERS: Final = _all()


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How one server is started now, on a port that is free."""

    command: tuple[str, ...]
    env: dict[str, str]
    url: str


def start_of(server: Server, folder: Path, token: str) -> Start:
    """Prepare one start; ``folder`` holds what ``champions.make_all`` made.

    Raises
    ------
    DidNotServeError
        If a peer cannot keep the model in its own form.
    """
    ports = free_ports(3)
    url = f"http://127.0.0.1:{ports[0]}"
    if not server.peer:
        return _start_of_ours(server, folder, token, url, ports[0])
    bin_ = environments.of(server.peer) / "bin"
    env = {k: v for k, v in os.environ.items() if k not in {"PYTHONHOME", "VIRTUAL_ENV"}} | {
        **_QUIET,
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "PYTHONPATH": str(environments.PEERS),
        "SERVING_MODEL": str(folder / "model.json"),
        "SERVING_WORKERS": str(server.workers),
        "SERVING_PORTS": " ".join(map(str, ports)),
        "BENTOML_HOME": str(folder / "bentoml"),
    }
    command = _command(server, folder, bin_, ports[0], env)
    return Start(command=command, env=env, url=url)


def _start_of_ours(server: Server, folder: Path, token: str, url: str, port: int) -> Start:
    """Start from a fresh copy: what an earlier round logged is not ours to carry."""
    data = folder / "serving"
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(folder / server.champion, data)
    env = os.environ | {
        "CONTINUAL_CONFIG": str(champions.CONFIG),
        "CONTINUAL_DATA": str(data),
        "CONTINUAL_PORT": str(port),
        "CONTINUAL_WORKERS": str(server.workers),
        "API_KEY": token,
    }
    module = "benchmarks.serving.unlogged" if server.app else "continualml.app.api"
    env["PYTHONPATH"] = str(ROOT)
    return Start(command=(*_PYTHON_M, module), env=env, url=url)


def _command(
    server: Server, folder: Path, bin_: Path, port: int, env: Mapping[str, str]
) -> tuple[str, ...]:
    at = ("--host", "127.0.0.1", "--port", str(port))
    workers = ("--workers", str(server.workers))
    kept = folder / server.peer
    if server.peer == "tutorial":
        app = f"tutorial_app:{server.app}"
        return (str(bin_ / "uvicorn"), app, *at, *workers, "--log-level", "warning")
    if server.peer == "litserve":
        return (str(bin_ / "python"), "-m", "litserve_app")
    if server.peer == "bentoml":
        source = ("--working-dir", str(environments.PEERS))
        return (str(bin_ / "bentoml"), "serve", "bentoml_app:Probabilities", *at, *source)
    if server.peer == "mlserver" or not kept.exists():
        script = f"{server.peer}_model"
        keep = (str(bin_ / "python"), "-m", script, str(kept))
        run = subprocess.run(keep, env=dict(env), capture_output=True, timeout=120, check=False)
        if run.returncode:
            raise DidNotServeError(run.stderr.decode("utf-8", "replace")[-300:])
    if server.peer == "mlserver":
        return (str(bin_ / "mlserver"), "start", str(kept))
    model = ("models", "serve", "--model-uri", str(kept), "--env-manager", "local")
    return (str(bin_ / "mlflow"), *model, *at, *workers)
