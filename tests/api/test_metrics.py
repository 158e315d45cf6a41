"""What ``/metrics`` tells, of a server of one process and of one with several workers."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families as families_of
from sqlalchemy import insert

from continualml.app.api.counts import BOUNDS, Counts
from continualml.records import Decision
from continualml.settings import Project
from continualml.store import failed_turns, leases, ledger, outbox
from continualml.store.engine import open_store, write
from continualml.store.tables import snapshots

Sample = dict[tuple[str, frozenset[tuple[str, str]]], float]
Process = Callable[[], AbstractContextManager[subprocess.Popen[bytes]]]
ROW = {"features": {"age": 1.0, "debt": None}}
LABEL: dict[str, Any] = {"labels": [{"observation_id": "a", "label": "yes"}]}


def scraped(client: httpx.Client) -> Sample:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (s.name, frozenset(s.labels.items())): s.value
        for family in families_of(answer.text)
        for s in family.samples
    }


def value(found: Sample, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_a_request_is_counted_by_its_route_and_its_status(api: httpx.Client) -> None:
    for body in (LABEL, LABEL, {"labels": 1}):
        api.post("/labels", json=body)
    api.post("/feedback", json=LABEL)
    api.get("/models/loan")
    api.get("/nowhere/at/all")
    api.get("/models/unknown")
    found = scraped(api)

    n = "continual_request_seconds_count"
    named = "/labels"
    assert value(found, n, route=named, status="200") == 2
    assert value(found, n, route=named, status="422") == 1
    assert value(found, n, route="/feedback", status="200") == 1
    assert value(found, n, route="/models/{model}", status="200") == 1
    assert value(found, n, route="/models/{model}", status="404") == 1
    assert value(found, n, route="other", status="404") == 1
    buckets = [
        value(found, "continual_request_seconds_bucket", route=named, status="200", le=le)
        for le in [*map(str, BOUNDS), "+Inf"]
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 2
    assert 0 < value(found, "continual_request_seconds_sum", route=named, status="200") < 20


def test_an_error_that_nobody_awaited_counts_as_500(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(ledger, "entry", fails)
    alone = {"Connection": "close"}  # the server closes it after such an error
    assert api.get("/decisions/1", headers=alone).status_code == 500
    found = scraped(api)
    n = "continual_request_seconds_count"
    assert value(found, n, route="/decisions/{n}", status="500") == 1


def test_predictions_are_counted_by_route_and_rows(api: httpx.Client) -> None:
    several = {"instances": [ROW, ROW, ROW]}
    bodies: list[dict[str, Any]] = [ROW, several, {"features": {}}]
    for body in bodies:
        api.post("/models/loan/predict", json=body)
    api.post("/predict", json=ROW)
    found = scraped(api)
    n, named = "continual_request_seconds_count", "/models/{model}/predict"
    assert value(found, n, route=named, status="200") == 2
    assert value(found, n, route=named, status="422") == 1
    assert value(found, n, route="/predict", status="200") == 1
    assert value(found, "continual_predictions_total", model="loan") == 5
    assert value(found, "continual_log_queue_rows") == 0


def test_a_bucket_holds_what_is_at_most_its_bound() -> None:
    own = Counts()
    for seconds in (BOUNDS[0], BOUNDS[3], BOUNDS[3] * 1.001, 1_000.0):
        own.observe("/x", 200, seconds)
    (worker,) = own.workers()
    cell = worker.cells["requests", "/x", "200"]
    assert cell.counts == tuple(
        {0: 1, 3: 1, 4: 1, len(BOUNDS): 1}.get(i, 0) for i in range(len(BOUNDS) + 1)
    )
    assert cell.seconds == pytest.approx(1_000.0 + BOUNDS[0] + BOUNDS[3] * 2.001)
    own.close()


def test_only_who_may_read_gets_the_figures(api: httpx.Client, token: Callable[..., str]) -> None:
    predicts = {"Authorization": f"Bearer {token('predict')}"}
    reads = {"Authorization": f"Bearer {token('read')}"}
    time.sleep(0.6)  # tokens are read every 0.4 s
    assert api.get("/metrics", headers=predicts).status_code == 403
    assert api.get("/metrics", headers=reads).status_code == 200
    assert api.get("/metrics", headers={"Authorization": ""}).status_code == 401


def test_labels_swaps_and_versions_are_told(
    api: httpx.Client, register: Callable[..., int], point: Callable[..., None]
) -> None:
    answer = api.post("/predict", json=ROW).json()
    known = answer["predictions"][0]["observation_id"]
    labels = [{"observation_id": i, "label": "yes"} for i in (known, "later", known)]
    api.post("/labels", json={"labels": labels}).raise_for_status()
    assert value(scraped(api), "continual_answering_workers", model="loan", version="1") == 1

    point(register(3.0))
    until(lambda: api.post("/predict", json=ROW).json()["version"] == 2)
    time.sleep(1.1)  # what the store knows is read once a second
    found = scraped(api)
    for verdict in ("accepted", "pending", "duplicate"):
        assert value(found, "continual_labels_total", model="loan", verdict=verdict) == 1
    assert value(found, "continual_swaps_total", model="loan") == 1
    assert value(found, "continual_answering_workers", model="loan", version="2") == 1
    assert value(found, "continual_version", model="loan", alias="champion") == 2
    assert value(found, "continual_has_champion", model="loan") == 1
    (info,) = (
        dict(k[1]) for k in found if k[0] == "continual_champion_info" and ("model", "loan") in k[1]
    )
    assert (info["version"], info["kind"], info["strategy"]) == ("2", "classification", "by-hand")
    assert 0 <= value(found, "continual_label_lag_seconds", model="loan") < 10
    at = value(found, "continual_label_timestamp_seconds", model="loan")
    assert abs(at - datetime.now(UTC).timestamp()) < 10
    assert value(found, "continual_log_writable") == 1
    assert value(found, "continual_component_status", component="store", status="ok") == 1


def test_what_the_loop_has_written_is_told(api: httpx.Client, project: Project) -> None:
    api.post("/predict", json=ROW).raise_for_status()  # a model without rows is not told of
    engine = open_store(project.settings.database_url)
    report: dict[str, Any] = {
        "read": 0, "rows": 512, "block": 8,
        "evidence": {
            "promised": {"brier": 0.21},
            "loss": {"evidence": 25.0, "threshold": 100.0},
            "gate": {"newest-500": {"version": 2, "evidence": 3.0, "threshold": 4.0}},
            "columns": {"age": 0.125},
            "delay": {"level": 0.5, "silent": True},
            "refused_rows": {"level": 0.25, "usual_at_most": 0.03},
            "incident": "broken feed: age",
        },
    }  # fmt: skip
    body = msgspec.json.encode({"report": report})
    with write(engine) as conn:
        conn.execute(insert(snapshots).values(model="loan", seq=1, body=body))
        for kind in ("first", "alarm", "alarm"):
            made = Decision(model="loan", kind=kind, seq=1, because="x")
            ledger.record(conn, made, "2026-11-24T12:00:00.000+00:00")
        for destination in ("mlflow", "discord", "discord"):
            outbox.enqueue(conn, destination, {})
        outbox.refused(conn, 3, "404")
    leases.beat(engine, leases.TIMER)
    failed_turns.note(engine, "loan", RuntimeError("x"))
    time.sleep(1.1)
    found = scraped(api)

    ratio = "continual_evidence_ratio"
    assert value(found, ratio, model="loan", detector="loss", of="") == 0.25
    assert value(found, ratio, model="loan", detector="gate", of="newest-500") == 0.75
    assert value(found, ratio, model="loan", detector="column", of="age") == 0.125
    assert value(found, ratio, model="loan", detector="delay", of="") == 0.5
    assert value(found, ratio, model="loan", detector="refused", of="") == 0.25
    assert value(found, "continual_incident_open", model="loan") == 1
    assert value(found, "continual_labels_silent", model="loan") == 1
    assert value(found, "continual_labelled_rows", model="loan") == 512
    assert value(found, "continual_decisions_total", model="loan", kind="alarm") == 2
    at = value(found, "continual_decision_timestamp_seconds", model="loan", kind="alarm")
    assert at == 1_795_521_600
    outcomes = "continual_outbox_messages"
    assert value(found, outcomes, destination="mlflow", state="waiting") == 1
    assert value(found, outcomes, destination="discord", state="refused") == 1
    assert value(found, "continual_turn_failed", model="loan") == 1
    assert value(found, "continual_cycle_timestamp_seconds", by="timer") > at
    assert value(found, "continual_cycle_timestamp_seconds", by="scheduler") == 0

    with write(engine) as conn:  # the tally reads on
        made = Decision(model="loan", kind="alarm", seq=2, because="x")
        ledger.record(conn, made, "2026-11-24T12:00:05.000+00:00")
    time.sleep(1.1)
    found = scraped(api)
    assert value(found, "continual_decisions_total", model="loan", kind="alarm") == 3
    assert value(found, "continual_decisions_total", model="loan", kind="first") == 1


def test_while_the_store_is_away_the_rest_is_told(api: httpx.Client, project: Project) -> None:
    scraped(api)
    for path in project.settings.data.glob("log.sqlite*"):
        path.rename(path.with_name(f"away-{path.name}"))
    open_store(project.settings.database_url, migrate=False).connect().close()  # an empty one
    time.sleep(1.1)
    found = scraped(api)
    assert value(found, "continual_workers") == 1
    assert not any(name == "continual_decisions_total" for name, _ in found)


def test_workers_come_and_go_and_nothing_that_was_counted_is_lost(tmp_path: Path) -> None:
    first, second = Counts(tmp_path), Counts(tmp_path)
    first.observe("/x", 200, 0.001)
    second.observe("/x", 200, 0.1)
    second.put(("queued",), 7)
    assert [w.alive for w in first.workers()] == [True, True]
    second.close()  # as when it is killed: the lock goes with the process
    assert sorted(w.alive for w in first.workers()) == [False, True]
    third = Counts(tmp_path)
    third.observe("/x", 200, 0.1)
    third.observe("/y", 200, 0.1)

    workers = first.workers()
    assert len(workers) == 2  # it goes on in the file that was left
    cells = [w.cells["requests", "/x", "200"] for w in workers]
    assert sum(sum(c.counts) for c in cells) == 3
    first.close()
    third.close()


def test_more_things_than_there_are_places_for_break_nothing(tmp_path: Path) -> None:
    own = Counts(tmp_path)
    for i in range(2_000):
        own.add(("labels", f"model-{i}", "accepted"))
    own.observe("/late", 200, 0.1)
    (worker,) = own.workers()
    assert 400 < len(worker.cells) < 2_000
    assert {c.counts[0] for c in worker.cells.values()} == {1}
    own.close()


@pytest.mark.journey
def test_whichever_worker_is_asked_tells_of_all_and_one_that_is_killed_takes_nothing_with_it(
    project: Project,
    process: Process,
    register: Callable[..., int],
    point: Callable[..., None],
) -> None:
    point(register())
    project.settings.workers = 2
    with process() as server, asking(project) as client:
        until(lambda: n_workers(client) == 2)
        for _ in range(60):
            client.post("/labels", json=LABEL).raise_for_status()
        seen = [n_labels(scraped(client)) for _ in range(8)]
        workers = [p for p in psutil.Process(server.pid).children() if is_worker(p)]
        os.kill(workers[0].pid, signal.SIGKILL)
        until(lambda: n_workers(client) == 1)
        until(lambda: n_workers(client) == 2)
        for _ in range(10):
            client.post("/labels", json=LABEL).raise_for_status()
        after = [n_labels(scraped(client)) for _ in range(8)]
        found = scraped(client)
    assert seen == [60.0] * 8
    assert after == [70.0] * 8
    assert value(found, "continual_answering_workers", model="loan", version="1") == 2
    kept = list((project.settings.data / "counts").glob("*/*.counts"))
    assert len(kept) == 2

    with process(), asking(project) as client:  # a new start begins anew
        assert n_labels(scraped(client)) == 0


def n_labels(found: Sample) -> float:
    named = frozenset({("route", "/labels"), ("status", "200")})
    return found.get(("continual_request_seconds_count", named), 0.0)


def is_worker(process: psutil.Process) -> bool:
    return any("spawn_main" in part for part in process.cmdline())


@contextmanager
def asking(project: Project) -> Iterator[httpx.Client]:
    """A client that opens a connection for each request, so that any worker may answer it."""
    secret = project.settings.admin_token.read_text("utf-8").strip()
    url = f"http://127.0.0.1:{project.settings.port}"
    headers = {"Authorization": f"Bearer {secret}", "Connection": "close"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
        yield client


def n_workers(client: httpx.Client) -> float:
    try:
        return value(scraped(client), "continual_workers")
    except httpx.TransportError:  # it went to the worker that was just killed
        return -1.0


def until(holds: Callable[[], bool], most_s: float = 60.0) -> None:
    end = time.monotonic() + most_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
