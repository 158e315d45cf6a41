import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

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
