"""The courier over a real store and a real MLflow, which is a SQLite file of its own here."""

import threading
import time
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from sqlalchemy import Engine, select, update

from continualml import demo
from continualml.app import courier, tree
from continualml.app.api.champion import Champions
from continualml.app.api.health import Health
from continualml.app.to_mlflow import ToMlflow
from continualml.integrations.delivery import Delivered, Delivery
from continualml.integrations.mlflow import Mirror
from continualml.records import Json
from continualml.settings import Project, Settings
from continualml.store import artifacts, outbox, pointers
from continualml.store.engine import read, write
from continualml.store.outbox import Message
from continualml.store.tables import leases as held
from continualml.store.tables import outbox as messages
from tests.api.conftest import graph

pytestmark = [
    pytest.mark.journey,
    pytest.mark.patient,
    # Its own modules warn about its own modules.
    pytest.mark.filterwarnings("ignore"),
]
GOING = threading.Event()


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    home = tmp_path_factory.mktemp("mlflow")
    with chdir(home):  # it puts the files of its runs where it is first asked
        made = Mirror(f"sqlite:///{home / 'mlflow.sqlite'}")
        made.alias("nobody", "champion", 1)
        yield made


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    said = Settings(data=tmp_path, mlflow_tracking_uri="http://127.0.0.1:1")
    return Project(settings=said, models={"demo": demo.DEMO}, default="demo")


def alias(engine: Engine, model: str, version: int) -> None:
    body: Json = {"event": "alias", "model": model, "alias": "champion", "version": version}
    with write(engine) as conn:
        outbox.enqueue(conn, "mlflow", body)


def version(engine: Engine, model: str, sha256: str) -> int:
    with write(engine) as conn:
        known = pointers.register(
            conn, model, sha256, strategy="s", manifest={}, recorded_at="2026-11-24"
        )
        body = {"event": "version", "model": model, "version": known.version}
        outbox.enqueue(conn, "mlflow", body)
    return known.version


def states(engine: Engine) -> list[str]:
    with read(engine) as conn:
        return list(conn.scalars(select(messages.c.state).order_by(messages.c.id)))


def make_due(engine: Engine) -> None:
    with write(engine) as conn:
        conn.execute(update(messages).values(due_at=0.0))


def deliver(project: Project, engine: Engine, mirror: Mirror) -> list[str]:
    make_due(engine)
    route = ToMlflow(project=project, engine=engine, mirror=mirror)
    courier.deliver(engine, route, GOING)
    return states(engine)


def health(project: Project, engine: Engine) -> Json:
    looked = Health(engine, Champions(engine, project.settings.artifacts, {}), project)
    looked.look()
    told: Json = looked.now["components"]["mlflow"]
    return told


def test_an_older_alias_that_waits_for_its_retry_never_ends_on_top(
    project: Project, engine: Engine, mirror: Mirror
) -> None:
    directory = project.settings.artifacts
    for slope in (1.0, 2.0):
        version(engine, "ordered", artifacts.write(directory, graph(demo.DEMO, slope)))
    assert deliver(project, engine, mirror) == ["delivered"] * 2
    alias(engine, "ordered", 1)
    with write(engine) as conn:
        outbox.retry(conn, 3, "MLflow was down", 60.0)
    alias(engine, "ordered", 2)

    courier.deliver(engine, ToMlflow(project=project, engine=engine, mirror=mirror), GOING)
    assert states(engine)[2:] == ["waiting", "waiting"]  # the second waits behind the first
    assert deliver(project, engine, mirror) == ["delivered"] * 4

    there = MlflowClient().get_model_version_by_alias("ordered", "champion")
    assert there.tags["continualml.version"] == "2"


