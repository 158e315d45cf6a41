"""What a job's process is given, and what becomes of it where memory is short."""

import os
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from continualml.app.api.jobs import Jobs
from continualml.settings import Project, secret_fields, secret_variables

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="only Linux has /proc")

HOOK = "https://hooks.slack.com/services/T01/B02/of-this-test"  # pragma: allowlist secret


@pytest.fixture
def jobs(project: Project, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.setenv("PGPASSWORD", "of-the-store")
    monkeypatch.setenv("API_KEY_FILE", "/run/secrets/api_key")
    monkeypatch.setenv("continual_kuma_password", "of-the-watcher")  # settings know no case
    said = project.settings.model_copy(update={"notify_url": SecretStr(HOOK)})
    return Jobs(replace(project, settings=said))


def test_a_job_can_be_ended_first_is_bounded_and_knows_no_secret_but_the_store_s(
    jobs: Jobs,
) -> None:
    job = jobs.start(["replay", "--json"])
    assert job is not None
    (process,) = jobs._running  # noqa: SLF001  nobody else knows its number
    outer = Path(f"/proc/{process.pid}")
    tasks = outer / f"task/{process.pid}/children"
    until(lambda: bool(tasks.read_text().strip()))
    inner = Path(f"/proc/{tasks.read_text().strip()}")
    for one in (outer, inner):
        assert (one / "oom_score_adj").read_text().strip() == "1000"
    bound = resource.prlimit(int(inner.name), resource.RLIMIT_DATA)
    given = dict(v.split("=", 1) for v in (outer / "environ").read_text().split("\0") if "=" in v)
    jobs.end()

    assert bound == (640 << 20, 640 << 20)
    assert given["PGPASSWORD"] == "of-the-store"  # pragma: allowlist secret
    assert given["CONTINUAL_DATABASE_URL"]
    assert HOOK not in given.values()
    assert {n for n in given if n.upper() in secret_variables()} == set()
    assert "continual_kuma_password" not in given


def test_a_job_that_was_killed_says_so(jobs: Jobs) -> None:
    job = jobs.start(["replay", "--json"])
    assert job is not None
    (process,) = jobs._running  # noqa: SLF001  nobody else knows its number
    tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until(lambda: bool(tasks.read_text().strip()))
    os.kill(int(tasks.read_text()), 9)
    process.wait(10)

    told = jobs.state(job)
    assert told is not None
    assert (told.state, told.because) == ("failed", "it was ended by SIGKILL; memory was short?")


def test_every_secret_setting_is_known_by_all_its_names() -> None:
    assert {"api_key", "dashboard_password", "notify_url"} <= set(secret_fields())
    assert {"API_KEY", "CONTINUAL_API_KEY_FILE", "CONTINUAL_NOTIFY_URL"} <= secret_variables()
    assert "CONTINUAL_DATABASE_URL" not in secret_variables()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)
