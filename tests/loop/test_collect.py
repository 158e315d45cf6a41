"""What gc takes away nothing needs: decisions go on as they would have, and still replay."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, bindparam, delete, func, select, update

from continualml import demo
from continualml.loop import carry_out, collect
from continualml.loop.cycle import Loop
from continualml.loop.replay import replay
from continualml.loop.training import Trainer
from continualml.store import ledger, lineage, pointers, retention, seals, tables
from continualml.store.engine import StoreDamagedError, open_store, read, write
from continualml.store.verify import verify
from tests.conftest import Home

LONG_AGO = 1e9
ANSWERED = 3  # a version that nobody would need, had it not answered


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_store(f"sqlite:///{tmp_path / 'log.sqlite'}")
    yield opened
    opened.dispose()


@pytest.fixture
def lived(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Let a model live so long that rows and refits are left behind."""
    policy = demo.DEMO.policy
    small = tuple(replace(s, window=200, refit=150) for s in policy.strategies)
    home.loop.models = {"demo": replace(demo.DEMO, policy=replace(policy, strategies=small))}
    monkeypatch.setattr(seals, "ROWS", 100)
    for seed in range(1, 7):
        send(home, seed=seed, drift=1.5 if seed > 3 else 0.0)
        home.loop.turn("demo")
    with write(home.engine) as conn:  # all of it was long ago
        conn.execute(update(tables.versions).values(recorded_at="2026-01-01T00:00:00+00:00"))
        conn.execute(update(tables.observations).values(recorded_at=0.0, version=ANSWERED))
        conn.execute(update(tables.outbox).values(state="delivered"))
    for path in home.artifacts.iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))
    with write(home.engine) as conn:  # sealed as they are now
        conn.execute(delete(tables.seals))
    while seals.seal_next(home.engine):
        pass
    return home


def send(home: Home, *, seed: int, drift: float) -> None:
    """Log rows as a client sends them, with an answer, and their labels."""
    home.send(300, seed=seed, drift=drift, version=1)
    table, rng = tables.observations, np.random.default_rng(seed)
    mine = table.c.observation_id == bindparam("one")
    with write(home.engine) as conn:
        answers = [
            {"one": f"{seed}-{i}", "answer": np.array([p, 1 - p], "<f8").tobytes()}
            for i, p in enumerate(rng.random(300))
        ]
        conn.execute(update(table).where(mine).values(answer=bindparam("answer")), answers)


def gone(home: Home, older_than_s: float | None) -> collect.Gone:
    place = home.artifacts
    return collect.collect(home.engine, place, "demo", older_than_s=older_than_s, by="somebody")


def faults(home: Home) -> dict[str, str]:
    with read(home.engine) as conn:
        return {c.check: c.broken for c in verify(conn, home.artifacts) if c.broken}


def test_what_goes_was_announced_and_what_is_left_verifies_and_replays(lived: Home) -> None:
    place, counted = lived.artifacts, lineage.RowsRead()
    with read(lived.engine) as conn:
        rows = lineage.shown(conn, ledger.entries(conn, limit=1_000), counted)
        n = conn.execute(select(func.count()).select_from(tables.observations)).scalar_one()
        began = retention.began(conn, "demo")
    files = {p.name for p in place.iterdir()}
    first = gone(lived, None)
    assert (first.observations, first.labels) == (0, 0)  # rows stay unless asked
    assert first.files == len(files - {p.name for p in place.iterdir()}) > 0
    with read(lived.engine) as conn:
        known = carry_out.known(conn, "demo").standing
        assert known is not None
        there = {one.version for one in pointers.artifacts_named(conn)}
        answering = set(pointers.pointed(conn, "demo").values())
    assert {ANSWERED, *answering, known.champion.version, known.anchor.version} <= there
    assert {a.version for a in (*known.heads.values(), *known.archive)} <= there
    # Those that stood for a strategy meet the rows of their time when these are labelled.
    assert {stood.version for line in known.lines.values() for stood in line} <= there
    before = {p.name for p in place.iterdir()}
    said = collect.would(lived.engine, place, "demo", older_than_s=LONG_AGO)
    assert {p.name for p in place.iterdir()} == before

    done = gone(lived, LONG_AGO)

    assert done == said
    assert done.observations > 300
    assert done.labels == done.observations
    left = {p.name for p in place.iterdir()}
    assert done.files == len(before - left) == 0  # those that nobody needs went before
    with read(lived.engine) as conn:
        now = conn.execute(select(func.count()).select_from(tables.observations)).scalar_one()
        assert now == n - done.observations
        assert replay(conn, "demo").differences == ()
        below, _ = ledger.horizon(conn, "demo")
        after = lineage.shown(conn, ledger.entries(conn, limit=1_000))
        # Who looked before and looks again is told the same.
        assert lineage.shown(conn, ledger.entries(conn, limit=1_000), counted) == after
        last = ledger.entries(conn, limit=1)[0]
        for number in began:  # what people are shown of an alarm
            assert lineage._at(conn, "demo", number) is not None  # noqa: SLF001
    assert faults(lived) == {}
    assert (last.decision.kind, last.decision.basis["by_hand"]) == ("collect", "somebody")
    kept = [i for i, told in after.items() if told["rows"] is not None and i in rows]
    assert kept
    assert all(after[i]["rows"] == rows[i]["rows"] for i in kept)
    assert below > 0
    assert gone(lived, LONG_AGO).observations == 0
    with read(lived.engine) as conn:
        assert ledger.entries(conn, limit=1)[0] == last  # nothing more to say


