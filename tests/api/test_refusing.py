"""Requests that are refused for their content: what of them gets into the log, and what follows."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from sqlalchemy import Engine

from continualml import demo
from continualml.app.api.counts import PREDICTIONS, Counts
from continualml.app.api.refusing import Refusals
from continualml.app.api.serving import Serving
from continualml.errors import InputError
from continualml.loop import carry_out
from continualml.loop.replay import replay
from continualml.notices.of_decision import DRIFT, events_of
from continualml.records import Counted, Decision
from continualml.settings import Project, Settings
from continualml.store import intake, ledger
from continualml.store.engine import StoreUnavailableError, read
from tests.api.conftest import free_port
from tests.conftest import Home

GOOD = {"x1": 1.0, "x2": 0.5, "x3": -1.0, "x4": 0.0}
WRONG = {**GOOD, "x2": "half"}
EVERYTHING = 2**63 - 1


@pytest.fixture
def project(home: Home) -> Project:
    """The store of a model that has its first champion."""
    folder = home.directory
    said = Settings(
        data=folder, database_url=f"sqlite:///{folder / 'log.sqlite'}", port=free_port()
    )
    return Project(settings=said, models={"demo": demo.DEMO}, default="demo")


@pytest.fixture
def served(
    serve: Callable[[], httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> tuple[httpx.Client, Refusals]:
    """A real server, and what it counts refused rows with."""
    held: list[Serving] = []
    begin = Serving.begin

    def kept(project: Project) -> Serving:
        held.append(begin(project))
        return held[0]

    monkeypatch.setattr(Serving, "begin", kept)
    return serve(), held[0].refusals


def windows(engine: Engine) -> list[Counted]:
    with read(engine) as conn:
        return intake.counted(conn, "demo", 0, upto=EVERYTHING, limit=1_000)


def instances(n: int, seed: int) -> list[dict[str, object]]:
    rows, _ = demo.generate(n, seed=seed, noise=0.1, drift=0.0)
    return [{"features": dict(zip(GOOD, x, strict=True))} for x in rows.numeric.tolist()]


def alarms(home: Home) -> list[Decision]:
    with read(home.engine) as conn:
        found = ledger.entries(conn, kinds=("alarm",), limit=100)
    return [e.decision for e in found if e.decision.basis["family"] == "refusals"]


def test_refused_requests_become_an_incident_that_names_the_fields(
    home: Home, served: tuple[httpx.Client, Refusals]
) -> None:
    api, refusals = served
    for i in range(60):  # a feed that is well
        assert api.post("/predict", json={"instances": instances(20, i)}).status_code == 200
        refusals.end()  # as after 30 s
    assert not home.loop.refused("demo")
    home.loop.turn("demo")

    for i in range(8):
        assert api.post("/predict", json={"instances": instances(20, i)}).status_code == 200
        one = {"features": {**GOOD, "x9": 1.0} if i % 4 == 3 else WRONG}
        bad = [*instances(19, i), one]
        assert api.post("/predict", json={"instances": bad}).status_code == 422
        refusals.end()
    assert home.loop.refused("demo")  # what the timer wakes for
    verdict = home.loop.turn("demo")
    assert not home.loop.refused("demo")

    assert verdict.kind == "alarm"
    (alarm,) = alarms(home)  # said once
    assert alarm.basis["diagnosis"] == "broken feed"
    assert alarm.basis["refused"]["fields"].keys() == {"x2", "x9"}
    assert "x2" in alarm.because
    assert alarm.basis["alarm_evidence"] >= alarm.basis["alarm_threshold"]
    assert events_of(alarm, on_alarm=False, failed_before=False, goes_on=False) == (DRIFT,)
    with read(home.engine) as conn:
        assert replay(conn, "demo").differences == ()
        known = carry_out.known(conn, "demo")
    assert known.standing is not None
    assert known.standing.incident is not None
    assert known.standing.orders == ()  # nothing is learnt
    shown = api.get("/models/demo").json()["loop"]["evidence"]
    assert shown["incident"] == "broken feed"
    assert shown["refused_rows"]["usual_at_most"] == pytest.approx(0.03)
    assert api.post("/predict", json={"features": GOOD}).status_code == 200


def test_every_protocol_counts_its_refused_rows_and_a_stranger_none(
    home: Home, served: tuple[httpx.Client, Refusals]
) -> None:
    api, refusals = served
    assert api.post("/predict", json={"features": WRONG}).status_code == 422
    assert api.post("/predict", json={"features": 3}).status_code == 422
    several = {"instances": [{"features": GOOD}, {"features": {**GOOD, "x4": None}}]}
    assert api.post("/predict", json=several).status_code == 422
    split = {"dataframe_split": {"columns": ["x1"], "data": [[1.0], [2.0], [3.0]]}}
    assert api.post("/invocations", json=split).status_code == 422
    text = {"shape": [4], "datatype": "BYTES", "data": ["a", "b", "c", "d"]}
    asked = {"inputs": [{"name": name, **text} for name in GOOD]}
    assert api.post("/v2/models/demo/infer", json=asked).status_code == 422
    # No JSON at all, no token, and a model that is not there are no rows of this feed.
    assert api.post("/predict", content=b"{").status_code == 400
    stranger = {"Authorization": "Bearer nobody"}
    assert api.post("/predict", json={"features": WRONG}, headers=stranger).status_code == 401
    assert api.post("/models/other/predict", json={"features": WRONG}).status_code == 404
    assert api.post("/predict", json={"features": GOOD}).status_code == 200
    refusals.end()
    refusals.end()  # nothing new: no window

    (window,) = windows(home.engine)
    assert (window.answered, window.refused) == (1, 11)
    assert window.fields == {"x2": 4, "features": 1, "x4": 2, "x1": 4}


@pytest.fixture
def counts() -> Iterator[Counts]:
    made = Counts()
    yield made
    made.close()


def unreadable(name: str) -> InputError:
    return InputError(f"features.{name}", expected="a number", got="half")


def test_who_sends_only_what_is_refused_makes_the_log_no_longer(
    engine: Engine, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("continualml.app.api.refusing.time.monotonic", lambda: now)
    refusals = Refusals(engine, counts, ["demo"])
    for second in range(90):
        for i in range(50):  # each with another name
            refusals.count("demo", unreadable(f"{'x' * 500}{second}-{i}\n\x1b"))
        now = second + 1.0
        refusals.look()

    found = windows(engine)
    assert [w.refused for w in found] == [1_500, 1_500, 1_500]
    assert all(len(w.fields) <= 9 for w in found)
    assert all(len(name) <= 40 and name.isprintable() for w in found for name in w.fields)


def test_a_window_waits_for_its_rows_and_every_process_logs_its_own(
    engine: Engine, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("continualml.app.api.refusing.time.monotonic", lambda: now)
    counts.add((PREDICTIONS, "demo"), 1_000)  # a process before this one did
    one, other = (Refusals(engine, counts, ["demo"]) for _ in range(2))
    one.count("demo", unreadable("age"), rows=3)
    counts.add((PREDICTIONS, "demo"), 16)
    now = 40.0
    one.look()
    assert windows(engine) == []  # 19 rows
    counts.add((PREDICTIONS, "demo"), 1)
    other.count("demo", unreadable("city"), rows=9)
    one.look()
    other.look()
    assert [(w.answered, w.refused, w.fields) for w in windows(engine)] == [
        (17, 3, {"age": 3}),
        (17, 9, {"city": 9}),  # they share one count here, as no two processes do
    ]


def test_what_cannot_be_logged_now_is_logged_later(
    engine: Engine, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = Refusals(engine, counts, ["demo"])
    refusals.count("demo", unreadable("age"), rows=30)
    counts.add((PREDICTIONS, "demo"), 5)

    def full(*_: object, **__: object) -> int:
        raise StoreUnavailableError("the disk is full")

    with monkeypatch.context() as away:
        away.setattr(intake, "append", full)
        refusals.end()
    refusals.count("demo", unreadable("city"))
    assert windows(engine) == []
    refusals.end()
    (window,) = windows(engine)
    assert (window.answered, window.refused) == (5, 31)
    assert window.fields == {"age": 30, "city": 1}
