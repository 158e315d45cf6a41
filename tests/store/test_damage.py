"""Bytes that change on the disk are found, said with what to do, and never taken for the truth."""

import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, delete

from continualml import cli, demo
from continualml.app.api.champion import Champions
from continualml.app.api.health import Health
from continualml.settings import Project, Settings
from continualml.store import artifacts, seals, tables
from continualml.store.engine import REPAIR, StoreDamagedError, open_store, read, write
from continualml.store.pages import look_into
from continualml.store.verify import verify
from tests.cli.test_cli import continual
from tests.conftest import Home

PAGE = 4_096
TRUTH = ("observations", "labels", "outcomes", "ledger")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_store(f"sqlite:///{tmp_path / 'log.sqlite'}")
    yield opened
    opened.dispose()


@pytest.fixture
def sealed(home: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a log with decisions, all rows but the newest under seals, in one file."""
    monkeypatch.setattr(seals, "ROWS", 100)
    for seed in range(1, 4):
        home.send(300, seed=seed)
        home.loop.turn("demo")
    while seals.seal_next(home.engine):
        pass
    with sqlite3.connect(home.directory / "log.sqlite") as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()
    return home.directory / "log.sqlite"


def content(path: Path) -> dict[str, list[object]] | None:
    """Read what the log says, as bytes; None where it cannot be read."""
    conn = sqlite3.connect(path)
    conn.text_factory = bytes
    try:
        return {t: conn.execute(f"SELECT * FROM {t} NOT INDEXED").fetchall() for t in TRUTH}  # noqa: S608  our own names
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return None
    finally:
        conn.close()


def faults(path: Path) -> dict[str, str]:
    engine = look_into(path)
    try:
        with read(engine) as conn:
            told = verify(conn, path.parent / "artifacts")
    finally:
        engine.dispose()
    return {c.check: c.broken for c in told if c.broken}


def test_no_flipped_byte_of_a_page_changes_what_the_log_says_unseen(
    sealed: Path, tmp_path: Path
) -> None:
    assert faults(sealed) == {}
    data, truth = sealed.read_bytes(), content(sealed)
    rng, changed, harmless = np.random.default_rng(5), 0, 0
    copy = tmp_path / "copy.sqlite"
    with sqlite3.connect(sealed) as conn:
        newest = conn.execute("SELECT max(last) FROM seals").fetchone()[0]
    conn.close()
    for _ in range(40):
        spoilt = bytearray(data)
        at = int(rng.integers(PAGE, len(data) - 16))
        for i in range(16):
            spoilt[at + i] ^= int(rng.integers(1, 256))
        copy.write_bytes(spoilt)
        found = faults(copy)
        if (now := content(copy)) == truth:
            harmless += 1  # free room, an index, or what is no part of the log
            continue
        changed += 1
        assert truth is not None
        if not found:  # only what came after the last seal, and led to no decision
            assert now is not None
            apart = {row for t in TRUTH for row in set(now[t]) ^ set(truth[t])}
            assert min(row[0] for row in apart) > newest  # type: ignore[index]
    assert changed > 10
    assert harmless > 5


def test_a_row_whose_bytes_changed_is_named_by_its_stretch_with_the_remedy(sealed: Path) -> None:
    with sqlite3.connect(sealed) as conn:
        conn.execute("UPDATE observations SET numeric = zeroblob(length(numeric)) WHERE seq = 150")
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()
    found = faults(sealed)
    assert found == {"rows": f"rows 101 to 200: not what they were when sealed; {REPAIR}"}


def test_a_broken_page_is_said_by_verify_and_by_the_start(sealed: Path, tmp_path: Path) -> None:
    with sqlite3.connect(sealed) as conn:
        asked = "SELECT rootpage FROM sqlite_master WHERE name = 'ix_labels_model_first_early_seq'"
        page = conn.execute(asked).fetchone()[0]
    conn.close()
    data = bytearray(sealed.read_bytes())
    data[(page - 1) * PAGE : (page - 1) * PAGE + 200] = bytes(200)
    there = tmp_path / "there"
    there.mkdir()
    (there / "log.sqlite").write_bytes(data)
    shutil.copytree(sealed.parent / "artifacts", there / "artifacts")

    told = continual("verify", "--data", "there", cwd=tmp_path)
    assert told.returncode == cli.FAILED
    assert "restore" in told.stdout  # the table folds the sentence
    project = Project(
        settings=Settings(data=there), models={"demo": demo.DEMO}, default=demo.DEMO.name
    )
    engine = open_store(f"sqlite:///{there / 'log.sqlite'}")
    health = Health(engine, Champions(engine, there / "artifacts", project.models), project)
    health.check_pages()
    until = time.monotonic() + 20
    while True:
        health.look()
        store = health.now["components"]["store"]
        if store["status"] != "ok":
            break
        assert time.monotonic() < until
        time.sleep(0.05)
    assert REPAIR in store["because"]
    engine.dispose()


def test_a_log_that_is_no_database_any_more_is_not_opened_and_the_remedy_is_said(
    sealed: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    data = bytearray(sealed.read_bytes())
    data[:100] = bytes(100)
    (there / "log.sqlite").write_bytes(data)
    with pytest.raises(StoreDamagedError, match="restore a backup"):
        open_store(f"sqlite:///{there / 'log.sqlite'}")
    told = continual("status", "--data", "there", cwd=tmp_path)
    assert told.returncode == cli.FAILED
    assert REPAIR in told.stderr


def test_a_spoilt_artifact_is_written_anew_when_the_same_version_is_made(tmp_path: Path) -> None:
    sha256 = artifacts.write(tmp_path, b"graph")
    (tmp_path / f"{sha256}.onnx").write_bytes(b"grapf")
    with pytest.raises(artifacts.ArtifactError, match="was changed"):
        artifacts.read(tmp_path, sha256)
    assert artifacts.write(tmp_path, b"graph") == sha256
    assert artifacts.read(tmp_path, sha256) == b"graph"


def test_seals_stand_when_rows_come_and_break_when_one_is_taken_out(sealed: Path) -> None:
    engine = open_store(f"sqlite:///{sealed}")
    with read(engine) as conn:
        n, fault = seals.broken(conn, {})
    assert (n > 5, fault) == (True, None)
    with write(engine) as conn:
        conn.execute(delete(tables.labels).where(tables.labels.c.seq == 601))
    with read(engine) as conn:
        _, fault = seals.broken(conn, {})
    assert fault is not None
    engine.dispose()
