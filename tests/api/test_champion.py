import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import pytest

from continualml.settings import Project
from continualml.store import artifacts, pointers
from continualml.store.engine import open_store, read

if TYPE_CHECKING:
    from continualml.model import Model

ROW = {"features": {"age": 1.0, "debt": None}}


def until(holds: Callable[[], bool], most_s: float = 5.0) -> None:
    end = time.monotonic() + most_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def artifact(project: Project, version: int) -> str:
    engine = open_store(project.settings.database_url)
    with read(engine) as conn:
        known = pointers.version(conn, "loan", version)
    engine.dispose()
    assert known is not None
    return known.sha256


def test_without_a_champion_it_says_so_and_how_to_get_one(
    serve: Callable[[], httpx.Client],
) -> None:
    client = serve()

    for answer in (client.post("/predict", json=ROW), client.get("/readyz")):
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:continualml:problem:no-champion"
        assert "continual train" in answer.json()["remedy"]
        assert answer.headers["retry-after"]
    assert client.get("/livez").status_code == 200
    assert client.get("/health").json()["status"] == "down"


def test_a_moved_pointer_is_followed_within_a_second(
    api: httpx.Client, register: Callable[..., int], point: Callable[..., None]
) -> None:
    number = register(3.0)

    point(number)

    until(lambda: api.post("/predict", json=ROW).headers["x-model-version"] == "2", 1.0)


def test_a_changed_artifact_is_refused_and_the_old_version_keeps_answering(
    api: httpx.Client,
    project: Project,
    register: Callable[..., int],
    point: Callable[..., None],
) -> None:
    number = register(3.0)
    path = project.settings.artifacts / f"{artifact(project, number)}.onnx"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    point(number)
    until(lambda: api.get("/health").json()["components"]["champion"]["status"] == "degraded", 8)

    assert api.post("/predict", json=ROW).json()["version"] == 1
    said = api.get("/health").json()["components"]["champion"]
    assert "was changed" in said["failures"]["loan"]
    path.write_bytes(whole)  # put back, it is taken without another move of the pointer
    until(lambda: api.post("/predict", json=ROW).json()["version"] == number, 8)


def spoil(project: Project, version: int) -> None:
    path = project.settings.artifacts / f"{artifact(project, version)}.onnx"
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(("spoilt", "instead"), [((3,), 2), ((3, 2), 1)])
def test_after_a_restart_with_a_bad_champion_the_one_before_answers_and_health_says_so(
    serve: Callable[[], httpx.Client],
    project: Project,
    register: Callable[..., int],
    point: Callable[..., None],
    spoilt: tuple[int, ...],
    instead: int,
) -> None:
    for version, alias in enumerate(("anchor", "previous", "champion"), start=1):
        point(register(float(version)), alias=alias)
    path = project.settings.artifacts / f"{artifact(project, 3)}.onnx"
    whole = path.read_bytes()
    for version in spoilt:
        spoil(project, version)
    client = serve()

    answer = client.post("/predict", json=ROW)

    assert answer.json()["version"] == instead
    assert answer.headers["x-model-version"] == str(instead)
    said = client.get("/health").json()["components"]["champion"]
    assert said["status"] == "degraded"
    assert "was changed" in said["failures"]["loan"]
    assert said["answers_instead"] == {"loan": instead}
    path.write_bytes(whole)
    until(lambda: client.post("/predict", json=ROW).json()["version"] == 3, 8)


def test_when_no_version_can_be_loaded_the_answer_names_the_champions_fault(
    serve: Callable[[], httpx.Client],
    project: Project,
    register: Callable[..., int],
    point: Callable[..., None],
) -> None:
    for version, alias in enumerate(("previous", "champion"), start=1):
        point(register(float(version)), alias=alias)
        spoil(project, version)

    answer = serve().post("/predict", json=ROW)

    assert answer.status_code == 503
    assert "version 2 cannot be loaded" in answer.json()["detail"]


def test_a_version_of_another_schema_or_of_no_graph_never_answers(
    api: httpx.Client,
    project: Project,
    register: Callable[..., int],
    point: Callable[..., None],
) -> None:
    engine = open_store(project.settings.database_url)
    with read(engine) as conn:
        price = pointers.version(conn, "price", 1)
    engine.dispose()
    assert price is not None
    strangers = [
        register(data=artifacts.read(project.settings.artifacts, price.sha256)),
        register(data=b"no graph at all"),
    ]
    for number in strangers:
        point(number)
        time.sleep(0.5)

        assert api.post("/predict", json=ROW).json()["version"] == 1


def test_a_model_that_is_not_the_default_has_a_champion_of_its_own(
    api: httpx.Client, project: Project, point: Callable[..., None], register: Callable[..., int]
) -> None:
    price: Model = project.models["price"]
    point(register(4.0, price.name), price.name)

    def value() -> float:
        body = {"features": {"size": 1.0, "city": "x"}}
        told: float = api.post("/models/price/predict", json=body).json()["predictions"][0][
            "prediction"
        ]
        return told

    until(lambda: value() == 4.0)
    assert api.post("/predict", json=ROW).json()["version"] == 1
