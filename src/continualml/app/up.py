"""One process tree: start every component, say when each is healthy, restart it, end them all."""

import ctypes
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

import httpx
import psutil
from rich.console import Console

from continualml import settings
from continualml.app import pages, ports, tree
from continualml.app.components import configured
from continualml.app.telling import Telling
from continualml.settings import Project
from continualml.store import private
from continualml.store.engine import open_store

_LOOK_S = 0.25
_PORTS_TRIED = 50
_LONGEST_PAUSE_S = 30.0
_ANSWER_S = 1.0
_MOST_LOG_BYTES = 16 << 20
_STEADY_S = 2.0
_DEATH_SIGNAL, _SUBREAPER = 1, 36  # numbers of prctl
_LIBC = ctypes.CDLL(None)

_LEAN = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The second of its two pages asks amplitude.com, whatever is said about analytics.
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One process to keep running.

    Parameters
    ----------
    health
        URL that answers 200 when it is healthy; None: it is when it has run for two seconds.
    once
        It ends by itself with exit code 0, and is not started again then.
    after
        Component that must be healthy before it is started.
    environment
        What it gets beside the environment of all.
    """

    name: str
    command: tuple[str, ...]
    health: str | None = None
    address: str | None = None
    once: bool = False
    after: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class _Running:
    component: Component
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    due: float = 0.0
    healthy_since: float | None = None
    done: bool = False
    log: IO[bytes] | None = field(default=None)

    @property
    def healthy(self) -> bool:
        return self.healthy_since is not None


def run(project: Project, *, lock: int, stream: tuple[str, ...] | None = None) -> int:
    """Run the embedded default until Ctrl-C.

    Parameters
    ----------
    lock
        Descriptor of ``tree.hold``.
    stream
        Command of a replay, if one runs.
    """
    console = Console(highlight=False, markup=False, soft_wrap=True)
    project, said = _free_ports(project)
    for line in said:
        console.print(line)
    environment = {**os.environ, **_LEAN, **_environment(project)}
    watch = Watch(
        components(project, stream),
        environment,
        project.settings.data / "logs",
        console.print,
        lock=lock,
    )
    telling = Telling(open_store(project.settings.database_url), watch.log("stream"), watch.say)
    return watch.run(lambda: _addresses(project, console), telling.look)


def components(project: Project, stream: tuple[str, ...] | None) -> tuple[Component, ...]:
    """List what runs, the API first; servers of your own are not started a second time."""
    said, data = project.settings, project.settings.data.absolute()
    login = pages.login_in(said.page_login, data / "mlflow")
    python = sys.executable
    api = f"http://{said.host}:{said.port}"
    some = [
        Component(
            name="api",
            command=(python, "-m", "continualml.app.api"),
            health=f"{api}/livez",
            address=f"{api}/docs",
        ),
        Component(name="timer", command=(python, "-m", "continualml.app.timer")),
    ]
    if stream is not None:
        some.append(Component(name="stream", command=stream, once=True, after="api"))
    if importlib.util.find_spec("streamlit"):
        url = f"http://{said.host}:{said.dashboard_port}"
        some.append(
            Component(
                name="dashboard",
                command=(python, "-m", "continualml.app.dashboard"),
                health=f"{url}/_stcore/health",
                address=url,
            )
        )
    if importlib.util.find_spec("mlflow") and said.mlflow_tracking_uri is None:
        url = f"http://127.0.0.1:{said.mlflow_port}"
        store = f"sqlite:///{data / 'mlflow' / 'mlflow.sqlite'}"
        command: tuple[str, ...] = (
            *(python, "-m", "mlflow", "server", "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(said.mlflow_port)),
            *("--app-name", "basic-auth", "--backend-store-uri", store),
            *("--artifacts-destination", str(data / "mlflow" / "artifacts")),
        )
        some.append(
            Component(
                name="mlflow",
                command=command,
                health=f"{url}/health",
                address=url,
                environment=pages.of_mlflow_server(login, data / "mlflow"),
            )
        )
    if importlib.util.find_spec("mlflow") or configured(project):
        some.append(
            Component(
                name="courier",
                command=(python, "-m", "continualml.app.courier"),
                environment=(
                    pages.of_mlflow_client(login) if said.mlflow_tracking_uri is None else {}
                ),
            )
        )
    if importlib.util.find_spec("prefect"):
        if said.prefect_api_url is None:
            url = f"http://127.0.0.1:{said.prefect_port}"
            command = (
                *(python, "-m", "prefect", "server", "start"),
                *("--host", "127.0.0.1", "--port", str(said.prefect_port)),
            )
            some.append(
                Component(
                    name="prefect",
                    command=command,
                    health=f"{url}/api/health",
                    address=url,
                    environment=pages.of_prefect_server(login),
                )
            )
        some.append(
            Component(
                name="scheduled",
                command=(python, "-m", "continualml.app.scheduled"),
                after="prefect" if said.prefect_api_url is None else None,
                environment=(
                    pages.of_prefect_client(login) if said.prefect_api_url is None else {}
                ),
            )
        )
    return tuple(some)


class Watch:
    """Keeps components running; what they print goes to one log file each.

    Parameters
    ----------
    say
        Prints one line for people.
    lock
        Descriptor that holds the data directory, until the last process is gone.
    """

    def __init__(
        self,
        components: tuple[Component, ...],
        environment: Mapping[str, str],
        logs: Path,
        say: Callable[[str], None],
        *,
        lock: int | None = None,
    ) -> None:
        self._running = [_Running(component=c) for c in components]
        self._mark = uuid.uuid4().hex
        self._environment = {**environment, tree.MARK: self._mark}
        self._logs = logs
        self._print = say
        self._lock = lock
        self._stopped = False
        self._began = time.monotonic()
        # One for all looks: to make one costs twenty times as much as to ask.
        self._client = httpx.Client(
            timeout=_ANSWER_S, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )

    def log(self, name: str) -> Path:
        """Name the file that takes what a component prints."""
        return self._logs / f"{name}.log"

    def run(
        self, when_healthy: Callable[[], None], between: Callable[[], None] | None = None
    ) -> int:
        """Watch until SIGINT, SIGTERM or SIGHUP; then leave no process behind.

        ``when_healthy`` is called once, ``between`` after every look at the components.
        """
        _LIBC.prctl(_SUBREAPER, 1)  # orphans come to us, so that none is left
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
                signal.signal(number, self._stop)
        private.make_folder(self._logs)
        keeper = self._start_keeper()
        told = False
        try:
            while not self._stopped:
                for one in self._running:
                    self._look(one)
                    bound(self.log(one.component.name))
                if not told and all(r.healthy or r.done for r in self._running):
                    told = True
                    when_healthy()
                if between is not None:
                    between()
                time.sleep(_LOOK_S)
        finally:
            self._end()
            self._client.close()
            keeper.communicate()
        return 0

    def say(self, line: str) -> None:
        """Print a line, as long as anybody can read it."""
        try:
            self._print(line)
        except OSError:  # the terminal was closed: nobody reads it, and all must be ended
            self._print = _to_nobody

    def _start_keeper(self) -> subprocess.Popen[bytes]:
        """Start the process that ends the tree if this one is killed."""
        return subprocess.Popen(  # noqa: S603  our own module, no shell
            (sys.executable, "-m", "continualml.app.keeper", self._mark),
            stdin=subprocess.PIPE,
            pass_fds=() if self._lock is None else (self._lock,),
            start_new_session=True,
        )

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopped = True

    def _look(self, one: _Running) -> None:
        now = time.monotonic()
        if one.done or now < one.due:
            return
        if one.process is None:
            if self._may_start(one):
                self._start(one)
        elif (code := one.process.poll()) is not None:
            self._died(one, code)
        elif one.healthy_since is None and self._answers(one):
            one.healthy_since = now
            where = f"  {one.component.address}" if one.component.address else ""
            self.say(f"{one.component.name:<10} healthy after {now - self._began:4.1f} s{where}")
        elif one.healthy_since is not None and now - one.healthy_since > _LONGEST_PAUSE_S:
            one.failures = 0

    def _may_start(self, one: _Running) -> bool:
        after = one.component.after
        return all(r.healthy for r in self._running if r.component.name == after)

    def _start(self, one: _Running) -> None:
        one.log = self.log(one.component.name).open("ab")
        one.process = subprocess.Popen(  # noqa: S603  our own components, no shell
            one.component.command,
            stdin=subprocess.DEVNULL,
            stdout=one.log,
            stderr=subprocess.STDOUT,
            env={**self._environment, **one.component.environment},
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509  there are no threads here
        )
        one.started, one.healthy_since = time.monotonic(), None

    def _died(self, one: _Running, code: int) -> None:
        if one.process is not None:
            _end_group(one.process.pid)
        one.process, one.healthy_since = None, None
        if one.log:
            one.log.close()
        if one.component.once and code == 0:
            one.done = True
            self.say(f"{one.component.name:<10} finished")
            return
        pause = _pause_s(one.failures)
        one.failures += 1
        one.due = time.monotonic() + pause
        path = self.log(one.component.name)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        again = f"again in {pause:g} s" if pause else "started again"
        self.say(f"{one.component.name:<10} died ({how}), {again}; see {path}")
        if not pause and self._may_start(one):
            self._start(one)

    def _answers(self, one: _Running) -> bool:
        if one.component.health is None:
            return time.monotonic() - one.started >= _STEADY_S
        try:
            return self._client.get(one.component.health).is_success
        except httpx.HTTPError:
            return False  # not up yet

    def _end(self) -> None:
        """Ask everybody to stop, then make them; children of children too."""
        self.say("stopping")
        me = psutil.Process()
        everybody = me.children(recursive=True)
        tree.tell(everybody, signal.SIGTERM)
        psutil.wait_procs(everybody, timeout=tree.TERM_S)
        for _ in range(10):
            left = [p for p in me.children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
            if not left:
                break
            tree.tell(left, signal.SIGKILL)
            psutil.wait_procs(left, timeout=0.3)
        for one in self._running:
            if one.process is not None:
                one.process.wait()
            if one.log:
                one.log.close()
        self.say("stopped")


def bound(log: Path) -> None:
    """Keep the last 16 to 32 MB of what a process printed: the older part moves to ``….log.1``.

    It is copied and cut, as the process goes on writing to the same file, at its end. What it
    prints just between the two is not kept.
    """
    try:
        if log.stat().st_size > _MOST_LOG_BYTES:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            os.truncate(log, 0)
    except OSError:
        return  # not there yet, or no room for a copy: all goes on as it is


def _pause_s(failures: int) -> float:
    """Say how long a component that died rests: not at all the first time since it was well."""
    return min(_LONGEST_PAUSE_S, 0.5 * 2 ** (failures - 1)) if failures else 0.0


def _end_group(leader: int) -> None:
    """End what a dead component left behind: its workers would keep its port."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return  # it left nobody


