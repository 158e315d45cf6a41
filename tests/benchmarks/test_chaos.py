"""What says that nothing was lost has to say it when something was."""

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete, update

from benchmarks.chaos.checks import Held, against_the_log
from benchmarks.chaos.load import Load
from continualml import demo
from continualml.store import tables
from continualml.store.engine import write
from continualml.store.log import Labelled, Observed, append_labels, append_observations
from tests.conftest import Home

ROOT = Path(__file__).parents[2]
TOLD = {"no": 0.25, "yes": 0.75}


@pytest.fixture
def load(home: Home) -> Load:
    """Two answered rows, one of them labelled, and what their client was told."""
    with write(home.engine) as conn:
        rows = [
            Observed(
                model="demo",
                observation_id=f"c0-{i}",
                numeric=bytes(32),
                categorical=None,
                version=1,
                answer=np.array(list(TOLD.values()), "<f8").tobytes(),
                recorded_at=0.0,
            )
            for i in range(2)
        ]
        append_observations(conn, rows)
        append_labels(conn, demo.DEMO, [Labelled(observation_id="c0-0", label="no")], 0.0)
    one = Load(port=0, token="", name="c0")
    one.answers = {"c0-0": TOLD, "c0-1": TOLD}
    one.labelled = {"c0-0"}
    return one


def held(home: Home, load: Load) -> Held:
    return against_the_log(home.directory / "log.sqlite", home.directory / "artifacts", load)


def test_what_is_as_it_was_said_is_held(home: Home, load: Load) -> None:
    found = held(home, load)
    assert found.all
    assert (found.acknowledged, found.labels) == (2, 1)


def test_a_row_or_a_label_that_was_acknowledged_and_is_not_there_is_lost(
    home: Home, load: Load
) -> None:
    load.answers["c0-2"] = TOLD
    load.labelled.add("c0-1")
    found = held(home, load)
    assert (found.lost, found.labels_lost, found.all) == (1, 1, False)


def test_an_answer_that_is_another_in_the_log_is_found(home: Home, load: Load) -> None:
    load.answers["c0-1"] = {"no": 0.75, "yes": 0.25}
    found = held(home, load)
    assert (found.other, found.all) == (1, False)


def test_a_changed_ledger_and_a_decision_that_nothing_leads_to_are_found(
    home: Home, load: Load
) -> None:
    with write(home.engine) as conn:
        conn.execute(update(tables.ledger).values(because="it was better so"))
    found = held(home, load)
    assert (found.verified, found.replayed, found.all) == (False, False, False)


def test_a_log_without_the_outcomes_does_not_replay(home: Home, load: Load) -> None:
    with write(home.engine) as conn:
        conn.execute(delete(tables.outcomes))
    assert not held(home, load).replayed


def test_make_chaos_knows_its_faults() -> None:
    said = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "chaos"],  # noqa: S607  the one on the path
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    last = shlex.split(said.splitlines()[-1])
    module = last[last.index("-m") :]
    listed = subprocess.run(
        [sys.executable, *module, "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for fault in ("kill -9: API", "hang: timer", "disk full", "clock jumps", "corrupt page"):
        assert fault in listed
