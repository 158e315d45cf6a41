import time
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from onnx import helper, numpy_helper

from continualml.app.api import guard
from continualml.app.api.guard import Guard
from continualml.records import Rows, Unfit
from continualml.settings import Project
from continualml.store import log, pointers
from continualml.store.engine import open_store, read, write
from tests.api.conftest import LOAN, altered
from tests.api.test_champion import ROW, spoil, until

ALL = np.ones(1, dtype=np.bool_)


def rows(n: int = 1) -> Rows:
    return Rows(numeric=np.zeros((n, 2)), categorical=np.empty((n, 0), dtype=object))


def unfit(project: Project) -> list[Unfit]:
    engine = open_store(project.settings.database_url)
    with read(engine) as conn:
        found = [o.outcome for o in log.foreign_after(conn, "loan", 0)]
    engine.dispose()
    return [o for o in found if isinstance(o, Unfit)]


def without_roots() -> bytes:
    """Answer rows of age 0 alone: of one class the square root of the score is not real."""
    return altered(LOAN, helper.make_node("Sqrt", ["raw"], ["scores"]))


def slow() -> bytes:
    """Multiply two matrices of 900 x 900 for each run, and add nothing of it."""
    const = {"size": np.array([900, 900]), "zero_of": np.float32(0), "all": np.array([0, 1])}
    nodes = [
        helper.make_node("Constant", [], [n], value=numpy_helper.from_array(np.asarray(v)))
        for n, v in const.items()
    ]
    return altered(
        LOAN,
        *nodes,
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=1),
        helper.make_node("Expand", ["sum", "size"], ["wide"]),
        helper.make_node("MatMul", ["wide", "wide"], ["product"]),
        helper.make_node("ReduceMean", ["product"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero_of"], ["nothing"]),
        helper.make_node("Add", ["raw", "nothing"], ["scores"]),
    )


def test_it_trips_at_twenty_failures_that_are_more_than_a_twentieth() -> None:
    few, many, rare = Guard(), Guard(), Guard()
    for _ in range(19):
        few.failed(rows(), ALL)
    assert few.tripped is None
    for _ in range(20):
        many.failed(rows(), ALL)
    assert many.tripped is not None
    assert many.tripped.because == "20 of 20 rows had no finite answer"
    rare.ran(475, 0.1)
    for _ in range(24):
        rare.failed(rows(), ALL)  # 24 of 499: under a twentieth
    assert rare.tripped is None


def test_a_window_forgets_the_one_before() -> None:
    one = Guard()
    for _ in range(10):
        for _ in range(19):
            one.failed(rows(), ALL)
        one.ran(481, 0.1)
    assert (one.tripped, one.rows, one.unanswered, one.unanswerable) == (None, 0, 0, [])


def test_of_a_request_only_the_rows_at_fault_count_and_few_are_kept() -> None:
    one = Guard()
    at_fault = np.zeros(400, dtype=np.bool_)
    at_fault[::25] = True
    one.failed(rows(400), at_fault)
    assert (one.rows, one.unanswered, len(one.unanswerable), one.tripped) == (400, 16, 16, None)
    one = Guard()
    one.failed(rows(400), np.ones(400, dtype=np.bool_))
    assert len(one.unanswerable) == 64


@pytest.mark.parametrize(
    ("before_s", "row_s", "trips"),
    [
        (0.001, 0.011, True),
        (0.001, 0.009, False),  # nine times
        (0.000_01, 0.004, False),  # 400 times, and still quick
        (None, 9.0, False),  # nothing is known of the one before
    ],
)
def test_it_trips_where_half_the_runs_take_ten_times_as_long_and_over_5_ms(
    before_s: float | None, row_s: float, *, trips: bool
) -> None:
    one = Guard(before_s=before_s)
    for _ in range(19):
        one.ran(2, 2 * row_s)
    assert one.tripped is None
    one.ran(2, 2 * row_s)
    assert (one.tripped is not None) == trips
    assert one.known_s() == pytest.approx(row_s)


def test_a_few_slow_runs_are_nobodys_fault() -> None:
    one = Guard(before_s=0.001)
    for i in range(240):
        one.ran(1, 1.0 if i % 2 else 0.001)
    assert one.tripped is None


def test_a_version_without_finite_answers_falls_back_and_is_logged_once(
    api: httpx.Client, project: Project, register: Callable[..., int], point: Callable[..., None]
) -> None:
    point(1, alias="previous")
    bad = register(data=without_roots())
    point(bad)
    until(lambda: api.get("/readyz").json()["version"] == bad)

    for _ in range(25):
        api.post("/predict", json=ROW)
    until(lambda: api.post("/predict", json=ROW).status_code == 200)

    assert api.post("/predict", json=ROW).json()["version"] == 1
    until(lambda: len(unfit(project)) == 1)
    (said,) = unfit(project)
    assert (said.version, said.guard) == (bad, "errors")
    assert "had no finite answer" in said.because
    until(lambda: api.get("/health").json()["components"]["champion"]["status"] == "degraded")
    time.sleep(0.6)  # it does not come back by itself, nor is it told again
    assert api.post("/predict", json=ROW).json()["version"] == 1
    assert len(unfit(project)) == 1
    point(register(2.0))
    until(lambda: api.post("/predict", json=ROW).json()["version"] == 3)


def test_rows_that_the_version_before_cannot_answer_either_do_not_send_one_away(
    api: httpx.Client, project: Project, register: Callable[..., int], point: Callable[..., None]
) -> None:
    point(register(data=without_roots()), alias="previous")
    point(register(data=without_roots()))
    until(lambda: api.get("/readyz").json()["version"] == 3)

    for _ in range(25):
        assert api.post("/predict", json=ROW).status_code == 422
    time.sleep(0.6)

    assert api.get("/readyz").json()["version"] == 3
    assert unfit(project) == []


def test_a_far_slower_version_falls_back(
    api: httpx.Client, project: Project, register: Callable[..., int], point: Callable[..., None]
) -> None:
    for _ in range(25):
        api.post("/predict", json=ROW)
    point(1, alias="anchor")
    point(register(data=slow()))
    until(lambda: api.get("/readyz").json()["version"] == 2)

    for _ in range(25):
        api.post("/predict", json=ROW)

    until(lambda: api.post("/predict", json=ROW).json()["version"] == 1)
    until(lambda: [(o.version, o.guard) for o in unfit(project)] == [(2, "latency")])


def test_a_version_that_cannot_be_loaded_is_logged_once(
    api: httpx.Client, project: Project, register: Callable[..., int], point: Callable[..., None]
) -> None:
    bad = register(3.0)
    spoil(project, bad)
    point(bad)

    until(lambda: len(unfit(project)) == 1)

    (said,) = unfit(project)
    assert (said.version, said.guard) == (bad, "load")
    assert "was changed" in said.because
    time.sleep(0.6)
    assert len(unfit(project)) == 1
    assert api.post("/predict", json=ROW).json()["version"] == 1


def test_where_nothing_can_be_loaded_no_version_is_blamed(
    serve: Callable[[], httpx.Client],
    project: Project,
    register: Callable[..., int],
    point: Callable[..., None],
) -> None:
    for version, alias in enumerate(("previous", "champion"), start=1):
        point(register(float(version)), alias=alias)
        spoil(project, version)
    assert serve().post("/predict", json=ROW).status_code == 503
    assert unfit(project) == []


def test_several_workers_say_it_once_and_nobody_of_a_version_without_a_place(
    project: Project, register: Callable[..., int], point: Callable[..., None]
) -> None:
    point(register(1.0))
    register(2.0)
    engine = open_store(project.settings.database_url)
    with write(engine) as conn:
        found = [
            guard.append(conn, "loan", Unfit(version=v, guard="load", because="gone"), 0.0)
            for v in (1, 1, 2)
        ]
        assert pointers.pointed(conn, "loan") == {"champion": 1}
    engine.dispose()
    assert found == [True, False, False]