def _end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies: with it and its keeper, all would stay."""
    _LIBC.prctl(_DEATH_SIGNAL, signal.SIGTERM)


def _to_nobody(_line: str) -> None:
    """Print nothing."""


def _environment(project: Project) -> dict[str, str]:
    said = project.settings
    written = settings.environment(said)
    written["CONTINUAL_CONFIG"] = str(said.config.absolute())
    written["CONTINUAL_DATA"] = str(said.data.absolute())
    prefect = said.prefect_api_url or f"http://127.0.0.1:{said.prefect_port}/api"
    mlflow = said.mlflow_tracking_uri
    if mlflow is None and importlib.util.find_spec("mlflow"):
        mlflow = f"http://127.0.0.1:{said.mlflow_port}"
    written |= {
        "PREFECT_API_URL": prefect,
        "PREFECT_HOME": str(said.data.absolute() / "prefect"),
        # By default any page that is open in a browser here may pause, double or cancel runs.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(
            f"http://{host}:{said.prefect_port}" for host in ("127.0.0.1", "localhost")
        ),
        "CONTINUAL_PREFECT_API_URL": prefect,
    }
    if said.dashboard_url is None and importlib.util.find_spec("streamlit"):
        written["CONTINUAL_DASHBOARD_URL"] = f"http://{said.host}:{said.dashboard_port}"
    if mlflow is not None:
        written["CONTINUAL_MLFLOW_TRACKING_URI"] = mlflow
    return written


def _free_ports(project: Project) -> tuple[Project, list[str]]:
    """Take the next free port where one is taken, and say so with the setting's name."""
    changed: dict[str, int] = {}
    said: list[str] = []
    for name in ("port", "dashboard_port", "prefect_port", "mlflow_port"):
        wanted = port = getattr(project.settings, name)
        while not ports.is_free(project.settings.host, port) or port in changed.values():
            port += 1
            if port > wanted + _PORTS_TRIED:
                break
        changed[name] = port
        if port != wanted:
            said.append(f"port {wanted} is taken (CONTINUAL_{name.upper()}), using {port}")
    chosen = project.settings.model_copy(update=changed)
    return Project(settings=chosen, models=project.models, default=project.default), said


def _addresses(project: Project, console: Console) -> None:
    said = project.settings
    console.print("\nEverything runs. Open")
    if importlib.util.find_spec("streamlit"):
        console.print(f"  http://{said.host}:{said.dashboard_port}  the dashboard, for people")
    console.print(f"  http://{said.host}:{said.port}/docs  the API, and what it knows")
    if importlib.util.find_spec("prefect") and said.prefect_api_url is None:
        console.print(f"  http://127.0.0.1:{said.prefect_port}  the cycles, in Prefect")
    if importlib.util.find_spec("mlflow") and said.mlflow_tracking_uri is None:
        console.print(f"  http://127.0.0.1:{said.mlflow_port}  runs and versions, in MLflow")
    if said.prefect_api_url is None or said.mlflow_tracking_uri is None:
        console.print(f"Prefect and MLflow ask for a login; user:password is in {said.page_login}.")
    token = "is API_KEY" if said.api_key is not None else f"is in {said.admin_token}"
    console.print(f"The admin token {token}; Ctrl-C ends all of it.")