def test_a_message_whose_artifact_is_missing_is_parked_and_the_rest_goes_on(
    project: Project, engine: Engine, mirror: Mirror
) -> None:
    directory = project.settings.artifacts
    version(engine, "missing", "0" * 64)
    alias(engine, "missing", 1)  # of a version that never comes
    version(engine, "missing", artifacts.write(directory, graph(demo.DEMO, 1.0)))

    for _ in range(6):
        assert deliver(project, engine, mirror) == ["waiting"] * 3

    assert deliver(project, engine, mirror) == ["refused", "refused", "delivered"]
    with read(engine) as conn:
        said = conn.scalars(select(messages.c.last_error).order_by(messages.c.id)).all()
    assert "is missing in" in str(said[0])
    told = health(project, engine)
    assert told["status"] == "degraded"
    assert told["because"] == f"2 messages were refused, lastly: {said[1]}"


def test_a_version_in_a_bucket_that_is_down_waits_and_is_never_refused(
    project: Project, engine: Engine, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "of-this-test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    said = project.settings.model_copy(update={"artifacts_url": "s3://models/away"})
    version(engine, "away", "0" * 64)

    for _ in range(8):  # one more than a message gets that is itself at fault
        assert deliver(replace(project, settings=said), engine, mirror) == ["waiting"]
    assert "s3://models/away: EndpointConnectionError" in health(project, engine)["because"]


class ToPeople:
    """A way on which no message overtakes another, and none is kept."""

    destination = "people"

    def place(self, message: Message) -> tuple[str, ...]:
        return (str(message.id),)

    def keeps(self, _message: Message) -> bool:
        return False


def test_of_two_couriers_on_one_log_one_sends_each_message(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each asks for its lease as a process of its own would; the channel takes its time."""
    sent: list[int] = []
    me = threading.local()
    monkeypatch.setattr(tree, "name_of", lambda part: f"{part}@{me.name}")

    class Slow(ToPeople):
        def deliver(self, message: Message) -> Delivery:
            sent.append(message.id)
            time.sleep(0.02)
            return Delivered()

    with write(engine) as conn:
        for _ in range(10):
            outbox.enqueue(conn, "people", {})

    def work(name: str) -> None:
        me.name = name
        while True:
            with read(engine) as conn:
                if not outbox.counts(conn, "people"):
                    return
            courier.deliver(engine, Slow(), GOING)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(sent) == len(set(sent)) == 10


def test_a_courier_that_stood_still_sends_nothing_that_another_has_sent(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = ["one"]
    monkeypatch.setattr(tree, "name_of", lambda part: f"{part}@{who[0]}")
    sent: list[tuple[str, int]] = []

    class Stands(ToPeople):
        def deliver(self, message: Message) -> Delivery:
            sent.append((who[0], message.id))
            if who[0] == "one":  # for longer than its lease, and the other goes on
                with write(engine) as conn:
                    conn.execute(update(held).values(expires_at=held.c.taken_at))
                who[0] = "two"
                courier.deliver(engine, self, GOING)
                who[0] = "one"
            return Delivered()

    with write(engine) as conn:
        for _ in range(3):
            outbox.enqueue(conn, "people", {})
    courier.deliver(engine, Stands(), GOING)

    # The one that was under way goes twice, as after an answer that got lost; no other.
    assert sent == [("one", 1), ("two", 1), ("two", 2), ("two", 3)]


def test_what_is_no_graph_is_refused_at_once(
    project: Project, engine: Engine, mirror: Mirror
) -> None:
    version(engine, "garbled", artifacts.write(project.settings.artifacts, b"no graph"))

    assert deliver(project, engine, mirror) == ["refused"]

    assert "version 1 is no graph" in health(project, engine)["because"]


def test_while_mlflow_is_down_messages_wait_and_none_is_refused(
    project: Project, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    alias(engine, "demo", 1)
    nobody = Mirror("http://127.0.0.1:1")
    for _ in range(10):
        assert deliver(project, engine, nobody) == ["waiting"]
    mlflow.set_tracking_uri(before)
    assert "waited" not in health(project, engine)["because"]  # only why it is tried again
    with write(engine) as conn:
        conn.execute(update(messages).values(recorded_at=messages.c.recorded_at - 400))
    told = health(project, engine)
    assert told["status"] == "degraded"
    assert "the oldest message has waited for 40" in told["because"]
