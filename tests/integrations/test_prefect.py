"""What is asked of Prefect, against a server of its own in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.journey, pytest.mark.patient]

# In a process of its own: Prefect warns and leaves threads behind.
LATE = """
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import Scheduled
from prefect.testing.utilities import prefect_test_harness

from continualml.app import scheduled
from continualml.integrations import prefect as ours


def cycle():
    return ""


with prefect_test_harness(server_startup_timeout=120):
    flow, now = ours.flow_of(cycle), datetime.now(UTC)
    with get_client(sync_client=True) as client:
        due = [-3000, -100, -5, 60]
        runs = [
            client.create_flow_run(flow, state=Scheduled(scheduled_time=now + timedelta(seconds=s)))
            for s in due
        ]
        print(ours.cancel_late(30.0), [client.read_flow_run(r.id).state.name for r in runs])
        print(ours.cancel_late(30.0))

        due = [now + timedelta(seconds=s) for s in [-200, -100, -90, 60]]
        runs = [
            client.create_flow_run(scheduled.continual_cycle, state=Scheduled(scheduled_time=at))
            for at in due
        ]
        print(run_flow(scheduled.continual_cycle, flow_run=runs[0]))
        print([client.read_flow_run(r.id).state.name for r in runs])
"""


def test_late_runs_are_cancelled_by_the_first_of_them_and_those_to_come_are_left(
    tmp_path: Path,
) -> None:
    said = subprocess.run(
        [sys.executable, "-c", LATE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert said.returncode == 0, said.stderr[-2_000:]
    first, second, turned, after = said.stdout.splitlines()[-4:]
    assert first == "2 ['Cancelled', 'Cancelled', 'Scheduled', 'Scheduled']"
    assert second == "0"
    assert turned == "skipped: a newer run is due; 2 others that were late are cancelled"
    assert after == "['Completed', 'Cancelled', 'Cancelled', 'Scheduled']"
