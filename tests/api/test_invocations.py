"""MLflow's scoring protocol, spoken by MLflow's own client and by hand."""

import math
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from continualml.settings import Project
from continualml.store import log
from continualml.store.engine import open_store, read

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read at its import
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns of the types of its own messages
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

FRAME = pd.DataFrame({"debt": [1.0, math.nan], "age": [0.5, -2.0]})


def recorded(project: Project, ids: list[str]) -> dict[str, log.Observed]:
    engine = open_store(project.settings.database_url)
    with read(engine) as conn:
        found = log.recorded(conn, [("loan", i) for i in ids])
    engine.dispose()
    return {i: row for (_, i), row in found.items()}


@pytest.fixture
def client(api: httpx.Client, token: Callable[..., str]) -> Any:
    made: Any = ScoringServerClient(f"token:{token('predict')}@127.0.0.1", api.base_url.port)  # type: ignore[no-untyped-call]
    made.wait_server_ready(timeout=10)
    until = time.monotonic() + 5
    while httpx.get(f"{made.url_prefix}/version").status_code == 401:
        assert time.monotonic() < until  # the server reads new tokens twice a second
        time.sleep(0.05)
    return made


def test_mlflows_own_client_is_answered_and_each_row_stands_in_the_log(
    client: Any, project: Project
) -> None:
    client.ping()
    assert client.get_version()

    answer = client.invoke(FRAME)

    assert answer["predictions"] == ["yes", "no"]
    assert answer.get_predictions().iloc[:, 0].tolist() == ["yes", "no"]
    rows = recorded(project, answer["observation_ids"])
    first, second = (rows[i] for i in answer["observation_ids"])
    assert np.frombuffer(first.numeric).tolist() == [0.5, 1.0]
    assert np.isnan(np.frombuffer(second.numeric)).tolist() == [False, True]
    assert np.frombuffer(first.answer or b"").tolist() == list(answer["probabilities"][0].values())


def test_mlflows_client_may_send_arrays_in_the_order_of_the_features(
    client: Any,
) -> None:
    assert client.invoke(np.array([[0.5, 1.0], [-2.0, 0.0]]))["predictions"] == ["yes", "no"]


RECORDS = [{"age": 0.5, "debt": 1.0}, {"age": -2, "debt": None}]


FORMS: list[dict[str, Any]] = [
    {"dataframe_split": {"columns": ["debt", "age"], "data": [[1, 0.5], [None, -2]]}},
    {"dataframe_split": {"index": [0, 1], "columns": ["age", "debt"], "data": [[1, 1], [-1, 1]]}},
    {"dataframe_records": RECORDS},
    {"instances": RECORDS},
    {"instances": [[0.5, 1.0], [-2, None]]},
    {"inputs": RECORDS},
    {"inputs": {"age": [0.5, -2.0], "debt": [1.0, None]}},
    {"inputs": {"age": [[0.5], [-2.0]], "debt": [[1.0], [None]]}},
    {"inputs": [[0.5, 1.0], [-2, None]], "params": {}},
]


