import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from continualml.settings import Project
from continualml.store import log
from continualml.store.engine import open_store, read, write

GOOD = {"age": 0.5, "debt": 1.0}


def recorded(project: Project, observation_id: str, model: str = "loan") -> log.Observed | None:
    engine = open_store(project.settings.database_url)
    with read(engine) as conn:
        found = log.recorded(conn, [(model, observation_id)]).get((model, observation_id))
    engine.dispose()
    return found


def last_seq(project: Project) -> int:
    engine = open_store(project.settings.database_url)
    with read(engine) as conn:
        last = log.last_seq(conn)
    engine.dispose()
    return last


@pytest.mark.parametrize("word", ["NaN", "-Infinity"])
def test_a_number_that_json_does_not_know_is_named(api: httpx.Client, word: str) -> None:
    refused = api.post("/predict", content=f'{{"features": {{"age": 1, "debt": {word}}}}}')
    assert refused.status_code == 400
    assert refused.json()["detail"] == f"{word.strip('-')} is not JSON; send null"


def test_what_came_is_said_in_the_words_of_json(api: httpx.Client) -> None:
    for value, said in (
        ("forty", "'forty' (a string)"),
        (None, "null"),
        (True, "true"),
        ([1], "[1] (a list)"),
        ({"a": 1}, "{'a': 1} (an object)"),
    ):
        told = api.post("/predict", json={"features": {"age": value, "debt": 1}}).json()
        assert told["detail"].startswith("features.age: expected a number")
        assert f", got {said}" in told["detail"]
    told = api.post("/predict", json={"features": {"debt": 1}}).json()
    assert told["detail"] == "features.age: expected a number, got no such field"


def test_one_row_is_answered_by_the_champion_and_stands_in_the_log(
    api: httpx.Client, project: Project
) -> None:
    answer = api.post("/predict", json={"features": GOOD, "observation_id": "a"})

    assert answer.status_code == 200
    assert answer.headers["x-model-version"] == "1"
    body = answer.json()
    yes = 1 / (1 + math.exp(-1.0))
    assert (body["model"], body["version"]) == ("loan", 1)
    (one,) = body["predictions"]
    assert (one["observation_id"], one["prediction"]) == ("a", "yes")
    assert one["probabilities"] == pytest.approx({"no": 1 - yes, "yes": yes}, abs=1e-6)
    row = recorded(project, "a")
    assert row is not None
    assert np.frombuffer(row.numeric).tolist() == [0.5, 1.0]
    assert row.version == 1
    assert np.frombuffer(row.answer or b"").tolist() == list(one["probabilities"].values())


def test_many_rows_are_answered_in_their_order_each_with_an_id_of_its_own(
    api: httpx.Client,
) -> None:
    rows = [{"features": {"age": a, "debt": None}} for a in (-2.0, 2.0, -1, 1)]

    answer = api.post("/models/loan/predict", json={"instances": rows}).json()

    told = answer["predictions"]
    assert [p["prediction"] for p in told] == ["no", "yes", "no", "yes"]
    ids = [p["observation_id"] for p in told]
    assert len(set(ids)) == 4
    assert all(len(i) == 32 and i[12] == "7" and i[16] in "89ab" for i in ids)


def test_a_regression_with_a_category_answers_its_value(api: httpx.Client) -> None:
    body = {"features": {"size": 3.5, "city": "Zürich 🏔"}, "observation_id": "b"}

    answer = api.post("/models/price/predict", json=body)

    assert answer.json()["predictions"] == [{"observation_id": "b", "prediction": 7.0}]
    told = api.get("/predictions/b", params={"model": "price"}).json()
    assert told["features"] == {"size": 3.5, "city": "Zürich 🏔"}


