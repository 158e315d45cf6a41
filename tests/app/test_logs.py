import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.journey

# Each runs a process's own entry to its end; those that would go on are told to stop.
STOP = "import os, threading; threading.Timer(3, os.kill, (os.getpid(), 15)).start()"
ENTRIES = {
    "api": "from continualml.app.api.__main__ import main; assert main() == 2",
    "worker": "from continualml.app.api.main import from_environment; from_environment()",
    "timer": f"from continualml.app.timer import main; {STOP}; main()",
    "courier": f"from continualml.app.courier import main; {STOP}; main()",
    "trainer": "from continualml.app.trainer import main; main()",
    "scheduled": "from continualml.app.scheduled import continual_cycle; continual_cycle.fn()",
    "cli": "from continualml.cli import main\ntry: main()\nexcept SystemExit: pass",
}
THEN = """
from loguru import logger
def fails(url):
    raise RuntimeError("on purpose", len(url))
try:
    fails("postgresql://ml:" + "hunter2"[::-1] + "@db")
except RuntimeError:
    logger.exception("a turn failed")
"""


@pytest.mark.parametrize("name", ENTRIES)
def test_no_process_logs_the_values_of_a_failed_functions_variables(
    tmp_path: Path, name: str
) -> None:
    argument = {"cli": ("config", "check"), "trainer": ("4096",)}.get(name, ())
    env = {"CONTINUAL_PORT": "0"} if name == "api" else {}
    # In a file: a traceback without its source shows no values anyway.
    script = tmp_path / "entry.py"
    script.write_text(f"{ENTRIES[name]}\n{THEN}", encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(script), *argument],
        cwd=tmp_path,
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "on purpose" in ran.stderr
    assert "2retnuh" not in ran.stderr
