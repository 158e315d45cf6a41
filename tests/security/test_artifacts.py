"""What is loaded is named by its hash, is a graph of ours, and runs nobody's code."""

import base64
import hashlib
import http.client
import io
import os
import pickletools
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sqlalchemy import func, select

from continualml.errors import InputError
from continualml.scoring.session import Session
from continualml.settings import Project
from continualml.store import artifacts
from continualml.store.artifacts import ArtifactError
from continualml.store.engine import open_store, read
from continualml.store.tables import outcomes
from tests.api.conftest import LOAN, altered, graph

NAMES = (
    *("", ".", "..", "../../etc/passwd", "/etc/passwd", "a" * 63, "a" * 65, "A" * 64, "g" * 64),
    *("a" * 64 + "\n", "a" * 64 + "\0", "../" + "a" * 61, "a" * 32 + "/" + "a" * 31, "%2e" * 21),
)


def pickle_that_writes(path: Path) -> bytes:
    """Return a pickle that, were it loaded, would make a file."""
    text = f"c__builtin__\nexec\n(S{f'open({str(path)!r}, chr(119))'!r}\ntR."
    pickletools.dis(text.encode(), out=io.StringIO())  # it is one
    return text.encode()


def zipped(name: str, data: bytes) -> bytes:
    """Pack as joblib, PyTorch and skops pack."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(name, data)
    return out.getvalue()


def from_elsewhere(location: str) -> bytes:
    """Return a graph whose weights stand in another file."""
    proto = onnx.load_model_from_string(graph(LOAN, 1.0))
    weights = next(i for i in proto.graph.initializer if i.name == "weights")
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        weights.external_data.add(key=key, value=value)
    data: bytes = onnx.ModelProto.SerializeToString(proto)
    return data


def foreign(tmp_path: Path) -> dict[str, bytes]:
    bad = pickle_that_writes(tmp_path / "was-run")
    np.arange(4, dtype=np.float32).tofile("beside.bin")
    alone = onnx.load_model_from_string(graph(LOAN, 1.0))
    del alone.metadata_props[:]
    return {
        "a pickle": bad,
        "a base64 of a pickle": base64.b64encode(bad),
        "a packed pickle": zipped("data.pkl", bad),
        "a skops file": zipped("schema.json", b'{"__class__": "os.system"}'),
        "nothing": b"",
        "half a graph": graph(LOAN, 1.0)[:200],
        "a graph of somebody else": onnx.ModelProto.SerializeToString(alone),
        "weights beside it": from_elsewhere("beside.bin"),
        "weights above it": from_elsewhere("../beside.bin"),
        "weights anywhere": from_elsewhere("/etc/passwd"),
        "an operator of a library": altered(
            LOAN, helper.make_node("Evil", ["raw"], ["scores"], domain="com.evil")
        ),
    }


def test_a_name_that_is_no_hash_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd.onnx").write_bytes(b"x")

    for name in NAMES:
        with pytest.raises(ArtifactError, match="expected a SHA-256"):
            artifacts.read(tmp_path / "artifacts", name)


def test_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    data = graph(LOAN, 1.0)
    sha256 = hashlib.sha256(data).hexdigest()
    outside = tmp_path / "outside.onnx"
    outside.write_bytes(data)  # its bytes even have the right hash
    folder = tmp_path / "artifacts"
    folder.mkdir()
    place = folder / f"{sha256}.onnx"

    place.symlink_to(outside)
    with pytest.raises(ArtifactError, match="cannot be read: Too many levels of symbolic links"):
        artifacts.read(folder, sha256)
    place.unlink()

    os.mkfifo(place)
    began = time.monotonic()
    with pytest.raises(ArtifactError, match="no plain file"):
        artifacts.read(folder, sha256)
    assert time.monotonic() - began < 1
    place.unlink()

    place.mkdir()
    with pytest.raises(ArtifactError):
        artifacts.read(folder, sha256)


def test_nothing_but_a_graph_of_ours_is_loaded_and_nothing_of_it_is_run(tmp_path: Path) -> None:
    for what, data in foreign(tmp_path).items():
        with pytest.raises(InputError, match="artifact"):
            Session(data)
        assert not (tmp_path / "was-run").exists(), what
    Session(graph(LOAN, 1.0))  # what they were made from is one


def test_a_foreign_artifact_that_is_registered_never_answers(
    api: httpx.Client,
    project: Project,
    tmp_path: Path,
    register: Callable[..., int],
    point: Callable[..., None],
) -> None:
    row = {"features": {"age": 1.0, "debt": None}}
    before = api.post("/predict", json=row).json()
    end = time.monotonic() + 30
    for what, data in foreign(tmp_path).items():
        if not data:
            continue  # the fixture would make a graph of its own
        seen = n_unfit(project)
        point(register(data=data))
        while n_unfit(project) == seen:  # the server says so in the log
            assert time.monotonic() < end, what
            time.sleep(0.05)

        now = api.post("/predict", json=row).json()

        assert now["version"] == before["version"], what
        said, known = (a["predictions"][0]["probabilities"] for a in (now, before))
        assert said == known, what
    assert not (tmp_path / "was-run").exists()


def n_unfit(project: Project) -> int:
    engine = open_store(project.settings.database_url)
    with read(engine) as conn:
        found = conn.scalar(select(func.count()).where(outcomes.c.kind == "unfit"))
    engine.dispose()
    return int(found or 0)


def test_a_path_in_an_address_leads_nowhere(api: httpx.Client, project: Project) -> None:
    secret = project.settings.admin_token.read_bytes().strip()
    bearer = {"Authorization": api.headers["Authorization"]}
    up = ("..", "%2e%2e", "..%2f..", ".%2e/.", "%00", "loan%00", "..%5c..", "%252e%252e")
    for name in up:
        for url in (
            *(f"/models/{name}", f"/models/{name}/versions/1", f"/docs/files/{name}"),
            *(f"/docs/files/{name}/{name}/data/admin.token", f"/docs/files/{name}/__init__.py"),
        ):
            asked = http.client.HTTPConnection("127.0.0.1", project.settings.port, timeout=10)
            asked.request("GET", url, headers=bearer)  # as it stands here, other than httpx
            answer = asked.getresponse()
            assert answer.status in {400, 404, 422}, url
            assert secret not in answer.read()
            asked.close()
