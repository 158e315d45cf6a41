"""A project with two models, versions made by hand, and real servers in a thread or a process."""

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
import uvicorn
from onnx import TensorProto, helper

from continualml import demo
from continualml.app.api import main
from continualml.app.api.connections import Connection
from continualml.model import Feature, Model
from continualml.scoring.artifact import FORMAT, KEY, rows_of, schema, write_manifest
from continualml.settings import Project, Settings, environment
from continualml.store import artifacts, pointers, tokens
from continualml.store.engine import open_store, write

NOW = "2026-11-24T12:00:00.000+00:00"
CONFIG = """
default = "loan"
[models.loan]
kind = "classification"
target = "paid"
classes = ["no", "yes"]
[models.loan.features]
age = { kind = "numeric", nullable = false }
debt = { kind = "numeric" }
[models.price]
kind = "regression"
target = "value"
bound = 10.0
[models.price.features]
size = "numeric"
city = "categorical"
"""
LOAN = Model(
    name="loan",
    kind="classification",
    target="paid",
    classes=("no", "yes"),
    features=(Feature(name="age", nullable=False), Feature(name="debt")),
)
PRICE = Model(
    name="price",
    kind="regression",
    target="value",
    bound=10.0,
    features=(Feature(name="size"), Feature(name="city", kind="categorical")),
)


def graph(model: Model, slope: float) -> bytes:
    """Answer with the logistic function of ``slope * age``, or with ``slope * size``."""
    k = len(model.numeric)
    weights = np.zeros((k, model.width), dtype=np.float32)
    weights[0] = [-slope, slope][: model.width] if model.classes else [slope]
    cleaned = helper.make_node("Where", ["missing", "zero", "numeric"], ["x"])
    last = "Softmax" if model.classes else "Identity"
    inputs = [helper.make_tensor_value_info("numeric", TensorProto.FLOAT, [None, k])]
    if model.categorical:
        inputs.append(
            helper.make_tensor_value_info(
                "categorical", TensorProto.STRING, [None, len(model.categorical)]
            )
        )
    made = helper.make_graph(
        [
            helper.make_node("IsNaN", ["numeric"], ["missing"]),
            cleaned,
            helper.make_node("MatMul", ["x", "weights"], ["scores"]),
            helper.make_node(last, ["scores"], ["answer"]),
        ],
        "by-hand",
        inputs,
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [None, model.width])],
        [
            helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.ravel()),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        ],
    )
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    rows = rows_of(np.arange(1, 11))
    manifest = write_manifest(
        {"format": FORMAT, "schema": schema(model), "rows": {**rows, "through": 10}}
    )
    helper.set_model_props(proto, {KEY: manifest})
    data: bytes = onnx.ModelProto.SerializeToString(proto)
    return data


