"""The images built and all parts brought up, as the docs say it: predict, label, cycle, stop."""

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.container.conftest import BASE, Engine
from tests.test_docs import CONTAINERS, commands

pytestmark = pytest.mark.container

ROOT = Path(__file__).parents[2]
COMPOSE = Path(sys.executable).parent / "docker-compose"
PARTS = {"api", "timer", "scheduled", "courier", "dashboard", "prefect", "mlflow"}
HEAVY = ("prefect", "mlflow", "sklearn", "skl2onnx", "onnx", "pandas", "streamlit", "matplotlib")
DOWN = "docker compose down"
ROW = {
    "period": 0.1,
    "nswprice": 0.05,
    "nswdemand": 0.4,
    "vicprice": 0.003,
    "vicdemand": 0.42,
    "transfer": 0.41,
}
# No registry may be asked, so what cannot be built here is left out.
OVERRIDE = """
services:
  kuma: {profiles: [elsewhere]}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers:
    """The running containers, as Compose and a client on this machine see them."""

    engine: Engine
    variables: dict[str, str]
    ports: dict[str, int]

    def compose(self, *arguments: str, timeout: float = 600) -> str:
        """Run Compose to its end; return what it wrote."""
        told = subprocess.run(
            [COMPOSE, *arguments],
            cwd=ROOT,
            env=self.engine.environment | self.variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        assert told.returncode == 0, f"{arguments}\n{told.stdout[-3_000:]}{told.stderr[-3_000:]}"
        return told.stdout

    def types(self, command: str) -> str:
        """Run a command as the docs have it; no terminal is there to be had."""
        words = shlex.split(command)
        assert words[:2] == ["docker", "compose"]
        if words[2] in {"exec", "run"}:
            words.insert(3, "-T")
        return self.compose(*words[2:])

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def container(self, service: str) -> dict[str, Any]:
        """Return what the engine knows of a service's container, running or not."""
        name = self.compose("ps", "--all", "--quiet", service).strip()
        found: dict[str, Any] = json.loads(self.engine.run("inspect", name))[0]
        return found


