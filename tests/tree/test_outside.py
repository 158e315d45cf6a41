"""No process of the tree listens beyond this machine, asks beyond it, or leaves things at home."""

import subprocess
import sys
from contextlib import suppress

import httpx
import psutil
import pytest

from tests.tree.conftest import Tree, listened_to

pytestmark = pytest.mark.journey

HERE = {"127.0.0.1", "::1"}
PARTS = ("app.api", "app.timer", "app.courier", "app.scheduled", "prefect", "mlflow")


def family(tree: Tree) -> list[psutil.Process]:
    first = psutil.Process(tree.process.pid)
    return [first, *first.children(recursive=True)]


def test_no_process_listens_beyond_this_machine_or_is_connected_beyond_it(tree: Tree) -> None:
    listening: set[str] = set()
    beyond: list[object] = []
    for process in family(tree):
        try:
            found = process.net_connections("inet")
        except psutil.NoSuchProcess:
            continue  # it ended meanwhile
        listening |= {c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN}
        asked = {getattr(c.raddr, "ip", "::1") for c in found}  # no address where it only listens
        beyond += [(process.name(), address) for address in asked - HERE]

    assert listening == {"127.0.0.1"}
    assert beyond == []


def test_no_process_has_asked_beyond_this_machine(tree: Tree) -> None:
    tree.until(lambda: tree.model()["champion"] is not None, 60)
    lines = tree.heard.read_text("utf-8").splitlines()

    begun = [line for line in lines if line.startswith("began")]
    assert [part for part in PARTS if not any(part in line for line in begun)] == []
    assert [line for line in lines if line.startswith("asked")] == []


def test_the_listener_hears_what_it_is_there_for(tree: Tree) -> None:
    log = tree.heard.with_name("control.log")
    asks = "import socket as s; s.socket(type=s.SOCK_DGRAM).connect(('192.0.2.1', 9))"
    subprocess.run([sys.executable, "-c", asks], env=listened_to(log), check=False)

    assert "asked 192.0.2.1" in log.read_text("utf-8")


def test_nothing_is_left_in_the_home_folder(tree: Tree) -> None:
    left = {str(p.relative_to(tree.home)) for p in tree.home.rglob("*") if p.is_file()}

    assert left == set()


def test_a_page_of_somebody_else_in_a_browser_may_ask_no_server_of_the_tree(tree: Tree) -> None:
    evil = {"Origin": "https://evil.example"}
    asks = evil | {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    for url in (
        f"{tree.api.base_url}/predict",
        f"{tree.prefect}/api/deployments/filter",
        f"{tree.mlflow}/api/2.0/mlflow/experiments/search",
    ):
        # As a browser asks in which somebody has logged in.
        with httpx.Client(trust_env=False, timeout=20, auth=tree.login) as browser:
            before = browser.options(url, headers=asks)
            answer = browser.post(url, headers=evil, json={"max_results": 1})
        for said in (before, answer):
            assert said.headers.get("access-control-allow-origin", "") not in {
                "*",
                "https://evil.example",
            }, url


def test_whoever_has_no_login_learns_nothing_from_prefect_and_mlflow(tree: Tree) -> None:
    found = {"max_results": "1"}
    search = f"{tree.mlflow}/api/2.0/mlflow/experiments/search"
    runs = f"{tree.prefect}/api/flow_runs/filter"
    user, password = tree.login
    for login, status in ((None, 401), ((user, "guessed"), 401), ((user, password), 200)):
        with httpx.Client(trust_env=False, timeout=20, auth=login) as client:
            assert client.get(search, params=found).status_code == status
            assert client.post(runs, json={"limit": 1}).status_code == status
    for url in (f"{tree.mlflow}/", f"{tree.mlflow}/graphql", f"{tree.prefect}/api/admin/settings"):
        assert httpx.get(url, trust_env=False, timeout=20).status_code == 401, url


def test_no_secret_of_the_tree_stands_where_others_look(tree: Tree) -> None:
    secrets = (tree.login[1], tree.token)
    commands: list[str] = []
    for process in family(tree):
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            commands.append(" ".join(process.cmdline()))
    logs = [path.read_text("utf-8", "replace") for path in (tree.data / "logs").iterdir()]
    health = tree.api.get("/health").text

    assert len(commands) > len(PARTS)
    assert len(logs) >= len(PARTS)
    for said in (*commands, *logs, tree.said.read_text("utf-8"), health):
        assert [s for s in secrets if s in said] == []
    assert str(tree.data / "pages.login") in tree.said.read_text("utf-8")  # how to get in
    for path in (tree.data / "pages.login", tree.data / "admin.token"):
        assert path.stat().st_mode & 0o777 == 0o600
