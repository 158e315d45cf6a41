"""The runtime that answers keeps to itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASKED_NOT_TO = (
    "CI",
    "ORT_DISABLE_TELEMETRY",
    "ORT_RUNNING_UNIT_TESTS",
    "TF_BUILD",
    "GITHUB_ACTIONS",
)


@pytest.mark.parametrize(
    ("imported", "telling"), [("continualml.scoring.session", False), ("onnxruntime", True)]
)
def test_the_graph_runtime_collects_nothing_when_we_load_it(
    tmp_path: Path, imported: str, *, telling: bool
) -> None:
    """Alone it keeps a device's id and its events at home; then this test means something."""
    env = {k: v for k, v in os.environ.items() if k not in ASKED_NOT_TO} | {"HOME": str(tmp_path)}
    env.pop("XDG_CACHE_HOME", None)
    subprocess.run((sys.executable, "-c", f"import {imported}"), env=env, check=True, timeout=60)
    left = [file.name for file in tmp_path.rglob("*") if file.is_file()]
    assert bool(left) == telling, left