def test_the_same_id_with_the_same_features_gives_the_recorded_answer_of_its_version(
    api: httpx.Client,
    project: Project,
    register: Callable[..., int],
    point: Callable[..., None],
) -> None:
    first = api.post("/predict", json={"features": GOOD, "observation_id": "a"}).json()
    point(register(5.0))
    _until(lambda: api.post("/predict", json={"features": GOOD}).json()["version"] == 2)
    before = last_seq(project)

    again = api.post("/predict", json={"features": GOOD, "observation_id": "a"})
    mixed = api.post(
        "/predict",
        json={"instances": [{"features": GOOD, "observation_id": i} for i in ("a", "n", "a")]},
    ).json()

    assert again.json() == first
    assert mixed["version"] == 2
    told = {p["observation_id"]: p for p in mixed["predictions"]}
    assert told["a"] == {**first["predictions"][0], "version": 1}
    assert "version" not in told["n"]
    assert last_seq(project) == before + 1  # "n"; what was recorded is not recorded again


def test_the_same_id_with_other_features_is_a_conflict_and_changes_nothing(
    api: httpx.Client, project: Project
) -> None:
    api.post("/predict", json={"features": GOOD, "observation_id": "a"})
    before = recorded(project, "a")

    other = {"features": {"age": 0.6, "debt": 1.0}, "observation_id": "a"}
    answer = api.post("/predict", json=other)

    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:continualml:problem:observation-conflict"
    assert recorded(project, "a") == before


def test_an_id_twice_in_one_request_is_one_observation_if_its_features_agree(
    api: httpx.Client, project: Project
) -> None:
    before = last_seq(project)
    twice = [{"features": GOOD, "observation_id": "t"}] * 2

    answer = api.post("/predict", json={"instances": twice})
    other = [{"features": {"age": a, "debt": 0}, "observation_id": "u"} for a in (1, 2)]
    conflict = api.post("/predict", json={"instances": other})

    one, two = answer.json()["predictions"]
    assert one == two
    assert last_seq(project) - before == 2  # "t", and the first "u"
    assert conflict.status_code == 409


def test_minus_zero_and_zero_are_the_same_feature(api: httpx.Client) -> None:
    for zero in ("0.0", "-0.0"):
        body = f'{{"features": {{"age": {zero}, "debt": 1}}, "observation_id": "z"}}'
        assert api.post("/predict", content=body).status_code == 200


def test_null_is_taken_where_the_schema_allows_a_missing_value(api: httpx.Client) -> None:
    body = {"features": {"age": 1.0, "debt": None}, "observation_id": "m"}

    assert api.post("/predict", json=body).status_code == 200
    assert api.get("/predictions/m").json()["features"] == body["features"]


def test_a_row_without_a_finite_answer_fails_alone(api: httpx.Client, project: Project) -> None:
    def send(size: float) -> int:
        body = {"features": {"size": size, "city": "x"}}
        return api.post("/models/price/predict", json=body).status_code

    # Twice 3e38 is no float32; so few such rows are no guard's business.
    sizes = [3e38 if i % 20 == 0 else 1.0 for i in range(200)]
    with ThreadPoolExecutor(8) as clients:
        told = list(clients.map(send, sizes))

    assert told == [422 if size > 1 else 200 for size in sizes]
    assert last_seq(project) == 190


