from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx

from continualml.settings import Project
from continualml.store import windows
from continualml.store.engine import open_store, read


def labelled(api: httpx.Client, *labels: tuple[str, object, int]) -> list[tuple[str, str | None]]:
    items = [{"observation_id": o, "label": v, "revision": r} for o, v, r in labels]
    answer = api.post("/labels", json={"labels": items})
    assert answer.status_code == 200, answer.text
    return [(i["verdict"], i.get("reason")) for i in answer.json()["labels"]]


def observe(api: httpx.Client, *ids: str) -> None:
    rows = [{"features": {"age": 1.0, "debt": None}, "observation_id": i} for i in ids]
    assert api.post("/predict", json={"instances": rows}).status_code == 200


def test_a_label_is_accepted_then_a_duplicate_then_superseded(api: httpx.Client) -> None:
    observe(api, "a")

    assert labelled(api, ("a", "yes", 0)) == [("accepted", None)]
    assert labelled(api, ("a", "yes", 0)) == [("duplicate", None)]
    assert labelled(api, ("a", "no", 2)) == [("accepted", None)]
    assert labelled(api, ("a", "yes", 1)) == [("superseded", None)]


def test_a_revision_that_says_something_else_is_rejected_and_the_first_stays(
    api: httpx.Client,
) -> None:
    observe(api, "a")
    labelled(api, ("a", "yes", 0))

    ((verdict, reason),) = labelled(api, ("a", "no", 0))

    assert verdict == "rejected"
    assert reason is not None
    assert "higher revision" in reason
    truths = api.get("/predictions/a").json()["labels"]
    assert [(t["revision"], t["label"]) for t in truths] == [(0, "yes")]


def test_a_label_before_its_observation_waits_and_is_joined_when_it_comes(
    api: httpx.Client, project: Project
) -> None:
    assert labelled(api, ("late", "yes", 0)) == [("pending", None)]

    observe(api, "late")

    engine = open_store(project.settings.database_url)
    with read(engine) as conn:
        assert windows.n_joined(conn, project.models["loan"], 0) == 1
    engine.dispose()


def test_a_class_that_was_never_declared_is_rejected_and_the_others_are_kept(
    api: httpx.Client,
) -> None:
    observe(api, "a", "b", "c")

    told = labelled(api, ("a", "perhaps", 0), ("b", "yes", 0), ("c", 1.5, 0))

    assert [verdict for verdict, _ in told] == ["rejected", "accepted", "rejected"]
    assert "['no', 'yes']" in str(told[0][1])


def test_the_answer_counts_verdicts_and_feedback_is_the_same_route(api: httpx.Client) -> None:
    observe(api, "a")
    items = [{"observation_id": i, "label": "yes"} for i in ("a", "a", "b")]

    answer = api.post("/feedback", json={"labels": items}).json()

    assert answer["model"] == "loan"
    assert answer["counts"] == {"accepted": 1, "duplicate": 1, "pending": 1}


def test_labels_of_a_regression_are_numbers(api: httpx.Client) -> None:
    def send(label: object) -> str:
        item = {"observation_id": "p", "label": label}
        answer = api.post("/labels", json={"model": "price", "labels": [item]})
        verdict: str = answer.json()["labels"][0]["verdict"]
        return verdict

    assert [send(label) for label in ("7", True, 7, 7.0)] == [
        "rejected",
        "rejected",
        "pending",
        "duplicate",
    ]


REFUSED: list[tuple[str, int]] = [
    ("", 400),
    ("{", 400),
    ("{}", 422),
    ('{"labels": []}', 422),
    ('{"labels": [{"observation_id": "a"}]}', 422),
    ('{"labels": [{"label": "yes"}]}', 422),
    ('{"labels": [{"observation_id": "a", "label": null}]}', 422),
    ('{"labels": [{"observation_id": "a", "label": ["yes"]}]}', 422),
    ('{"labels": [{"observation_id": "a", "label": NaN}]}', 400),
    ('{"labels": [{"observation_id": "a", "label": "yes", "revision": -1}]}', 422),
    ('{"labels": [{"observation_id": "a", "label": "yes", "revision": 1e9}]}', 422),
    ('{"labels": [{"observation_id": "a", "label": "yes", "extra": 1}]}', 422),
    ('{"model": "nobody", "labels": [{"observation_id": "a", "label": "yes"}]}', 404),
    ('{"model": "price", "labels": [{"observation_id": "a", "label": 1%s}]}' % ("0" * 400), 422),
    (
        '{{"labels": [{}]}}'.format(",".join(['{"observation_id": "a", "label": "yes"}'] * 101)),
        413,
    ),
]


def test_bad_labels_are_refused_whole(api: httpx.Client) -> None:
    for body, status in REFUSED:
        answer = api.post("/labels", content=body.encode())

        assert answer.status_code == status, body[:80]
        assert answer.headers["content-type"] == "application/problem+json"
    observe(api, "a")
    assert api.get("/predictions/a").json()["labels"] == []


def test_generated_rows_are_observations_with_labels(
    api: httpx.Client,
) -> None:
    answer = api.post("/generate", json={"n": 50, "seed": 3, "drift": 1.0})
    again = api.post("/generate", content=b"").json()
    refused: list[Any] = [
        api.post("/generate", json=body).status_code
        for body in ({"n": 0}, {"n": 10_001}, {"noise": -1}, {"seed": "x"}, {"model": "loan"})
    ]

    told = answer.json()
    assert answer.status_code == 200
    assert told["rows"] == 50
    assert told["last_seq"] - told["first_seq"] == 99  # 50 observations and 50 labels
    assert again["first_seq"] == told["last_seq"] + 1
    assert refused == [422] * 5


def test_nothing_is_generated_into_a_model_of_the_users_own_that_is_named_demo(
    serve: Callable[[], httpx.Client], project: Project
) -> None:
    project.models["demo"] = replace(project.models["loan"], name="demo")
    api = serve()

    answer = api.post("/generate", json={"n": 5})

    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:continualml:problem:not-the-demo"
    assert api.get("/health").json()["components"]["store"]["last_seq"] == 0
