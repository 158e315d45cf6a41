"""Bodies that are wrong in any way: never 5xx, and the error names the one field that is wrong."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.security.conftest import Server

pytestmark = [pytest.mark.journey, pytest.mark.patient]

MANY = settings(max_examples=150, suppress_health_check=list(HealthCheck))
VALID: dict[str, Any] = {
    "/predict": {"features": {"age": 1.5, "debt": None}, "observation_id": "order-1"},
    "/models/price/predict": {"instances": [{"features": {"size": 2, "city": "Köln"}}] * 2},
    "/labels": {"labels": [{"observation_id": "order-1", "label": "yes", "revision": 1}]},
    "/generate": {"n": 2, "seed": 1, "noise": 0.5, "drift": 1.0},
}
PATHS = st.sampled_from(sorted(VALID))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def send(server: Server, path: str, body: bytes) -> httpx.Response:
    """Post it; whatever it was, the answer is 200 or a problem that is the sender's."""
    answer = server.api.post(path, content=body)
    if answer.status_code != 200:
        problem = answer.json()
        assert answer.status_code in {400, 409, 413, 422}, (path, body, problem)
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["status"] == answer.status_code
        assert problem["detail"]
        assert len(answer.content) < 4_000  # it repeats no more of the body than helps
        if answer.status_code == 422:
            assert problem["where"], (path, body)
    return answer


@MANY
@given(path=PATHS, body=st.binary(max_size=200))
@example(path="/predict", body=b"\xff\xfe{\x00}\x00")
@example(path="/predict", body=b"[" * 40_000)
@example(path="/predict", body=b'{"features":' * 4_000)
@example(path="/predict", body=b'{"features": {"age": ' + b"[" * 20_000 + b"]" * 20_000 + b"}}")
@example(path="/predict", body=b'{"features": {"age": ' + b"9" * 40_000 + b"}}")
@example(path="/predict", body=b'{"features": {"age": 1e999, "debt": -1e999}}')
@example(path="/predict", body=b'{"features": {"age": -0, "debt": 1E-400}, "observation_id": null}')
@example(path="/labels", body=b'{"labels": [{"observation_id": "a", "label": 1e999}]}')
@example(path="/labels", body=b'{"labels": [{"observation_id": "a", "label": "\\ud800"}]}')
@example(path="/labels", body=b'{"labels": [{"observation_id": "\\udfff", "label": "yes"}]}')
@example(path="/predict", body=b'{"features": {"age": 1, "debt": 1}, "observation_id": "\\ud800"}')
@example(path="/generate", body=b'{"n": 1e400}')
@example(path="/generate", body=b'{"noise": 1000000, "drift": -1000000, "n": 1}')
@example(path="/generate", body=b"\xef\xbb\xbf{}")
def test_any_bytes_are_answered_and_the_next_request_too(
    server: Server, path: str, body: bytes
) -> None:
    send(server, path, body)

    assert server.api.get("/livez").status_code == 200


@MANY
@given(path=PATHS, data=st.data())
def test_a_body_that_was_damaged_on_its_way_is_answered(
    server: Server, path: str, data: st.DataObject
) -> None:
    body = bytearray(json.dumps(VALID[path]).encode())
    for _ in range(data.draw(st.integers(1, 4), "changes")):
        at = data.draw(st.integers(0, len(body)), "at")
        cut = data.draw(st.integers(0, 3), "cut")
        body[at : at + cut] = data.draw(st.binary(max_size=3), "put in")

    send(server, path, bytes(body))


@MANY
@given(path=PATHS, data=st.data())
def test_a_body_with_any_value_anywhere_is_answered(
    server: Server, path: str, data: st.DataObject
) -> None:
    body = json.loads(json.dumps(VALID[path]))
    spot, key = data.draw(st.sampled_from(list(_spots(body))), "where")
    spot[key] = data.draw(VALUES, "put in")

    send(server, path, json.dumps(body).encode())


def _spots(body: Any) -> list[tuple[Any, Any]]:
    """Return each place of a document, as a container and a key."""
    keys = list(body) if isinstance(body, dict) else range(len(body))
    inner = [s for k in keys if isinstance(body[k], dict | list) for s in _spots(body[k])]
    return [(body, key) for key in keys] + inner


NOT_A_NUMBER = (
    st.booleans()
    | st.text(max_size=80)
    | st.lists(VALUES, max_size=3)
    | st.dictionaries(st.text(max_size=8), VALUES, max_size=3)
    | st.integers(min_value=10**39)
    | st.integers(max_value=-(10**39))
    | st.floats(min_value=1e39, allow_infinity=False)
)
NOT_A_TEXT = (
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.lists(VALUES, max_size=3)
    | st.text(min_size=257, max_size=300)
    | st.just("with \0")
)


@MANY
@given(row=st.integers(0, 3), value=NOT_A_NUMBER, text=NOT_A_TEXT, wrong=st.sampled_from("nt"))
def test_the_one_value_that_is_wrong_is_named_with_its_row(
    server: Server, row: int, value: Any, text: Any, wrong: str
) -> None:
    rows: list[dict[str, Any]] = [{"features": {"size": 1.0, "city": "a"}} for _ in range(4)]
    field = "size" if wrong == "n" else "city"
    rows[row]["features"][field] = value if wrong == "n" else text

    answer = send(server, "/models/price/predict", json.dumps({"instances": rows}).encode())

    assert answer.status_code == 422
    assert answer.json()["where"] == f"instances[{row}].features.{field}"
    assert answer.json()["detail"].startswith(f"instances[{row}].features.{field}: expected ")


@MANY
@given(row=st.integers(0, 3), name=st.text(min_size=1, max_size=30))
def test_the_one_name_that_is_not_declared_is_named_with_its_row(
    server: Server, row: int, name: str
) -> None:
    rows: list[dict[str, Any]] = [{"features": {"size": 1.0, "city": "a"}} for _ in range(4)]
    rows[row]["features"][name] = 1.0
    if name in {"size", "city"}:
        return

    answer = send(server, "/models/price/predict", json.dumps({"instances": rows}).encode())

    assert answer.status_code == 422
    assert answer.json()["where"] == f"instances[{row}].features.{name}"