LONG = "x" * 1_001
ROW = '{"features": {"age": 1, "debt": 1}}'
INVALID = [  # body, and the field that is named
    ('{"features": {"debt": 1}}', "features.age"),
    ('{"features": {"age": 1}}', "features.debt"),
    ('{"features": {"age": 1, "debt": 1, "agee": 1}}', "features.agee"),
    ('{"features": {"age": 1, "debt": 1, "ag\\u00e9 🦉": 1}}', "features.agé 🦉"),
    ('{"features": {"age": null, "debt": 1}}', "features.age"),
    ('{"features": {"age": "forty", "debt": 1}}', "features.age"),
    ('{"features": {"age": true, "debt": 1}}', "features.age"),
    ('{"features": {"age": [1], "debt": 1}}', "features.age"),
    ('{"features": {"age": 1e39, "debt": 1}}', "features.age"),
    ('{"features": {"age": -1e39, "debt": 1}}', "features.age"),
    (f'{{"features": {{"age": {"9" * 400}, "debt": 1}}}}', "features.age"),
    ('{"features": {"age": 1e999, "debt": 1}}', "features.*"),
    ("[]", "body"),
    ("{}", "body"),
    ('{"rows": []}', "body"),
    (ROW[:-1] + ', "instances": []}', "body"),
    ('{"instances": []}', "instances"),
    ('{"instances": [3]}', "instances[0]"),
    (f'{{"instances": [{ROW}, {ROW.replace("1", "{}", 1)}]}}', "instances[1].features.age"),
    (ROW[:-1] + ', "observation_id": ""}', "observation_id"),
    (ROW[:-1] + ', "observation_id": 7}', "observation_id"),
    (ROW[:-1] + ', "observation_id": "a\\u0000"}', "observation_id"),
    (ROW[:-1] + f', "observation_id": "{LONG}"}}', "observation_id"),
]
MALFORMED = [
    "",
    "{",
    '{"features": {"age": NaN, "debt": 1}}',
    '{"features": {"age": Infinity, "debt": 1}}',
    '{"features": {"\\ud800": 1}}',
    '{"features": {"age": ' + "[" * 9_000,
]
MANY = ",".join([ROW] * 101)
REFUSED = [
    *(("/predict", body, where, 422, "invalid-input") for body, where in INVALID),
    *(("/predict", body, "", 400, "malformed-json") for body in MALFORMED),
    *(
        ("/models/price/predict", body, "features.city", 422, "invalid-input")
        for body in (
            '{"features": {"size": 1, "city": 3}}',
            f'{{"features": {{"size": 1, "city": "{LONG}"}}}}',
        )
    ),
    ("/models/nobody/predict", ROW, "", 404, "unknown-model"),
    ("/predict", f'{{"instances": [{MANY}]}}', "instances", 413, "too-many-rows"),
    ("/predict", ROW + " " * 50_000, "", 413, "too-large"),
]


def test_bad_input_is_refused_with_the_field_named_and_nothing_recorded(
    api: httpx.Client, project: Project
) -> None:
    before = last_seq(project)
    for route, body, where, status, kind in REFUSED:
        answer = api.post(route, content=body.encode())

        problem, which = answer.json(), f"{route} {body[:80]}"
        assert answer.headers["content-type"] == "application/problem+json", which
        assert (answer.status_code, problem["status"]) == (status, status), which
        assert problem["type"] == f"urn:continualml:problem:{kind}", which
        assert problem.get("where", "") == where, which
        assert len(answer.content) < 2_000, which
    assert last_seq(project) == before


def test_a_chunked_body_without_a_length_is_stopped_at_the_limit(api: httpx.Client) -> None:
    sent: list[int] = []

    def endless() -> Any:
        yield b'{"features": {"age": 1, "debt": "'
        for _ in range(2_000):
            sent.append(1)
            yield b"x" * 1_000

    try:
        answer = api.post("/predict", content=endless())
    except httpx.WriteError:  # the server has closed while the client was still sending
        assert len(sent) < 2_000
    else:
        assert answer.status_code == 413

    assert api.get("/livez").status_code == 200


LOST = [
    ("GET", "/nowhere", 404),
    ("GET", "/predict", 405),
    ("DELETE", "/models", 405),
    ("POST", "/retrain", 404),
    ("GET", "/models/nobody", 404),
    ("GET", "/models/loan/versions/99", 404),
    ("GET", "/models/loan/versions/x", 422),
    ("GET", "/decisions/99", 404),
    ("GET", "/decisions?limit=0", 422),
    ("GET", "/predictions/unknown", 404),
]


def test_every_error_is_a_problem_document(api: httpx.Client) -> None:
    for method, route, status in LOST:
        answer = api.request(method, route)

        assert answer.headers["content-type"] == "application/problem+json", route
        assert (answer.status_code, answer.json()["status"]) == (status, status), route
        assert {"type", "title", "detail"} <= answer.json().keys(), route


def test_a_fault_of_the_server_tells_the_client_nothing_but_that_it_is_one(
    api: httpx.Client, project: Project
) -> None:
    engine = open_store(project.settings.database_url)
    with write(engine) as conn:
        conn.exec_driver_sql("DROP TABLE ledger")

    answer = api.get("/decisions")

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "ledger" not in answer.text
    engine.dispose()


def _until(holds: Callable[[], bool], most_s: float = 5.0) -> None:
    until = time.monotonic() + most_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)
