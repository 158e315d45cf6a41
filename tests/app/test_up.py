import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from continualml import cli, settings
from continualml.app import tree, up
from continualml.errors import AlreadyRunningError

pytestmark = pytest.mark.journey

MODEL = """
[models.m]
kind = "regression"
target = "y"
features = { x = "numeric" }
"""

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
    out = tmp_path / "out"
    with out.open("w", encoding="utf-8") as file:
        watch = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(TREE), str(tmp_path)], stdout=file
        )
    _until(lambda: "again in 2 s" in (said := out.read_text("utf-8")) and "stays" in said, 40)
    family = psutil.Process(watch.pid).children(recursive=True)
    assert len(family) >= 2
    began = time.monotonic()
    watch.send_signal(signal.SIGINT)
    watch.wait(timeout=15)
    said = out.read_text("utf-8")

    assert time.monotonic() - began < 10
    assert watch.returncode == 0
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)
    assert "stays      healthy after" in said
    assert "ends       finished" in said
    died = [line.split("), ")[1].split(";")[0] for line in said.splitlines() if "died" in line]
    assert died[:4] == ["started again", "again in 0.5 s", "again in 1 s", "again in 2 s"]


def test_only_who_was_well_for_long_is_started_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "_LONGEST_PAUSE_S", 0.1)
    monkeypatch.setattr(up, "_STEADY_S", 0.2)  # its start takes longer than that
    said: list[str] = []
    component = up.Component(name="c", command=("sleep", "99"))
    watch = up.Watch((component,), dict(os.environ), tmp_path, said.append)
    (one,) = watch._running  # noqa: SLF001  no other seam

    def killed() -> str:
        assert one.process is not None
        one.process.kill()
        one.process.wait()
        watch._look(one)  # noqa: SLF001
        return said[-1].split("), ")[1].split(";")[0]

    def well(for_s: float) -> None:
        def is_well() -> bool:
            watch._look(one)  # noqa: SLF001
            return one.healthy

        _until(is_well, 5)
        time.sleep(for_s)
        watch._look(one)  # noqa: SLF001

    watch._look(one)  # noqa: SLF001
    well(0.15)
    assert killed() == "started again"
    well(0.0)
    assert killed() == "again in 0.1 s"
    well(0.15)
    assert killed() == "started again"
    assert killed() == "again in 0.1 s"
    watch._client.close()  # noqa: SLF001


def test_what_a_process_prints_is_kept_up_to_a_size_and_it_goes_on_printing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "_MOST_LOG_BYTES", 1_000)
    log = tmp_path / "api.log"
    with log.open("ab", buffering=0) as file:  # as a component has it
        file.write(b"x" * 1_000)
        up.bound(log)
        assert [p.name for p in tmp_path.iterdir()] == ["api.log"]
        file.write(b"the last of the first part\n")
        up.bound(log)
        file.write(b"and on\n")
    assert log.read_bytes() == b"and on\n"
    assert (tmp_path / "api.log.1").read_bytes().endswith(b"the last of the first part\n")
    up.bound(tmp_path / "not-there.log")


def test_closing_the_terminal_ends_all_of_it_though_nobody_reads_what_is_said(
    tmp_path: Path,
) -> None:
    read_end, write_end = os.pipe()
    watch = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(TREE), str(tmp_path)],
        stdout=write_end,
        stderr=subprocess.DEVNULL,
    )
    os.close(write_end)
    family = _grown(watch.pid)
    os.close(read_end)
    watch.send_signal(signal.SIGHUP)
    watch.wait(timeout=10)

    assert not _alive(family)


@pytest.mark.parametrize("keeper_too", [False, True])
def test_a_tree_whose_first_process_is_killed_ends(tmp_path: Path, keeper_too: bool) -> None:
    watch = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(TREE), str(tmp_path)], stdout=subprocess.DEVNULL
    )
    family = _grown(watch.pid)
    keepers = [p for p in family if "continualml.app.keeper" in p.cmdline()]
    stubborn = [p for p in family if "signal.signal" in p.cmdline()[-1] and p not in keepers]
    assert len(keepers) == 1
    for process in keepers if keeper_too else []:
        process.kill()
    watch.kill()
    watch.wait(timeout=5)

    # Without its keeper, a grandchild that ignores SIGTERM is beyond reach.
    must_end = [p for p in family if p not in stubborn] if keeper_too else family
    _until(lambda: not _alive(must_end), 10)
    for process in _alive(family):
        process.kill()


def test_a_second_tree_on_the_same_data_is_refused_until_the_last_of_the_first_is_gone(
    tmp_path: Path,
) -> None:
    held = (
        "import sys; from pathlib import Path; from continualml.app import tree; "
        "from continualml.app.up import Component, Watch\n"
        "with tree.hold(Path(sys.argv[1])) as lock:\n"
        "    code = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "time.sleep(99)'\n"
        "    one = Component(name='c', command=(sys.executable, '-c', code))\n"
        "    Watch((one,), {}, Path(sys.argv[1]), print, lock=lock).run(lambda: None)\n"
    )
    first = subprocess.Popen([sys.executable, "-c", held, str(tmp_path)], stdout=subprocess.DEVNULL)
    family = _grown(first.pid)
    assert tree.holder(tmp_path) == first.pid
    with pytest.raises(AlreadyRunningError, match=f"already running here, pid {first.pid}"):
        tree.hold(tmp_path).__enter__()

    first.kill()
    first.wait(timeout=5)
    assert tree.holder(tmp_path) == first.pid  # its keeper still ends the others
    with tree.hold(tmp_path):
        assert not _alive(family)
    assert tree.holder(tmp_path) is None


def test_up_says_who_runs_already_and_exits_with_5(tmp_path: Path) -> None:
    (tmp_path / "continual.toml").write_text(MODEL, encoding="utf-8")
    with tree.hold(tmp_path / ".continual"):
        second = subprocess.run(
            [sys.executable, "-m", "continualml", "up"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert second.returncode == cli.RUNNING
    assert f"already running here, pid {os.getpid()}" in second.stderr


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
    whole = subprocess.Popen(
        [sys.executable, "-c", watch, str(tmp_path)], stdout=subprocess.DEVNULL
    )
    log = tmp_path / "c.log"
    _until(lambda: log.exists() and log.read_text("utf-8").endswith("\n"), 40)
    orphan = int(log.read_text("utf-8").split()[0])
    _until(lambda: not psutil.pid_exists(orphan) or not _alive([psutil.Process(orphan)]), 15)
    whole.send_signal(signal.SIGINT)
    whole.wait(timeout=15)


def test_a_taken_port_gives_way_to_the_next_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        project, said = up._free_ports(settings.load(port=port))  # noqa: SLF001  no other seam
    assert project.settings.port > port
    assert said == [f"port {port} is taken (CONTINUAL_PORT), using {project.settings.port}"]


def _grown(pid: int) -> list[psutil.Process]:
    """Wait until a small tree has started and its signals are set; list all but the first."""
    _until(lambda: len(tree.family(pid)) > 2, 40)
    time.sleep(1.5)
    return tree.family(pid)[1:]


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def _until(true: Callable[[], bool], most_s: float) -> None:
    until = time.monotonic() + most_s
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)