@pytest.fixture(scope="module")
def containers(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    for target in ("serving", "full"):
        engine.run("build", "--target", target, "--tag", f"continualml:{target}", str(ROOT))
    override = tmp_path_factory.mktemp("compose") / "override.yaml"
    override.write_text(OVERRIDE, encoding="utf-8")
    names = [f"CONTINUAL_{part}PORT" for part in ("", "DASHBOARD_", "PREFECT_", "MLFLOW_")]
    ports = {name: free_port() for name in names}
    variables = {
        "BASE_IMAGE": BASE,
        "COMPOSE_FILE": f"{ROOT / 'compose.yaml'}{os.pathsep}{override}",
        "COMPOSE_PROJECT_NAME": "continual-test",
        **{name: str(port) for name, port in ports.items()},
    }
    one = Containers(engine=engine, variables=variables, ports=ports)
    try:
        yield one
    finally:
        one.compose("down", "--volumes", "--timeout", "20")


def test_what_the_docs_say_brings_all_of_it_up(containers: Containers) -> None:
    said = [c for c, path in commands().items() if path == CONTAINERS and c.startswith("docker ")]
    build, up, *others = said
    assert build == "docker compose build"  # without BuildKit, an engine's own builder does it
    containers.types(f"{up} --no-build")
    assert DOWN in others
    for command in others:
        if command != DOWN:  # at the end
            assert containers.types(command), command
    state = {s: containers.container(s)["State"] for s in PARTS}
    assert {s: t["Status"] for s, t in state.items()} == dict.fromkeys(PARTS, "running")
    health = {s: t["Health"]["Status"] for s, t in state.items() if "Health" in t}
    assert health == dict.fromkeys(PARTS - {"courier"}, "healthy")


def test_a_prediction_and_its_label_go_through_the_loop_to_mlflow(containers: Containers) -> None:
    token = containers.compose("exec", "-T", "api", "cat", "/data/admin.token").strip()
    with httpx.Client(
        base_url=containers.url("CONTINUAL_PORT"),
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
        timeout=20,
    ) as api:
        assert api.post("/predict", json={}, headers={"Authorization": ""}).status_code == 401
        until(lambda: api.get("/readyz").is_success, 30)
        rows = [{"observation_id": f"row-{i}", "features": ROW} for i in range(96)]
        told = api.post("/predict", json={"instances": rows}).raise_for_status().json()
        assert len(told["predictions"]) == 96
        labels = [{"observation_id": row["observation_id"], "label": "down"} for row in rows]
        counts = api.post("/labels", json={"labels": labels}).raise_for_status().json()["counts"]
        assert counts == {"accepted": 96}
        model = "/models/electricity"
        until(lambda: api.get(model).json()["loop"]["rows"] >= 96, 120)  # two blocks were folded
        champion = api.get(model).json()["pointers"]["champion"]
        scheduled = "scheduled_turn_age_s"
        until(lambda: api.get("/health").json()["components"]["loop"][scheduled] is not None, 240)
        until(lambda: api.get("/health").json()["components"]["mlflow"]["status"] == "ok", 60)
    with httpx.Client(base_url=containers.url("CONTINUAL_MLFLOW_PORT"), trust_env=False) as mlflow:
        asked = {"name": "electricity", "alias": "champion"}
        path = "/api/2.0/mlflow/registered-models/alias"
        until(lambda: mlflow.get(path, params=asked).is_success, 90)
        told = mlflow.get(path, params=asked).json()
        assert int(told["model_version"]["version"]) == champion
    with httpx.Client(base_url=containers.url("CONTINUAL_PREFECT_PORT"), trust_env=False) as pages:
        at = f"{containers.url('CONTINUAL_PREFECT_PORT')}/api"
        assert pages.get("/ui-settings").json()["api_url"] == at  # where a browser finds it


def test_a_container_can_write_nothing_but_its_data_and_has_no_rights(
    containers: Containers,
) -> None:
    look = (
        "import os, pathlib, re\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "said = dict(re.findall(r'(CapEff|CapBnd|NoNewPrivs):\\t(\\w+)', status))\n"
        "def writes(where):\n"
        "    try:\n"
        "        pathlib.Path(where, 'written').write_text('')\n"
        "    except OSError:\n"
        "        return False\n"
        "    return True\n"
        "can = [w for w in ('/', '/opt/continual', '/project', '/data', '/tmp') if writes(w)]\n"
        "print(os.getuid(), int(said['CapEff'], 16), int(said['CapBnd'], 16), "
        "said['NoNewPrivs'], *can)\n"
    )
    for service in sorted(PARTS):
        told = containers.compose("exec", "-T", service, "python3", "-c", look).split()
        own = [] if service == "dashboard" else ["/data"]
        assert told == ["10001", "0", "0", "1", *own, "/tmp"], service  # noqa: S108


def test_nothing_but_loopback_reaches_them(containers: Containers) -> None:
    for service in PARTS:
        published = containers.container(service)["HostConfig"]["PortBindings"] or {}
        assert {b["HostIp"] for all_ in published.values() for b in all_} <= {"127.0.0.1"}


def test_the_serving_image_has_none_of_what_trains_schedules_and_tracks(
    containers: Containers,
) -> None:
    look = f"from importlib.util import find_spec; print([m for m in {HEAVY} if find_spec(m)])"
    there = {
        target: containers.engine.run(
            *("run", "--rm", "--read-only", f"continualml:{target}", "python3", "-c", look)
        ).strip()
        for target in ("serving", "full")
    }
    assert there["serving"] == "[]"
    assert "sklearn" in there["full"]


def test_all_of_them_stop_by_themselves_when_they_are_told_to(containers: Containers) -> None:
    began = time.monotonic()
    containers.compose("stop")
    assert time.monotonic() - began < 60
    for service in PARTS:
        state = containers.container(service)["State"]
        assert not state["OOMKilled"], service
        assert state["ExitCode"] in {0, 143}, service  # 137: it was killed


def test_after_down_the_log_is_there_for_the_next_start(containers: Containers) -> None:
    containers.types(DOWN)
    containers.compose("up", "--detach", "--wait", "--no-build", "api")
    status = ("continual", "status", "--json")
    table = containers.compose("run", "--rm", "-T", "--no-deps", "timer", *status)
    told = json.loads(table)
    model = next(m for m in told if m["model"] == "electricity")
    assert model["champion"] >= 1
    assert model["rows"] >= 96


def until(true: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
