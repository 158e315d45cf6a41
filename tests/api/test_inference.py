"""The Open Inference Protocol, spoken by Triton's own client and by hand."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from continualml.settings import Project
from continualml.store import log
from continualml.store.engine import open_store, read
from tests.api.conftest import LOAN

ROWS = np.array([[0.5, 1.0], [-2.0, np.nan], [0.0, 3.0]])
YES = 1 / (1 + np.exp(-2 * ROWS[:, 0]))


@pytest.fixture
def client(api: httpx.Client) -> Iterator[triton.InferenceServerClient]:
    made = triton.InferenceServerClient(str(api.base_url).removeprefix("http://"))
    yield made
    made.close()


@pytest.fixture
def allowed(api: httpx.Client) -> dict[str, str]:
    return {"Authorization": api.headers["Authorization"]}


def recorded(project: Project, ids: list[str], model: str = "loan") -> list[log.Observed | None]:
    engine = open_store(project.settings.database_url)
    with read(engine) as conn:
        found = log.recorded(conn, [(model, i) for i in ids])
    engine.dispose()
    return [found.get((model, i)) for i in ids]


def matrix(rows: np.ndarray[Any, Any], kind: str = "FP64", *, binary: bool = True) -> Any:
    made = triton.InferInput("rows", rows.shape, kind)
    made.set_data_from_numpy(rows, binary_data=binary)
    return made


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_is_answered_and_each_row_stands_in_the_log(
    client: triton.InferenceServerClient, allowed: dict[str, str], project: Project, *, binary: bool
) -> None:
    rows = ROWS if binary else ROWS[[0, 2]]
    wanted = [
        triton.InferRequestedOutput(n, binary_data=binary) for n in ("predict", "predict_proba")
    ]

    answer = client.infer(
        "loan", [matrix(rows, binary=binary)], outputs=wanted, request_id="night", headers=allowed
    )

    yes = YES if binary else YES[[0, 2]]
    proba = answer.as_numpy("predict_proba")
    assert proba.shape == (len(rows), 2)
    assert proba[:, 1] == pytest.approx(yes, abs=1e-6)
    said = [v.decode() if isinstance(v, bytes) else v for v in answer.as_numpy("predict")]
    assert said == [LOAN.classes[int(p.argmax())] for p in proba]
    assert answer.get_response()["id"] == "night"
    assert answer.get_response()["model_version"] == "1"
    logged = recorded(project, [f"night/{i}" for i in range(len(rows))])
    for row, sent, told in zip(logged, rows, proba, strict=True):
        assert row is not None
        assert np.array_equal(np.frombuffer(row.numeric), sent, equal_nan=True)
        assert np.frombuffer(row.answer or b"").tolist() == told.tolist()


def test_a_thousand_float32_rows_are_each_logged_under_an_id_of_their_own(
    client: triton.InferenceServerClient,
    allowed: dict[str, str],
    project: Project,
) -> None:
    rows = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    wanted = [triton.InferRequestedOutput(n) for n in ("observation_id", "predict_proba")]

    answer = client.infer("loan", [matrix(rows, "FP32")], outputs=wanted, headers=allowed)

    ids = [i.decode() for i in answer.as_numpy("observation_id")]
    assert len(set(ids)) == 100
    logged = recorded(project, ids)
    assert all(row is not None for row in logged)
    for row, sent, told in zip(logged, rows, answer.as_numpy("predict_proba"), strict=True):
        assert row is not None
        assert np.frombuffer(row.numeric).tolist() == sent.tolist()
        assert np.frombuffer(row.answer or b"").tolist() == told.tolist()
        assert (row.version, row.categorical) == (1, None)


def test_features_come_by_name_with_texts_and_ids_of_ones_own(
    client: triton.InferenceServerClient, allowed: dict[str, str], project: Project
) -> None:
    city = triton.InferInput("city", [2, 1], "BYTES")
    city.set_data_from_numpy(np.array([["Zürich"], [""]], dtype=object))
    size = triton.InferInput("size", [2], "INT32")
    size.set_data_from_numpy(np.array([3, 4], dtype=np.int32))
    ids = triton.InferInput("observation_id", [2], "BYTES")
    ids.set_data_from_numpy(np.array(["flat/1", "flat 2"], dtype=object))

    answer = client.infer("price", [city, size, ids], headers=allowed)

    assert answer.as_numpy("predict").tolist() == [6.0, 8.0]
    assert answer.as_numpy("observation_id") is None  # it was not asked for
    logged = recorded(project, ["flat/1", "flat 2"], "price")
    assert [row and row.categorical for row in logged] == ['["Zürich"]', '[""]']


def test_what_the_model_takes_can_be_sent_as_its_metadata_says(
    client: triton.InferenceServerClient, allowed: dict[str, str]
) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata(headers=allowed)["extensions"] == ["binary_tensor_data"]
    for name in ("loan", "price"):
        assert client.is_model_ready(name, headers=allowed)
        told = client.get_model_metadata(name, headers=allowed)
        assert (told["name"], told["versions"]) == (name, ["1"])
        sent = []
        for one in told["inputs"]:
            tensor = triton.InferInput(one["name"], [1], one["datatype"])
            texts = one["datatype"] == "BYTES"
            tensor.set_data_from_numpy(np.array(["a" if texts else 1.0], object if texts else None))
            sent.append(tensor)
        answer = client.infer(name, sent, headers=allowed)
        assert {o["name"] for o in answer.get_response()["outputs"]} < {
            o["name"] for o in told["outputs"]
        }


def test_only_the_champions_version_answers(
    client: triton.InferenceServerClient,
    allowed: dict[str, str],
    register: Callable[..., int],
) -> None:
    other = str(register(3.0))

    assert client.is_model_ready("loan", "1", headers=allowed)
    assert client.infer("loan", [matrix(ROWS)], "1", headers=allowed).as_numpy("predict").size == 3
    assert not client.is_model_ready("loan", other, headers=allowed)
    with pytest.raises(
        InferenceServerException, match="'2' of loan does not answer now; version 1"
    ):
        client.infer("loan", [matrix(ROWS)], other, headers=allowed)


def test_a_repeated_request_is_answered_from_the_log_and_another_under_its_id_refused(
    client: triton.InferenceServerClient,
    allowed: dict[str, str],
    register: Callable[..., int],
    point: Callable[..., None],
    api: httpx.Client,
) -> None:
    first = client.infer("loan", [matrix(ROWS)], request_id="a", headers=allowed)
    point(register(-5.0))
    until = time.monotonic() + 5
    while api.get("/readyz").json()["version"] != 2:
        assert time.monotonic() < until
        time.sleep(0.05)

    again = client.infer("loan", [matrix(ROWS)], request_id="a", headers=allowed)

    assert again.as_numpy("predict_proba").tolist() == first.as_numpy("predict_proba").tolist()
    with pytest.raises(InferenceServerException, match="recorded already, with other features"):
        client.infer("loan", [matrix(ROWS + 1)], request_id="a", headers=allowed)


def tensor(
    name: str, shape: list[int], kind: str, data: object, **more: object
) -> dict[str, object]:
    return {"name": name, "shape": shape, "datatype": kind, "data": data, **more}


AGE, DEBT = tensor("age", [1], "FP64", [1.0]), tensor("debt", [1], "FP64", [None])


WRONG: list[tuple[list[object], int, str]] = [
    ([], 422, "inputs: Expected `array` of length >= 1"),
    ([AGE], 422, "inputs[debt]: expected a tensor, got none"),
    ([AGE, AGE], 422, "inputs[age]: expected each input once"),
    ([AGE, tensor("dept", [1], "FP64", [1])], 422, "the features are ['age', 'debt']"),
    ([AGE, DEBT | {"shape": [2]}], 422, "inputs[debt].data: expected 2 values"),
    ([AGE, tensor("debt", [2], "FP64", [1, 2])], 422, "inputs[debt].shape: expected 1 rows"),
    ([tensor("x", [1, 3], "FP64", [1, 2, 3])], 422, "inputs[x].shape: expected [rows, 2]"),
    ([tensor("x", [2], "FP64", [1, 2])], 422, "inputs[x].shape: expected [rows, 2]"),
    ([tensor("x", [1, 2], "COMPLEX", [1, 2])], 422, "inputs[x].datatype: expected one of"),
    ([tensor("x", [1, 2], "FP64", [None, 2])], 422, "rows[0].features.age: expected a number"),
    ([tensor("x", [1, 2], "FP64", [1, 1e39])], 422, "rows[0].features.debt: expected a number"),
    ([tensor("x", [1, 2], "FP64", ["1", 2])], 422, "inputs[x].data[0]: expected a number"),
    ([tensor("x", [1, 2], "FP64", [True, 2])], 422, "inputs[x].data[0]: expected a number"),
    ([tensor("x", [1, 2], "FP64", 3)], 422, "inputs[x].data: expected 2 values"),
    ([tensor("x", [0, 2], "FP64", [])], 422, "inputs[x]: expected one or more"),
    ([tensor("x", [101, 2], "FP64", [1] * 202)], 413, "inputs[x]: expected at most 100 rows"),
    ([{"name": "x", "shape": [1, 2], "datatype": "FP64"}], 422, "inputs[x].data: expected a"),
    (
        [tensor("x", [1, 2], "FP64", [1, 2], parameters={"binary_data_size": 16})],
        422,
        "inputs[x].parameters.binary_data_size: expected at most the 0 bytes",
    ),
]


def test_what_is_wrong_is_named_in_the_protocols_own_error(api: httpx.Client) -> None:
    for inputs, status, said in WRONG:
        refused = api.post("/v2/models/loan/infer", json={"inputs": inputs})

        assert refused.status_code == status, refused.text
        assert said in refused.json()["error"]
        assert refused.json()["error"] == refused.json()["detail"]


def test_every_error_below_v2_has_the_protocols_member(api: httpx.Client) -> None:
    good = {"inputs": [AGE, DEBT]}
    assert api.post("/v2/models/loan/infer", json=good).status_code == 200
    for method, path, status in (
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/none", 404),
        ("GET", "/v2/models/loan/infer", 405),
        ("GET", "/v2/models/demo", 503),  # it has no champion
    ):
        answer = api.request(method, path)
        assert answer.status_code == status
        assert answer.json()["error"]
    assert httpx.get(f"{api.base_url}/v2").json()["error"] == "this needs a valid bearer token"
    for headers, content, status in (
        ({}, b"{", 400),
        ({"content-encoding": "gzip"}, b"{}", 415),
        ({"inference-header-content-length": "9"}, b"{}", 422),
        ({"inference-header-content-length": "-1"}, b"{}", 422),
        ({"inference-header-content-length": "x"}, b"{}", 422),
    ):
        wrong = api.post("/v2/models/loan/infer", content=content, headers=headers)
        assert (wrong.status_code, bool(wrong.json()["error"])) == (status, True)


def test_bytes_that_do_not_fit_are_refused_and_nothing_is_logged(
    api: httpx.Client, project: Project
) -> None:
    def send(shape: list[int], kind: str, data: bytes, extra: bytes = b"") -> httpx.Response:
        one: dict[str, Any] = {"name": "x", "shape": shape, "datatype": kind}
        one["parameters"] = {"binary_data_size": len(data)}
        head = msgspec.json.encode({"id": "b", "inputs": [one]})
        headers = {"inference-header-content-length": str(len(head))}
        return api.post("/v2/models/loan/infer", content=head + data + extra, headers=headers)

    for shape, kind, data, extra in (
        ([1, 2], "FP64", b"123456789", b""),
        ([1, 2], "FP64", bytes(8), b""),
        ([1, 2], "FP64", bytes(16), b"more"),
        ([1, 2], "BYTES", b"\x09\0\0\0a", b""),
        ([1, 2], "BYTES", b"\x01\0\0\0\xff\x01\0\0\0a", b""),
        ([1, 2], "BYTES", b"\x01\0", b""),
    ):
        assert send(shape, kind, data, extra).status_code == 422
    assert recorded(project, ["b"]) == [None]
    assert send([1, 2], "FP64", bytes(16)).status_code == 200
    assert recorded(project, ["b"]) != [None]
