"""What the API tells those who only look, held against the log itself."""

import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from continualml.scoring.losses import measured
from continualml.store import ledger, log, windows
from continualml.store.engine import open_store, read
from tests.dashboard.conftest import DAY, Site, project_of

pytestmark = [pytest.mark.journey, pytest.mark.patient]

NAME = "/models/electricity"


def got(site: Site, path: str, **query: Any) -> Any:
    return site.api.get(f"{NAME}{path}", params=query).raise_for_status().json()


def test_evidence_over_time_is_what_the_ledger_holds_page_by_page(site: Site) -> None:
    points: list[dict[str, Any]] = []
    before: dict[str, int] = {}
    while True:
        page = got(site, "/evidence", limit=20, **before)
        points += page["points"]
        if page["next_before"] is None:
            break
        before = {"before": page["next_before"]}

    with read(open_store(project_of(site).settings.database_url)) as conn:
        kinds = ("keep", "alarm", "promote", "rollback")
        written = ledger.entries(conn, model="electricity", kinds=kinds, limit=10_000)
    assert [p["n"] for p in points] == [e.n for e in written]
    assert len(points) > 40
    for point, entry in zip(points, written, strict=True):
        basis = entry.decision.basis
        assert point["loss"]["evidence"] == basis["loss"]["evidence"]
        assert {n: g["evidence"] for n, g in point["gate"].items()} == {
            n: g["evidence"] for n, g in basis["gate"].items()
        }
        assert point["columns"] == basis["columns"]
        assert (point["alarm"] is None) == (entry.decision.kind != "alarm")


def test_the_rolling_mean_is_that_of_the_rows_before_and_the_interval_holds_it(site: Site) -> None:
    told = got(site, "/performance/rolling")

    project = project_of(site)
    model = project.models["electricity"]
    with read(open_store(project.settings.database_url)) as conn:
        found = windows.training(conn, model, through=log.last_seq(conn), newest=3_000)
    known = found.only(np.asarray(np.isfinite(found.answer).all(axis=1)))
    last = told["stretches"][-1]
    lost = measured(model, "brier", known.answer, known.target)[-last["rows"] :]
    brier = last["metrics"]["brier"]
    assert (last["rows"], told["block"]) == (10 * DAY, DAY)
    assert last["last_seq"] == int(known.seq[-1])
    assert brier["mean"] == pytest.approx(float(lost.mean()))
    assert brier["low"] < brier["mean"] < brier["high"]
    # Ten means of days: 2.262 is Student's quantile with nine degrees of freedom.
    error = lost.reshape(10, DAY).mean(axis=1).std(ddof=1) / 10**0.5
    assert brier["high"] - brier["mean"] == pytest.approx(2.262 * error, rel=1e-3)
    wrong = last["metrics"]["error_rate"]
    assert last["metrics"]["accuracy"]["mean"] == pytest.approx(1 - wrong["mean"])
    assert last["metrics"]["accuracy"]["promised"] == pytest.approx(1 - wrong["promised"])


def test_shares_of_a_columns_cells_are_all_of_its_rows(site: Site) -> None:
    told = got(site, "/distributions")

    names = [c["name"] for c in told["columns"]]
    assert names[-3:] == ["prediction", "confidence", "label"]
    assert "nswprice" in names
    for column in told["columns"]:
        for what in ("reference", "now"):
            total = sum(c[what] for c in column["cells"])
            assert total == pytest.approx(1, abs=0.02), (column["name"], what)


def test_labels_a_day_late_are_told_to_be_a_day_late(site: Site) -> None:
    told = got(site, "/label-lag")

    assert told["labels"] == 2_000
    # A day's rows are logged, then the labels of the day before.
    assert DAY <= told["observations"]["0.5"] <= 2 * DAY
    assert told["seconds"]["0.1"] <= told["seconds"]["0.5"] <= told["seconds"]["0.99"]
    assert told["waiting"]["rows"] == DAY
    assert told["waiting"]["oldest_s"] > 0


