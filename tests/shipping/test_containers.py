"""The image's recipe and the compose file, as far as they can be checked without an engine."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from continualml.app import up
from continualml.app.api import main
from continualml.settings import Settings

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
OURS = {"api", "timer", "courier", "scheduled", "dashboard", "prefect", "mlflow"}


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def composed(**environment: str) -> dict[str, Any]:
    """Return the compose file with every profile and variable put in."""
    command = (TOOLS / "docker-compose", "--profile", "*", "config", "--format", "json")
    told = run(*command, **environment)
    assert told.returncode == 0, told.stderr
    found: dict[str, Any] = json.loads(told.stdout)
    return found


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = composed()["services"]
    return found


def test_the_recipe_of_the_image_has_no_fault_that_hadolint_knows() -> None:
    told = run(TOOLS / "hadolint", "Dockerfile")
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_compose_file_is_one() -> None:
    quiet = run(TOOLS / "docker-compose", "config", "--quiet")
    assert (quiet.returncode, quiet.stderr) == (0, "")
    schema = ("--builtin-schema", "vendor.compose-spec", "compose.yaml")
    told = run(TOOLS / "check-jsonschema", *schema)
    assert told.returncode == 0, told.stdout


def test_no_container_may_do_more_than_it_needs(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) >= OURS
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert "privileged" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["mem_limit"]) <= 3 << 30, name
        assert service["pids_limit"] > 0, name
        assert service["logging"]["options"]["max-size"], name
        user = service.get("user", "10001:10001" if name in OURS else "root")
        assert re.fullmatch(r"[1-9]\d*:\d+", user), name


def test_nothing_is_published_beyond_this_machine(services: dict[str, dict[str, Any]]) -> None:
    published = [(name, p) for name, s in services.items() for p in s.get("ports", [])]
    listens = {"api", "dashboard", "prefect", "mlflow", "kuma", "prometheus", "grafana"}
    assert {name for name, _ in published} == listens
    assert {p["host_ip"] for _, p in published} == {"127.0.0.1"}


def test_whoever_is_told_to_stop_has_longer_than_the_drain(
    services: dict[str, dict[str, Any]],
) -> None:
    for name, service in services.items():
        times = {
            unit: int(n) for n, unit in re.findall(r"(\d+)([ms])", service["stop_grace_period"])
        }
        grace_s = 60 * times.get("m", 0) + times.get("s", 0)
        assert grace_s > main._DRAIN_S + 2, name  # noqa: SLF001  what it waits for


def test_every_image_of_others_is_named_with_its_version(
    services: dict[str, dict[str, Any]],
) -> None:
    theirs = {s["image"] for n, s in services.items() if not s["image"].startswith("continualml:")}
    assert len(theirs) == 4
    for image in theirs:
        assert re.search(r":v?\d+[\d.]*(-[a-z]+)?$", image), image


def test_a_secret_comes_from_the_environment_or_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from a file", encoding="utf-8")
    bare = composed()["services"]["api"]["environment"]
    value = "from the environment"
    given = composed(API_KEY=value)["services"]["api"]["environment"]
    named = composed(API_KEY_FILE=str(file))
    assert (bare["API_KEY"], bare["API_KEY_FILE"]) == ("", "")  # then a random token is made
    assert given["API_KEY"] == value
    assert named["services"]["api"]["environment"]["API_KEY_FILE"] == "/run/secrets/api_key"
    assert named["secrets"]["api_key"]["file"] == str(file)


def test_of_a_provider_the_api_gets_all_but_the_secret_which_the_dashboard_alone_has(
    tmp_path: Path,
) -> None:
    file, names = tmp_path / "secret", ("URL", "CLIENT_ID", "ALLOW")
    file.write_text("of the dashboard", encoding="utf-8")
    said = {f"CONTINUAL_OIDC_{name}": f"a-{name}" for name in names}
    secret = "CONTINUAL_OIDC_CLIENT_SECRET_FILE"  # noqa: S105  # pragma: allowlist secret
    services = composed(**said, **{secret: str(file)})["services"]
    api, dashboard = (services[name]["environment"] for name in ("api", "dashboard"))

    for given in (api, dashboard):
        assert said.items() <= given.items()
    assert dashboard[secret] == "/run/secrets/oidc_client_secret"
    assert [one["source"] for one in services["dashboard"]["secrets"]] == ["oidc_client_secret"]
    assert not {name for name in api if "CLIENT_SECRET" in name}
    assert "volumes" not in services["dashboard"]


def test_every_setting_that_a_container_is_given_is_one(
    services: dict[str, dict[str, Any]],
) -> None:
    known = {f"CONTINUAL_{name.upper()}" for name in Settings.model_fields}
    known |= {"CONTINUAL_OIDC_CLIENT_SECRET_FILE"}
    for name in OURS:
        given = {n for n in services[name].get("environment", {}) if n.startswith("CONTINUAL_")}
        assert given <= known, name  # one that looks like another stops the start


def test_grafana_reports_nothing_and_does_not_start_with_a_password_that_everybody_knows(
    services: dict[str, dict[str, Any]],
) -> None:
    grafana = services["grafana"]
    said = grafana["environment"]
    assert said["GF_ANALYTICS_REPORTING_ENABLED"] == "false"
    assert said["GF_ANALYTICS_CHECK_FOR_UPDATES"] == "false"
    shell, flag, script = grafana["entrypoint"]
    line = script.replace("$$", "$").replace("exec /run.sh", "exit 0")
    assert "exit 0" in line
    assert run(shell, flag, line, GF_SECURITY_ADMIN_PASSWORD="").returncode == 1
    assert run(shell, flag, line, GF_SECURITY_ADMIN_PASSWORD="x" * 20).returncode == 0


def test_the_image_is_as_quiet_and_lean_as_the_process_tree() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    said = dict(re.findall(r"^(?:ENV +| +)([A-Z][A-Z0-9_]+)=(\S+?)(?: \\)?$", text, re.MULTILINE))
    assert up._LEAN.items() <= said.items()  # noqa: SLF001  the other place where it is said
    assert said["ORT_DISABLE_TELEMETRY"] == "1"
    assert said["STREAMLIT_BROWSER_GATHER_USAGE_STATS"] == "false"


def test_nothing_but_lock_and_source_goes_to_the_engine() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert allowed == {"pyproject.toml", "uv.lock", "README.md", "LICENSE", "src"}