def test_each_form_says_the_same(api: httpx.Client) -> None:
    for body in FORMS:
        answer = api.post("/invocations", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"] == ["yes", "no"]
        assert answer.headers["x-model-version"] == "1"


def test_a_table_as_csv_names_its_own_observations(api: httpx.Client, project: Project) -> None:
    table = "observation_id,debt,age\nmonday,1,0.5\nnan,,-2\n"

    answer = api.post("/invocations", content=table, headers={"content-type": "text/csv"})

    assert answer.json()["predictions"] == ["yes", "no"]
    assert answer.json()["observation_ids"] == ["monday", "nan"]
    assert set(recorded(project, ["monday", "nan"])) == {"monday", "nan"}
    again = api.post(
        "/invocations", content=table, headers={"content-type": "text/csv; charset=utf-8"}
    )
    assert again.json() == answer.json()


def test_another_model_is_asked_by_its_name(api: httpx.Client) -> None:
    rows = [{"size": 3, "city": "Bern"}]
    answer = api.post("/models/price/invocations", json={"dataframe_records": rows})
    assert (answer.json()["predictions"], "probabilities" in answer.json()) == ([6.0], False)


WRONG: list[tuple[object, int, str]] = [
    ({}, 422, "body: expected an object with one of"),
    ([1], 422, "body: expected an object with one of"),
    ({"instances": [[1, 2]], "inputs": [[1, 2]]}, 422, "with one of"),
    ({"instances": [[1, 2]], "signature_name": "x"}, 422, "signature_name: expected no such"),
    ({"instances": [[1, 2]], "params": {"t": 1}}, 422, "params: expected none"),
    ({"instances": []}, 422, "instances: expected one or more"),
    ({"instances": [[1]]}, 422, "instances[0]: expected 2 values"),
    ({"instances": [1]}, 422, "instances[0]: expected a row"),
    ({"instances": {"age": [1]}}, 422, "instances: expected a list of rows"),
    ({"dataframe_records": [[1, 2]]}, 422, "dataframe_records[0]: expected a row"),
    ({"dataframe_records": [{"age": "x", "debt": 1}]}, 422, "dataframe_records[0].features.age"),
    ({"dataframe_split": [1]}, 422, "dataframe_split: expected an object with the lists"),
    ({"dataframe_split": {"columns": ["age", "age"], "data": []}}, 422, "names, each once"),
    ({"dataframe_split": {"columns": ["age"], "data": [3]}}, 422, "dataframe_split.data[0]"),
    ({"inputs": {"age": [1, 2], "debt": [1]}}, 422, "inputs: expected as many values"),
    ({"inputs": {"age": 1, "debt": [1]}}, 422, "inputs.age: expected a list"),
    ({"dataframe_records": [{"age": 1, "debt": 1, "observation_id": 3}]}, 422, "observation_id"),
    ({"instances": [[1, 1]] * 101}, 413, "instances: expected at most 100 rows"),
]


def test_what_is_wrong_is_named_also_as_mlflow_does(api: httpx.Client) -> None:
    for body, status, said in WRONG:
        refused = api.post("/invocations", json=body)
        assert refused.status_code == status, refused.text
        assert said in refused.json()["message"]
        assert refused.json()["error_code"] == "BAD_REQUEST"


def test_a_body_that_is_neither_json_nor_csv_is_refused(api: httpx.Client) -> None:
    for kind, content, status in (
        ("application/json", b"{", 400),
        ("application/json", b"[" * 100_000, 413),
        ("application/json", b"[" * 40_000, 400),
        ("application/json", b"\xff", 400),
        ("text/csv", b"\xff", 422),
        ("text/csv", b"", 422),
        ("text/csv", b"age,debt\n1\n", 422),
        ("text/csv; charset=latin-1", b"age,debt\n1,1\n", 415),
        ("application/vnd.apache.parquet", b"", 415),
    ):
        refused = api.post("/invocations", content=content, headers={"content-type": kind})
        assert refused.status_code == status, (kind, content[:5], refused.text)
        assert refused.json()["message"]


def test_a_token_is_a_password_here_and_nowhere_else(
    api: httpx.Client, token: Callable[..., str]
) -> None:
    secret, reads = token("predict", "label"), token("read")
    url = str(api.base_url)
    body = {"instances": [[0.5, 1.0]]}
    while httpx.post(f"{url}/invocations", json=body, auth=("x", secret)).status_code == 401:
        time.sleep(0.05)  # the server has not read the new tokens yet
    assert httpx.post(f"{url}/invocations", json=body, auth=("x", secret)).status_code == 200
    assert httpx.post(f"{url}/invocations", json=body, auth=(secret, "x")).status_code == 401
    assert httpx.post(f"{url}/invocations", json=body, auth=("x", reads)).status_code in {401, 403}
    row = {"features": {"age": 1, "debt": 1}}
    assert httpx.post(f"{url}/predict", json=row, auth=("x", secret)).status_code == 401
    assert httpx.get(f"{url}/v2", auth=("x", secret)).status_code == 401
