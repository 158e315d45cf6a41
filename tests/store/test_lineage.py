"""What the numbers of decisions mean to people, over a real log."""

import pytest
from sqlalchemy import delete

from continualml import demo
from continualml.loop import reasons
from continualml.store import ledger, lineage, snapshots, tables
from continualml.store.engine import read, write
from continualml.store.log import Labelled, append_labels
from tests.conftest import Home


def test_rows_count_what_the_loop_has_read_since_the_first_champion(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with write(home.engine) as conn:  # labels that come before their observations
        early = [Labelled(observation_id=f"2-{i}", label="no") for i in range(5)]
        append_labels(conn, demo.DEMO, early, 0.0)
    for seed in (1, 2, 3):
        home.send(40 * seed, seed=seed)
        home.loop.turn("demo")
        with read(home.engine) as conn:
            last = ledger.entries(conn, model="demo", limit=1)
            told = lineage.shown(conn, last)[last[0].n]["rows"]
            report = snapshots.report(conn, "demo")
        assert report is not None
        assert told == report["rows"] == sum(40 * s for s in range(1, seed + 1))
    with read(home.engine) as conn:
        found = ledger.entries(conn, model="demo")
        shown = lineage.shown(conn, found)
        alone = {e.n: lineage.shown(conn, [e])[e.n] for e in found}
    assert shown == alone
    assert shown[min(shown)]["rows"] == 0
    with write(home.engine) as conn:  # a cache: without it all is counted from the beginning
        conn.execute(delete(tables.snapshots))
    with read(home.engine) as conn:
        assert lineage.shown(conn, found) == shown
    known = lineage.RowsRead()
    with read(home.engine) as conn:  # what was counted stays counted, wherever a page begins
        assert lineage.shown(conn, found[2:4], known) == {e.n: shown[e.n] for e in found[2:4]}
        assert lineage.shown(conn, found, known) == shown
        monkeypatch.setattr(lineage, "_labelled_after", _nobody_counts)
        assert lineage.shown(conn, found, known) == shown
        monkeypatch.undo()
    monkeypatch.setattr(lineage, "_NEAR", 0)  # and early labels looked for among all that are
    with read(home.engine) as conn:
        assert lineage.shown(conn, found) == shown


def _nobody_counts(*_: object) -> int:
    raise AssertionError("it was counted before")


def test_where_a_change_began_is_said_with_its_observation_and_time(home: Home) -> None:
    home.send(200, seed=1)
    home.send(400, seed=2, drift=3.0)
    home.loop.turn("demo")
    with read(home.engine) as conn:
        alarm = ledger.entries(conn, model="demo", kinds=("alarm",))[-1]
        told = lineage.shown(conn, [alarm])[alarm.n]["began"]
        why = reasons.decision(conn, alarm.n)
        seq = lineage.observed_seq(conn, "demo", told["observation_id"])
    assert told["number"] == alarm.decision.basis["began"]
    assert told["observation_id"].startswith("2-")
    assert seq is not None
    assert seq <= told["number"]
    assert told["at"].endswith("+00:00")
    assert any(f"began about observation {told['observation_id']} of" in s for s in why["evidence"])
