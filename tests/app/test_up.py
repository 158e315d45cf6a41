import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from continualml import settings
from continualml.app import up

pytestmark = pytest.mark.journey

# A small tree: one that stays (with a child of its own), one that dies each time, one that ends.
TREE = """
import sys
from pathlib import Path
from continualml.app.up import Component, Watch

def python(code):
    return (sys.executable, "-c", code)

stays = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', " \\
    "'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(99)'], " \\
    "start_new_session=True); time.sleep(99)"
watch = Watch(
    (
        Component(name="stays", command=python(stays)),
        Component(name="dies", command=python("raise SystemExit(7)")),
        Component(name="ends", command=python("pass"), once=True),
    ),
    {}, Path(sys.argv[1]), lambda line: print(line, flush=True),
)
sys.exit(watch.run(lambda: print("all healthy", flush=True)))
"""


def test_what_dies_is_started_again_and_at_the_end_nobody_is_left(tmp_path: Path) -> None:
    watch = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(TREE), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(5)
    family = psutil.Process(watch.pid).children(recursive=True)
    assert len(family) >= 2
    began = time.monotonic()
    watch.send_signal(signal.SIGINT)
    said, _ = watch.communicate(timeout=15)

    assert time.monotonic() - began < 10
    assert watch.returncode == 0
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)
    assert "stays      healthy after" in said
    assert "ends       finished" in said
    pauses = [line.split("again in ")[1].split()[0] for line in said.splitlines() if "died" in line]
    assert pauses[:3] == ["0.5", "1", "2"]


def test_what_a_dead_component_left_behind_is_ended_with_it(tmp_path: Path) -> None:
    leaves = (
        "import os, subprocess, sys, time; "
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']).pid, "
        "flush=True); time.sleep(1); os._exit(3)"
    )
    watch = (
        "import sys; from pathlib import Path; from continualml.app.up import Component, Watch; "
        f"code = {leaves!r}; "
        "w = Watch((Component(name='c', command=(sys.executable, '-c', code)),), {}, "
        "Path(sys.argv[1]), print); sys.exit(w.run(lambda: None))"
    )
    tree = subprocess.Popen([sys.executable, "-c", watch, str(tmp_path)], stdout=subprocess.DEVNULL)
    time.sleep(2.5)
    orphan = int((tmp_path / "c.log").read_text("utf-8").split()[0])
    left = psutil.pid_exists(orphan) and psutil.Process(orphan).status() != psutil.STATUS_ZOMBIE
    tree.send_signal(signal.SIGINT)
    tree.wait(timeout=15)
    assert not left


def test_a_taken_port_gives_way_to_the_next_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        project, said = up._free_ports(settings.load(port=port))  # noqa: SLF001  no other seam
    assert project.settings.port > port
    assert said == [f"port {port} is taken (CONTINUAL_PORT), using {project.settings.port}"]


def test_the_whole_tree_comes_up_turns_under_prefect_and_mirrors_to_mlflow(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    log = (tmp_path / "up.log").open("wb")
    tree = subprocess.Popen(
        [
            *(sys.executable, "-m", "continualml", "up", "--data", str(tmp_path / "data")),
            *("--config", str(root / "examples/electricity/continual.toml")),
            *("--replay", str(root / "examples/electricity/electricity.csv.gz"), "--speed", "60"),
        ],
        stdout=log,
        stderr=subprocess.STDOUT,
        env=os.environ
        | {"CHECK_INTERVAL_SECONDS": "12"}
        | {f"CONTINUAL_{n}": str(_free_port()) for n in ("PORT", "PREFECT_PORT", "MLFLOW_PORT")},
    )
    try:
        _watch_the_tree(tree, tmp_path)
    finally:
        family = psutil.Process(tree.pid).children(recursive=True)
        tree.send_signal(signal.SIGINT)
        began = time.monotonic()
        tree.wait(timeout=20)
        log.close()
    assert time.monotonic() - began < 10
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)


def _watch_the_tree(tree: subprocess.Popen[bytes], tmp_path: Path) -> None:
    said = tmp_path / "up.log"
    _until(lambda: "Everything runs" in said.read_text("utf-8"), 90, said)
    env = psutil.Process(tree.pid).environ()
    token = (tmp_path / "data/admin.token").read_text("utf-8").strip()
    with (
        httpx.Client(
            base_url=f"http://127.0.0.1:{env['CONTINUAL_PORT']}",
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        ) as api,
        httpx.Client(
            base_url=f"http://127.0.0.1:{env['CONTINUAL_PREFECT_PORT']}/api", trust_env=False
        ) as prefect,
    ):
        _watch_the_shells(tree, api, prefect, said)


def _watch_the_shells(
    tree: subprocess.Popen[bytes], api: httpx.Client, prefect: httpx.Client, said: Path
) -> None:
    def scheduled_runs() -> int:
        body = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}, "limit": 50}
        runs = prefect.post("/flow_runs/filter", json=body).raise_for_status().json()
        return sum(1 for r in runs if r["auto_scheduled"])

    _until(lambda: scheduled_runs() >= 1, 90, said)

    def verbs_are_visible() -> bool:
        tasks = prefect.post("/task_runs/filter", json={"limit": 200}).raise_for_status().json()
        return {"check", "decide"} <= {t["name"].rsplit("-", 1)[0] for t in tasks}

    _until(verbs_are_visible, 60, said)

    def mirrored() -> bool:
        part = api.get("/health").json()["components"]["mlflow"]
        return bool(part["messages"].get("delivered", 0) > 3)

    _until(mirrored, 60, said)

    server = next(
        p
        for p in psutil.Process(tree.pid).children()
        if "prefect" in p.cmdline() and "server" in p.cmdline()
    )
    rows = _rows(api)
    for process in [*server.children(recursive=True), server]:
        process.kill()
    _until(lambda: _rows(api) > rows + 96, 60, said)  # the timer turns on without Prefect
    before = scheduled_runs_after_return(prefect, scheduled_runs, said)
    _until(lambda: scheduled_runs() > before, 90, said)  # and its schedule resumes


def scheduled_runs_after_return(prefect: httpx.Client, count: Callable[[], int], said: Path) -> int:
    def back() -> bool:
        try:
            return prefect.get("/health").is_success
        except httpx.TransportError:
            return False

    _until(back, 60, said)
    return count()


def _rows(api: httpx.Client) -> int:
    told = api.get("/models/electricity").raise_for_status().json()
    return int(told["loop"]["rows"])


def _until(true: Callable[[], bool], seconds: float, log: Path) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, log.read_text("utf-8")[-3_000:]
        time.sleep(0.3)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
