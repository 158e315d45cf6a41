"""The loop under a real Prefect server, without it, and after it is back."""

import httpx
import pytest

from tests.tree.conftest import Tree

pytestmark = pytest.mark.journey


def test_scheduled_runs_happen_and_the_loop_goes_on_while_prefect_is_away(tree: Tree) -> None:
    with httpx.Client(base_url=f"{tree.prefect}/api", auth=tree.login, trust_env=False) as prefect:
        tree.until(lambda: scheduled_runs(prefect) >= 1, 90)
        tree.until(lambda: {"check", "decide"} <= tasks(prefect), 60)
        rows = tree.model()["loop"]["rows"]
        tree.kill("prefect", "server")
        tree.until(lambda: tree.model()["loop"]["rows"] > rows + 96, 60)  # the timer turns on
        tree.until(lambda: is_up(prefect), 120)
        before = scheduled_runs(prefect)
        tree.until(lambda: scheduled_runs(prefect) > before, 90)


def scheduled_runs(prefect: httpx.Client) -> int:
    body = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}, "limit": 50}
    runs = prefect.post("/flow_runs/filter", json=body).raise_for_status().json()
    return sum(1 for r in runs if r["auto_scheduled"])


def tasks(prefect: httpx.Client) -> set[str]:
    found = prefect.post("/task_runs/filter", json={"limit": 200}).raise_for_status().json()
    return {t["name"].rsplit("-", 1)[0] for t in found}


def is_up(prefect: httpx.Client) -> bool:
    try:
        return prefect.get("/health").is_success
    except httpx.TransportError:
        return False