def altered(model: Model, *nodes: onnx.NodeProto) -> bytes:
    """Make the graph of slope 1, with nodes between its "raw" scores and the "scores" it tells."""
    proto = onnx.load_model_from_string(graph(model, 1.0))
    product = next(n for n in proto.graph.node if n.op_type == "MatMul")
    product.output[0] = "raw"
    at = list(proto.graph.node).index(product) + 1
    for i, node in enumerate(nodes):
        proto.graph.node.insert(at + i, node)
    data: bytes = onnx.ModelProto.SerializeToString(proto)
    return data


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [n for n in os.environ if n.startswith("CONTINUAL_") or n == "API_KEY"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return project_in(tmp_path)


def project_in(folder: Path) -> Project:
    config = folder / "continual.toml"
    config.write_text(CONFIG, encoding="utf-8")
    data = folder / "data"
    said = Settings(
        config=config,
        data=data,
        database_url=f"sqlite:///{data}/log.sqlite",
        port=free_port(),
        max_body_bytes=50_000,
        max_rows=100,
    )
    models = {"loan": LOAN, "price": PRICE, "demo": demo.DEMO}
    return Project(settings=said, models=models, default="loan")


@pytest.fixture
def register(project: Project) -> Callable[..., int]:
    """Give a model one more version, without pointing at it; returns its number."""

    def register(slope: float = 1.0, model: str = "loan", data: bytes | None = None) -> int:
        return registered(project, slope, model, data)

    return register


def registered(
    project: Project,
    slope: float = 1.0,
    model: str = "loan",
    data: bytes | None = None,
    *,
    place: artifacts.Place | None = None,
) -> int:
    one = project.models[model]
    sha256 = artifacts.write(place or project.settings.artifacts, data or graph(one, slope))
    engine = open_store(project.settings.database_url)
    with write(engine) as conn:
        known = pointers.register(
            conn,
            model,
            sha256,
            strategy="by-hand",
            manifest={"slope": slope},
            recorded_at=NOW,
        )
    engine.dispose()
    return known.version


@pytest.fixture
def point(project: Project) -> Callable[..., None]:
    """Make a version the champion, or point another alias at it."""
    engine = open_store(project.settings.database_url)

    def point(
        version: int,
        model: str = "loan",
        alias: str = "champion",
        *,
        revision: int | None = None,
        weights: tuple[float, ...] = (),
    ) -> None:
        with write(engine) as conn:
            pointers.point(conn, model, alias, version, 0, revision=revision, weights=weights)

    return point


@pytest.fixture
def token(project: Project) -> Callable[..., str]:
    """Make a token with these scopes."""

    def token(*scopes: str) -> str:
        engine = open_store(project.settings.database_url)
        with write(engine) as conn:
            _, secret = tokens.create(conn, f"test-{'-'.join(scopes)}", scopes)
        engine.dispose()
        return secret

    return token


@pytest.fixture
def serve(project: Project) -> Iterator[Callable[[], httpx.Client]]:
    """Serve the project on a real socket; the client has the admin token."""
    running: list[tuple[uvicorn.Server, threading.Thread, httpx.Client]] = []

    def serve() -> httpx.Client:
        port = project.settings.port
        app = main.create(project)
        gc.freeze()  # a start looks through all that is loaded, here also what the tests brought
        config = uvicorn.Config(
            app, port=port, http=Connection, log_level="critical", lifespan="on"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        until = time.monotonic() + 10
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < until
            time.sleep(0.01)
        secret = project.settings.admin_token.read_text("utf-8").strip()
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {secret}"},
            timeout=10,
        )
        running.append((server, thread, client))
        return client

    yield serve
    for server, thread, client in running:
        client.close()
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def api(
    serve: Callable[[], httpx.Client], register: Callable[..., int], point: Callable[..., None]
) -> httpx.Client:
    """Serve both models, each with a first champion; client of an admin."""
    point(register(1.0))
    point(register(2.0, "price"), "price")
    return serve()


@pytest.fixture
def process(project: Project) -> Callable[[], "object"]:
    """Start ``python -m continualml.app.api`` and wait until it is ready; see ``running``."""
    return lambda: running(project)


@contextmanager
def running(project: Project, said: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server's process; what it prints goes to the file ``said`` if one is named."""
    env = {n: v for n, v in os.environ.items() if not n.startswith("CONTINUAL_")}
    out = None if said is None else os.open(said, os.O_WRONLY | os.O_CREAT, 0o600)
    child = subprocess.Popen(
        [sys.executable, "-m", "continualml.app.api"],
        env=env | environment(project.settings),
        cwd=project.settings.data.parent,
        start_new_session=True,
        stdout=out,
        stderr=None if said is None else subprocess.STDOUT,
    )
    if out is not None:
        os.close(out)
    try:
        until = time.monotonic() + 120  # the machine may be busy
        while True:
            assert child.poll() is None, f"the server ended with {child.returncode}"
            assert time.monotonic() < until
            try:
                httpx.get(f"http://127.0.0.1:{project.settings.port}/livez", timeout=1)
            except httpx.TransportError:
                time.sleep(0.02)
            else:
                break
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            child.wait(15)
