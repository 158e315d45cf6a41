"""The loop lives through a dozen seeds here, through thousands with ``make simulate``."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from tests.simulation.planted import BUGS, SOURCE, Bug, plant
from tests.simulation.run import Ran, run, template

ROOT = Path(__file__).parents[2]
SEEDS = range(12)
AGAIN = 3  # begins from nothing


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("templates")
    template(directory / "begun", begun=True)
    template(directory / "empty", begun=False)
    return directory


@pytest.fixture(scope="module")
def lived(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Ran]]:
    logger.disable("continualml")
    directory = tmp_path_factory.mktemp("seeds")
    yield {seed: run(seed, templates, directory / str(seed)) for seed in SEEDS}
    logger.enable("continualml")


@pytest.mark.parametrize("seed", SEEDS)
def test_everything_holds_whatever_befalls_the_processes(lived: dict[int, Ran], seed: int) -> None:
    ran = lived[seed]
    again = f"python -m tests.simulation --seed {seed}"
    assert ran.failure is None, "\n".join([*ran.trace[-40:], again])


def test_the_seeds_are_so_lively_that_something_could_go_wrong(lived: dict[int, Ran]) -> None:
    points: Counter[str] = Counter()
    decisions: Counter[str] = Counter()
    trace = [line for ran in lived.values() for line in ran.trace]
    for ran in lived.values():
        points.update(ran.points)
        decisions += ran.decisions
    assert decisions.keys() >= {"first", "alarm", "promote", "follow", "rollback", "policy"}
    assert points.keys() >= {"commit", "appended", "delivered", "fitted", "after decide"}
    for what in ("killed at", "stopped at", "the clock is set", "is locked", "another turn"):
        assert any(what in line for line in trace), what


def test_a_seed_is_the_same_run_in_another_process_to_the_last_bit(lived: dict[int, Ran]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", str(AGAIN)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"digest ([0-9a-f]{64})", done.stdout)
    assert found is not None, done.stderr
    assert found[1] == lived[AGAIN].digest


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_each_bug_that_is_planted_still_has_its_place(bug: Bug, tmp_path: Path) -> None:
    for name, _, _ in bug.edits:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(SOURCE / name, tmp_path / name)
    plant(bug, tmp_path)
    for name, _, _ in bug.edits:
        compile((tmp_path / name).read_text("utf-8"), name, "exec")
