"""Installed without extras: it serves what was trained elsewhere, and brings nothing heavy."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from continualml import demo
from continualml.records import Rows
from continualml.scoring.session import Session
from continualml.store import artifacts, pointers
from continualml.store.engine import read
from tests.conftest import Home
from tests.tree.conftest import free_port, until

pytestmark = [pytest.mark.journey, pytest.mark.patient]

ROOT = Path(__file__).parents[2]
HEAVY = (
    *("prefect", "mlflow", "sklearn", "skl2onnx", "onnx", "pandas", "streamlit", "matplotlib"),
    *("lightgbm", "onnxmltools", "scipy", "celery"),
)
NO_INDEX = re.compile(r"Failed to fetch|error sending request|dns error|timed out", re.IGNORECASE)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the package as the lock has it, without any extra."""
    place = tmp_path_factory.mktemp("bare")
    uv("export", "--no-dev", "--no-emit-project", "--locked", "--output-file", place / "lock.txt")
    uv("venv", "--python", sys.executable, place / "venv")
    into = ("pip", "install", "--python", place / "venv")
    uv(*into, "--require-hashes", "--requirement", place / "lock.txt")
    uv(*into, "--no-deps", ROOT)
    return place / "venv/bin"


def uv(*arguments: str | Path) -> None:
    found = os.environ.get("UV") or shutil.which("uv") or ROOT / ".uv/bin/uv"
    run = subprocess.run(
        [found, "--quiet", *arguments],
        cwd=ROOT,
        env=os.environ | {"UV_COMPILE_BYTECODE": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if run.returncode and NO_INDEX.search(run.stderr):
        pytest.skip(f"the package index cannot be reached: {run.stderr.strip()[-200:]}")
    assert run.returncode == 0, run.stderr


def test_it_brings_nothing_that_trains_schedules_or_tracks(bare: Path) -> None:
    source = (
        "from importlib.util import find_spec; "
        f"print([m for m in {HEAVY} if find_spec(m)], find_spec('continualml').origin)"
    )
    run = subprocess.run(
        [bare / "python", "-c", source], capture_output=True, text=True, check=True
    )
    there, origin = run.stdout.rsplit(maxsplit=1)
    assert there == "[]"
    assert origin.startswith(str(bare.parent))  # not this tree's


def test_it_answers_for_what_the_full_environment_trained(bare: Path, home: Home) -> None:
    row = {"x1": 0.3, "x2": -0.2, "x3": 1.0, "x4": 0.0}
    with served(bare, home) as api:
        told = api.post("/predict", json={"features": row}).raise_for_status().json()
        page = api.get("/docs/files/swagger-ui-bundle.js")

    with read(home.engine) as conn:
        champion = pointers.version(conn, "demo", pointers.pointed(conn, "demo")["champion"])
    assert champion is not None
    rows = Rows(numeric=np.array([list(row.values())]), categorical=np.empty((1, 0), dtype=object))
    expected = Session(artifacts.read(home.directory / "artifacts", champion.sha256)).answer(rows)
    said = told["predictions"][0]
    assert told["version"] == champion.version == 1
    assert list(said["probabilities"]) == list(demo.DEMO.classes)
    assert list(said["probabilities"].values()) == pytest.approx(expected[0], abs=1e-6)
    assert said["prediction"] == demo.DEMO.classes[int(expected[0].argmax())] == "yes"
    assert page.is_success


def test_it_says_what_is_missing_when_it_is_asked_for_a_backtest(bare: Path, home: Home) -> None:
    with served(bare, home) as api:
        body = {"kind": "backtest", "policy": {"cooldown": 5}}
        told = api.post("/models/demo/jobs", json=body)

    assert told.status_code == 501
    assert "install continualml[learn]" in told.json()["remedy"]


def test_it_says_what_is_missing_when_it_is_asked_to_train(bare: Path, tmp_path: Path) -> None:
    example = ROOT / "examples/electricity"
    run = subprocess.run(
        [
            *(bare / "continual", "train", example / "electricity.csv.gz"),
            *("--config", example / "continual.toml"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 3
    assert "install continualml[learn]" in run.stderr
    assert "Traceback" not in run.stderr


@contextmanager
def served(bare: Path, home: Home) -> Iterator[httpx.Client]:
    port = free_port()
    process = subprocess.Popen(
        [bare / "continual", "serve", "--port", str(port), "--data", home.directory],
        cwd=home.directory,
        env={n: v for n, v in os.environ.items() if not n.startswith(("CONTINUAL_", "PYTHON"))},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, trust_env=False, timeout=20) as api:
            until(lambda: answers(api), 60, lambda: "it did not start")
            token = (home.directory / "admin.token").read_text("utf-8").strip()
            api.headers["Authorization"] = f"Bearer {token}"
            yield api
    finally:
        process.terminate()
        process.wait(timeout=20)


def answers(api: httpx.Client) -> bool:
    try:
        return api.get("/readyz").is_success
    except httpx.TransportError:
        time.sleep(0.1)
        return False
