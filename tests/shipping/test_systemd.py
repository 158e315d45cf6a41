"""The units of systemd, installed below a root of their own and judged by systemd's own tools."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from continualml.app import up

ROOT = Path(__file__).parents[2]
LIKE_ALL = "continual-.service.d/10-all.conf"
# Out of 100; 1.4 is what stays for a service that listens and writes one directory.
MOST_EXPOSED = 20

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not installed; as root: apt-get install systemd",
)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install all but the program: that takes minutes, and the image's is made in the same way."""
    root = tmp_path_factory.mktemp("root")
    # Without the environment: this one is what stands in /opt/continual.
    told = run("make", "--no-print-directory", "systemd", f"DESTDIR={root}", "UV=true")
    assert told.returncode == 0, told.stderr
    # What the system brings is needed to understand what ours come after.
    shutil.copytree("/usr/lib/systemd/system", root / "usr/lib/systemd/system", symlinks=True)
    (root / "opt/continual/bin").mkdir(parents=True)
    for program in programs(root):
        here = root / program.removeprefix("/")
        here.write_text("#!/bin/sh\n", encoding="utf-8")
        here.chmod(0o755)
    return root


def units(root: Path) -> list[Path]:
    return sorted((root / "etc/systemd/system").glob("continual*.*"))


def programs(root: Path) -> set[str]:
    texts = [p.read_text("utf-8") for p in units(root) if p.suffix == ".service"]
    return {line for text in texts for line in re.findall(r"^ExecStart=(\S+)", text, re.MULTILINE)}


def test_systemd_understands_every_line_of_every_unit(installed: Path) -> None:
    names = [p.name for p in units(installed) if p.is_file()]
    assert len(names) >= 9
    told = run("systemd-analyze", "verify", f"--root={installed}", *names)
    assert (told.returncode, told.stdout + told.stderr) == (0, "")


def test_every_service_is_shut_in(installed: Path) -> None:
    services = [p.name for p in units(installed) if p.name.endswith(".service")]
    judged = ("systemd-analyze", "security", "--offline=yes", f"--root={installed}")
    told = run(*judged, f"--threshold={MOST_EXPOSED}", "--no-pager", *services)
    assert told.returncode == 0, told.stdout
    levels = re.findall(r"exposure level for (\S+): ([\d.]+)", told.stdout)
    assert {name for name, _ in levels} == set(services)


def test_the_target_starts_all_of_them_once_it_is_enabled(installed: Path) -> None:
    told = run("systemctl", f"--root={installed}", "enable", "continual.target")
    assert told.returncode == 0, told.stderr
    wanted = installed / "etc/systemd/system/multi-user.target.wants/continual.target"
    assert wanted.is_symlink()
    target = (installed / "etc/systemd/system/continual.target").read_text("utf-8")
    started = {
        n for line in re.findall(r"^Wants=(.+)$", target, re.MULTILINE) for n in line.split()
    }
    made = {p.name for p in units(installed) if p.is_file()}
    assert made - started == {"continual.target", "continual-verify.service"}
    assert started <= made


def test_they_are_as_quiet_and_lean_as_the_process_tree(installed: Path) -> None:
    text = (installed / "etc/systemd/system" / LIKE_ALL).read_text("utf-8")
    said = dict(re.findall(r"^Environment=([A-Z0-9_]+)=(.*)$", text, re.MULTILINE))
    assert up._LEAN.items() <= said.items()  # noqa: SLF001  the other place where it is said


def test_each_starts_what_the_process_tree_starts(installed: Path) -> None:
    source = Path(up.__file__).read_text("utf-8")
    texts = " ".join(p.read_text("utf-8") for p in units(installed) if p.suffix == ".service")
    for module in re.findall(r'"-m", "(continualml\.app\.\w+)"', source):
        verb = {"api": "continual serve", "dashboard": "continual dashboard"}
        own = verb.get(module.rpartition(".")[2], module)
        if module != "continualml.app.keeper":  # systemd ends what is left itself
            assert own in texts, module


def test_what_is_installed_before_is_left_alone(installed: Path) -> None:
    mine = installed / "etc/continual/continual.toml"
    mine.write_text("# mine\n", encoding="utf-8")
    run("make", "--no-print-directory", "systemd", f"DESTDIR={installed}", "UV=true")
    assert mine.read_text("utf-8") == "# mine\n"
    assert mine.stat().st_mode & 0o777 == 0o644