def test_a_trial_is_the_champion_and_the_challenger_on_the_same_rows(site: Site) -> None:
    told = got(site, "/trials")

    assert told["trials"]
    status = got(site, "")["loop"]["evidence"]["gate"]
    for trial in told["trials"]:
        assert trial["level"]["evidence"] == status[trial["place"]]["evidence"]
        rows = [s["rows"] for s in trial["steps"]]
        assert all(b - a == DAY for a, b in pairwise(rows))
        for step in trial["steps"]:
            assert step["low"] is None or step["low"] <= step["mean"] <= step["high"]
    first = told["trials"][0]
    other = got(site, "/compare", first=told["champion"], second=first["version"])
    assert other["first"]["version"] == told["champion"]


def test_two_versions_are_compared_on_rows_that_both_answered(site: Site) -> None:
    told = got(site, "/compare", first=1, second=2)

    assert told["rows"] > 0
    mean = told["first"]["losses"]["brier"] - told["second"]["losses"]["brier"]
    blocks = told["steps"][-1]["rows"]
    assert told["rows"] - DAY < blocks <= told["rows"]
    assert told["steps"][-1]["mean"] == pytest.approx(mean, abs=0.05)
    same = got(site, "/compare", first=2, second=1)
    assert same["steps"][-1]["mean"] == pytest.approx(-told["steps"][-1]["mean"])
    assert site.api.get(f"{NAME}/compare?first=1&second=99999").status_code == 404


def test_pages_of_versions_hold_each_version_once(site: Site) -> None:
    seen: list[int] = []
    before: dict[str, int] = {}
    while True:
        page = got(site, "/versions", limit=7, **before)
        seen += [v["version"] for v in page["versions"]]
        if page["next_before"] is None:
            break
        before = {"before": page["next_before"]}
    assert seen == list(range(max(seen), 0, -1))


def test_a_row_that_is_tried_is_explained_and_leaves_no_trace(site: Site) -> None:
    names = [f["name"] for f in got(site, "")["features"]]
    row = dict.fromkeys(names, 0.5)
    engine = open_store(project_of(site).settings.database_url)
    with read(engine) as conn:
        before = log.last_seq(conn)

    told = site.api.post(f"{NAME}/try", json={"features": row}).json()

    with read(engine) as conn:
        assert log.last_seq(conn) == before
    chance = told["answer"]["probabilities"][told["answer"]["prediction"]]
    first = told["effects"][0]
    changed = row | {first["feature"]: first["typical"]}
    again = site.api.post(f"{NAME}/try", json={"features": changed}).json()
    instead = again["answer"]["probabilities"][told["answer"]["prediction"]]
    assert chance - instead == pytest.approx(first["effect"])
    assert {e["feature"] for e in told["effects"]} == set(names)
    wrong = site.api.post(f"{NAME}/try", json={"features": row | {names[0]: "x"}})
    assert (wrong.status_code, wrong.json()["where"]) == (422, f"features.{names[0]}")


def test_a_replay_is_a_job_and_one_job_runs_at_a_time(site: Site) -> None:
    begun = site.api.post(f"{NAME}/jobs", json={"kind": "replay"})
    second = site.api.post(f"{NAME}/jobs", json={"kind": "replay"})

    assert (begun.status_code, second.status_code) == (202, 409)
    assert second.headers["Retry-After"]
    ended = await_end(site, begun.headers["Location"])
    assert ended["state"] == "done"
    (one,) = ended["result"]
    assert (one["model"], one["differences"]) == ("electricity", [])
    assert one["equal"] > 40


def test_a_backtest_of_another_policy_says_what_would_have_happened(site: Site) -> None:
    wrong = site.api.post(f"{NAME}/jobs", json={"kind": "backtest", "policy": {"treshold": 0.8}})
    assert (wrong.status_code, wrong.json()["where"]) == (422, "policy.treshold")

    policy = {"retrain": "on_alarm", "threshold": 0.6}
    begun = site.api.post(f"{NAME}/jobs", json={"kind": "backtest", "policy": policy})

    ended = await_end(site, begun.headers["Location"])
    assert ended["state"] == "done", ended
    mine, other, really = ended["result"]
    assert other["policy"] == 'retrain="on_alarm", threshold=0.6'
    assert really["policy"] == "what really happened"
    assert mine["rows"] == other["rows"] > 2_000
    assert mine["refits"] > other["refits"]


def await_end(site: Site, path: str) -> dict[str, Any]:
    until = time.monotonic() + 180
    while True:
        told: dict[str, Any] = site.api.get(path).raise_for_status().json()
        if told["state"] != "running":
            return told
        assert time.monotonic() < until
        time.sleep(0.2)
