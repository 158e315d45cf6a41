"""The client before a real server, and before one that fails as real ones do."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from continualml.client import AsyncClient, Client, RefusedError, Truth, UnavailableError
from continualml.settings import Project
from continualml.store import log
from continualml.store.engine import open_store, read
from tests.api.conftest import *  # noqa: F403  its fixtures: a project and a real server

ROW = {"age": 0.5, "debt": None}


class Between(BaseHTTPRequestHandler):
    """Stands before the API, and loses or refuses the first requests as it is told."""

    upstream: str
    faults: list[str]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        fault = self.faults.pop(0) if self.faults else "none"
        if fault == "busy":
            self.send_response(503)
            self.send_header("retry-after", "0")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        if fault == "drop":  # before it arrives
            self.close_connection = True
            return
        headers = {"authorization": self.headers["authorization"]}
        answer = httpx.post(f"{self.upstream}{self.path}", content=body, headers=headers)
        if fault == "lose":  # the API has answered, and the client never hears it
            self.close_connection = True
            return
        self.send_response(answer.status_code)
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
        """Print nothing."""


@pytest.fixture
def between(api: httpx.Client) -> Iterator[Callable[..., str]]:
    """Start it with its faults; gives its URL."""
    started: list[ThreadingHTTPServer] = []

    def between(*faults: str) -> str:
        kind = type("Here", (Between,), {"upstream": str(api.base_url), "faults": list(faults)})
        server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield between
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture
def secret(api: httpx.Client) -> str:
    return api.headers["authorization"].removeprefix("Bearer ")


def n_observed(project: Project) -> int:
    engine = open_store(project.settings.database_url)
    with read(engine) as conn:
        last = log.last_seq(conn)
    engine.dispose()
    return last


def test_it_predicts_labels_and_tells_the_state(api: httpx.Client, secret: str) -> None:
    with Client(str(api.base_url), token=secret, rows_at_once=40) as client:
        one = client.predict(ROW, observation_id="monday/1")
        assert (one.observation_id, one.prediction, one.version) == ("monday/1", "yes", 1)
        assert one.probabilities is not None
        assert sum(one.probabilities.values()) == pytest.approx(1)
        many = client.predict_many([{"age": a, "debt": 1} for a in range(-50, 50)])
        assert [m.prediction for m in many[:50]] == ["no"] * 50
        assert [m.prediction for m in many[51:]] == ["yes"] * 49
        assert len({m.observation_id for m in many}) == 100
        assert client.label("monday/1", "no").verdict == "accepted"
        truths = [Truth(observation_id=m.observation_id, label="yes") for m in many]
        truths.append(Truth(observation_id="monday/1", label="maybe", revision=1))
        assert [t.verdict for t in client.label_many(truths)] == ["accepted"] * 100 + ["rejected"]
        assert client.status()["champion"] == 1
    with Client(str(api.base_url), token=secret, model="price") as client:
        assert client.predict({"size": 3, "city": "Bern"}).prediction == 6.0
        assert client.status()["model"] == "price"


@pytest.mark.parametrize("faults", [("lose", "busy", "lose"), ("drop", "busy", "drop")])
def test_whatever_is_lost_on_the_way_is_recorded_once(
    between: Callable[..., str], secret: str, project: Project, faults: tuple[str, ...]
) -> None:
    before = n_observed(project)
    with Client(between(*faults), token=secret) as client:
        told = client.predict_many([ROW] * 5)

    assert n_observed(project) == before + 5
    engine = open_store(project.settings.database_url)
    with read(engine) as conn:
        there = log.recorded(conn, [("loan", t.observation_id) for t in told])
    engine.dispose()
    assert len(there) == 5


def test_the_one_for_asyncio_does_the_same(
    between: Callable[..., str], secret: str, project: Project
) -> None:
    async def use(url: str) -> None:
        async with AsyncClient(url, token=secret) as client:
            one = await client.predict(ROW)
            assert one.prediction == "yes"
            assert (
                await client.label(one.observation_id, "yes")
            ).verdict == "duplicate"  # heard twice
            with pytest.raises(RefusedError, match=r"features\.age"):
                await client.predict({"age": "old", "debt": 1})
        async with AsyncClient(url, token=secret, tries=1) as client:
            with pytest.raises(RefusedError, match="501"):
                await client.status()  # what stands between passes on nothing but posts

    before = n_observed(project)
    asyncio.run(use(between("lose", "busy", "none", "lose")))
    assert n_observed(project) == before + 2  # the row and its label


def test_what_is_refused_is_not_sent_again(between: Callable[..., str], secret: str) -> None:
    with Client(between("none", "busy"), token=secret) as client:
        with pytest.raises(RefusedError, match=r"features\.age: expected a number") as refused:
            client.predict({"age": "old", "debt": 1})
        assert refused.value.status == 422
        assert refused.value.problem["where"] == "instances[0].features.age"
        with pytest.raises(ValueError, match="ids: expected 1"):
            client.predict_many([ROW], ids=["a", "b"])
    with Client(between(), token=secret[1:]) as client, pytest.raises(RefusedError, match="401"):
        client.predict(ROW)


def test_it_gives_up_and_says_why(between: Callable[..., str], secret: str) -> None:
    with (
        Client(between(*["busy"] * 9), token=secret, tries=2) as client,
        pytest.raises(UnavailableError, match="given up after 2 tries: 503"),
    ):
        client.predict(ROW)
    with (
        Client("http://127.0.0.1:9", token=secret, tries=2) as client,
        pytest.raises(UnavailableError, match="ConnectError"),
    ):
        client.predict(ROW)


def test_the_example_of_the_docs_runs(api: httpx.Client, project: Project) -> None:
    text = (Path(__file__).parents[2] / "docs/clients.md").read_text("utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    code = code.replace("http://127.0.0.1:8000", str(api.base_url))
    code = code.replace(".continual/admin.token", str(project.settings.admin_token))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[1:] == ["accepted", "1"]