def test_a_change_among_what_is_left_is_found_after_a_collection(lived: Home) -> None:
    assert gone(lived, LONG_AGO).observations > 300
    rows = tables.observations
    with write(lived.engine) as conn:
        below, _ = ledger.horizon(conn, "demo")
        left = conn.execute(select(func.min(rows.c.seq))).scalar_one()
        assert left < below  # others beside it went
        conn.execute(update(rows).where(rows.c.seq == left).values(answer=b"changed"))
    assert "not what they were when sealed" in "".join(faults(lived).values())
    with pytest.raises(StoreDamagedError, match="not what they were sealed as"):
        seals_without(lived, left)


def seals_without(home: Home, number: int) -> None:
    """Say what would be left of a stretch, as a collection does."""
    with read(home.engine) as conn:
        seals.without(conn, {number}, ledger.left_of(conn))


def test_the_loop_decides_after_it_as_it_does_without_it(
    lived: Home, tmp_path: Path, trainer: Trainer
) -> None:
    twin = tmp_path / "twin"
    twin.mkdir()
    lived.engine.dispose()
    for part in ("log.sqlite", "log.sqlite-wal"):
        if (tmp_path / part).exists():
            shutil.copy(tmp_path / part, twin / part)
    shutil.copytree(lived.artifacts, twin / "artifacts")
    engine = open_store(f"sqlite:///{twin / 'log.sqlite'}")
    loop = Loop(
        engine=engine,
        artifacts=twin / "artifacts",
        models=lived.loop.models,
        trainer=trainer,
        holder="twin",
        most_s=600.0,
    )
    other = Home(twin, engine, loop)

    assert gone(lived, LONG_AGO).observations > 300
    told = []
    for home in (lived, other):
        for seed in (11, 12):
            send(home, seed=seed, drift=3.0)
            home.loop.turn("demo")
        with read(home.engine) as conn:
            entries = ledger.entries(conn, limit=1_000)
            assert replay(conn, "demo").differences == ()
        told.append(
            [
                (e.decision.kind, e.decision.version, e.decision.basis.get("strategy"))
                for e in reversed(entries)
                if e.decision.kind != "collect"
            ]
        )
    assert told[0] == told[1]
    assert faults(lived) == {}
    engine.dispose()


def test_a_file_that_no_version_needs_goes_once_it_cannot_be_one_that_is_just_written(
    home: Home,
) -> None:
    place = home.artifacts
    stray, young, foreign = (
        place / f"{'0' * 64}.onnx",
        place / f"{'1' * 64}.onnx",
        place / "notes.txt",
    )
    for path in (stray, young, foreign):
        path.write_bytes(b"x")
    old = path.stat().st_mtime - 2 * retention.YOUNG_S
    for path in (stray, foreign):
        os.utime(path, (old, old))
    assert collect.strays(home.engine, place, dry_run=True).files == 1
    assert stray.exists()
    assert collect.strays(home.engine, place, dry_run=False).size_bytes == 1
    assert [p.exists() for p in (stray, young, foreign)] == [False, True, True]
    assert faults(home) == {}
