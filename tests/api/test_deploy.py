"""The files in ``deploy/`` ask for what a running server really tells, and say it to people."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families as families_of

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DASHBOARD = DEPLOY / "grafana/dashboards/continual.json"
NAME = re.compile(r"\bcontinual_\w+")
SELECTOR = re.compile(r"\b(continual_\w+)\{([^}]*)\}")
# Sections of docs/runbook.md.
SECTIONS = {
    "alarm-drift", "artifact-corrupt", "broken-feed", "component-down", "cycle-too-old",
    "high-error-rate", "high-latency", "label-lag", "log-not-writable", "no-champion",
    "outbox-parked", "rolled-back",
}  # fmt: skip


def rules() -> list[dict[str, Any]]:
    read = yaml.safe_load((DEPLOY / "alerts.yml").read_text("utf-8"))
    return [rule for group in read["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    read = json.loads(DASHBOARD.read_text("utf-8"))
    return [panel for panel in read["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression of rules and dashboard, with the name of what asks it."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    read = json.loads(DASHBOARD.read_text("utf-8"))
    for variable in read["templating"]["list"]:
        yield variable["name"], variable["query"]["query"]
    for note in read["annotations"]["list"]:
        yield note["name"], note["expr"]


def test_every_name_that_is_asked_for_is_told_by_a_running_server(api: httpx.Client) -> None:
    body = {"features": {"age": 1.0, "debt": None}}
    api.post("/predict", json=body).raise_for_status()
    text = api.get("/metrics").text
    told: set[str] = set()
    labels: dict[str, set[str]] = {}
    for family in families_of(text):
        endings = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",)}
        told |= {f"{family.name}{e}" for e in endings.get(family.type, ("",))}
        for sample in family.samples:
            labels.setdefault(sample.name, {"instance", "job"}).update(sample.labels)
    asked = {name for _, e in expressions() for name in NAME.findall(e)}
    assert asked <= told
    assert len(asked) > 20
    for who, expression in expressions():
        for name, selector in SELECTOR.findall(expression):
            named = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
            assert named <= labels.get(name, named), f"{who}: {name}"
    reference = (ROOT / "docs/observability.md").read_text("utf-8")
    missing = {
        name for name in told if f"`{re.sub('_(bucket|count|sum)$', '', name)}`" not in reference
    }
    assert missing == set()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_says_in_a_sentence_what_is_wrong_and_where_help_is(
    rule: dict[str, Any],
) -> None:
    said = rule["annotations"]
    assert set(said) == {"summary", "runbook_url"}
    assert said["summary"].endswith(".")
    assert "continual_" not in said["summary"]
    page, _, section = said["runbook_url"].partition("#")
    assert page == "docs/runbook.md"
    assert section in SECTIONS
    if (there := ROOT / page).exists():
        assert f"\n## {section}\n" in there.read_text("utf-8")
    assert rule["labels"]["severity"] in {"page", "ticket", "info"}
    assert f"`{rule['alert']}`" in (ROOT / "docs/observability.md").read_text("utf-8")


def test_the_dashboard_finds_its_source_and_says_what_each_panel_shows() -> None:
    source = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text("utf-8")
    )
    (known,) = source["datasources"]
    ids = [panel["id"] for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        assert {t["datasource"]["uid"] for t in panel["targets"]} == {known["uid"]}
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_prometheus_itself_takes_configuration_rules_and_expressions(
    tmp_path: Path, api: httpx.Client
) -> None:
    found = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed; it comes with Debian's package prometheus")

    def promtool(*arguments: str | Path, said: str | None = None) -> str:
        run = subprocess.run(
            [found, *arguments], input=said, capture_output=True, text=True, check=False, timeout=60
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout + run.stderr

    promtool("check", "config", "--syntax-only", DEPLOY / "prometheus.yml")
    promtool("check", "rules", DEPLOY / "alerts.yml")
    cases = tmp_path / "cases.yml"
    written = (ROOT / "tests/deploy/alerts.yml").read_text("utf-8")
    cases.write_text(written.replace("ALERTS", str(DEPLOY / "alerts.yml")), encoding="utf-8")
    promtool("test", "rules", cases)

    asked = [t["expr"] for panel in panels() for t in panel["targets"]]
    plain = [
        re.sub(r"\$__rate_interval", "5m", re.sub(r"\$(instance|model)", ".*", e)) for e in asked
    ]
    recorded = [{"record": f"panel:{i}", "expr": e} for i, e in enumerate(plain)]
    as_rules = tmp_path / "panels.yml"
    as_rules.write_text(json.dumps({"groups": [{"name": "panels", "rules": recorded}]}), "utf-8")
    promtool("check", "rules", as_rules)
    promtool("check", "metrics", said=api.get("/metrics").text)
