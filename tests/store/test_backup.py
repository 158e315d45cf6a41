import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, update

from continualml import cli
from continualml.errors import InputError
from continualml.loop.replay import replay
from continualml.store import backup, tables
from continualml.store.engine import open_store, read, write
from continualml.store.group_commit import GroupCommit
from continualml.store.verify import verify
from tests.cli.test_cli import continual
from tests.conftest import Home
from tests.store.test_databases import row


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Open a log that is a file: a server's is backed up as its others are."""
    opened = open_store(f"sqlite:///{tmp_path / 'log.sqlite'}")
    yield opened
    opened.dispose()


@pytest.fixture
def turned(home: Home) -> Home:
    home.send(60, seed=1)
    home.loop.turn("demo")
    return home


def make(home: Home, name: str = "saved") -> Path:
    target = home.directory / name
    configuration = home.directory / "continual.toml"
    backup.make(home.engine, home.artifacts, target, build="test", configuration=configuration)
    return target


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_restored_verifies_and_replays_and_goes_on(turned: Home, tmp_path: Path) -> None:
    saved = make(turned)
    turned.send(40, seed=2)  # after the backup: not a part of it
    data = tmp_path / "restored"
    done = backup.restore(saved, data, replace=False)
    assert done.aside is None
    assert sorted(p.name for p in data.iterdir()) == ["artifacts", "log.sqlite"]
    assert {p.stat().st_mode & 0o077 for p in (data, *data.rglob("*"))} == {0}

    engine = open_store(f"sqlite:///{data / 'log.sqlite'}")
    with read(engine) as conn:
        assert not any(c.broken for c in verify(conn, data / "artifacts"))
        replayed = replay(conn, "demo")
        assert (replayed.rows, replayed.differences) == (60, ())
        (last,) = conn.execute(select(func.max(tables.ledger.c.n))).one()
    assert done.manifest.entries == last == replayed.equal
    again = Home(data, engine, turned.loop)
    again.send(40, seed=2)
    assert not any(p.name.endswith(".part") for p in tmp_path.rglob("*"))
    engine.dispose()


def test_a_backup_under_load_holds_every_row_that_was_there_when_it_began(turned: Home) -> None:
    told = 0
    stop = threading.Event()

    async def load() -> None:
        nonlocal told
        commit = GroupCommit(turned.engine)
        while not stop.is_set():
            await asyncio.gather(*(commit.submit([row(f"{told}-{i}")]) for i in range(8)))
            told += 8
        commit.close()

    writing = threading.Thread(target=lambda: asyncio.run(load()))
    writing.start()
    try:
        while told < 100:
            assert writing.is_alive()
        before = told
        saved = make(turned)
        after = told
    finally:
        stop.set()
        writing.join()
    engine = open_store(f"sqlite:///{saved / 'log.sqlite'}")
    with read(engine) as conn:
        asked = select(func.count()).where(tables.observations.c.model == "m")
        assert before <= conn.execute(asked).scalar_one() <= after + 16
    engine.dispose()
    assert after > before  # it was not kept from writing


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def spoil_an_artifact(saved: Path) -> None:
    spoil(next((saved / "artifacts").iterdir()))


def lose_an_artifact(saved: Path) -> None:
    next((saved / "artifacts").iterdir()).unlink()


def rewrite(saved: Path) -> None:
    """Change an entry of the ledger and give the file its new hash: whoever does so knows how."""
    engine = open_store(f"sqlite:///{saved / 'log.sqlite'}")
    with write(engine) as conn:
        conn.execute(update(tables.ledger).where(tables.ledger.c.n == 2).values(because="so"))
    engine.dispose()
    manifest = json.loads((saved / "manifest.json").read_text("utf-8"))
    held = backup._held(saved / "log.sqlite", lambda _n, _all: None)  # noqa: SLF001
    manifest["files"]["log.sqlite"] = {"sha256": held.sha256, "size_bytes": held.size_bytes}
    (saved / "manifest.json").write_text(json.dumps(manifest), "utf-8")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda saved: spoil(saved / "log.sqlite"), "log.sqlite: its bytes are not those"),
        (spoil_an_artifact, "its bytes are not those"),
        (lose_an_artifact, "missing"),
        (rewrite, "entry 2: number, link or hash is not its own"),
    ],
)
def test_what_was_changed_is_not_restored_and_nothing_is_touched(
    turned: Home, tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    saved = make(turned)
    harm(saved)
    data = tmp_path / "there"
    data.mkdir()
    (data / "log.sqlite").write_bytes(b"old")
    with pytest.raises(backup.BackupError, match=said):
        backup.restore(saved, data, replace=True)
    assert files(data) == {"log.sqlite": b"old"}


def test_a_place_that_is_not_empty_is_moved_aside_whole_and_only_when_told(
    turned: Home, tmp_path: Path
) -> None:
    saved = make(turned)
    data = tmp_path / "there"
    data.mkdir()
    for name in ("log.sqlite", "log.sqlite-wal", "admin.token"):
        (data / name).write_bytes(name.encode())
    before = files(data)
    with pytest.raises(InputError, match="--replace moves what is there aside"):
        backup.restore(saved, data, replace=False)
    assert files(data) == before
    done = backup.restore(saved, data, replace=True)
    assert done.aside is not None
    assert files(done.aside) == before
    names = {p.name for p in data.iterdir()}
    assert names == {"log.sqlite", "artifacts", done.aside.name}


def test_a_swap_that_fails_half_way_puts_everything_back(
    turned: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = make(turned)
    data = tmp_path / "there"
    data.mkdir()
    for name in ("log.sqlite", "log.sqlite-wal"):
        (data / name).write_bytes(name.encode())
    before, rename = files(data), Path.rename

    def refuses(self: Path, target: Path) -> Path:
        if self.name == "log.sqlite" and ".restoring." in str(self):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuses)
    with pytest.raises(OSError, match="No space"):
        backup.restore(saved, data, replace=True)
    assert files(data) == before
    assert sorted(p.name for p in data.iterdir()) == ["log.sqlite", "log.sqlite-wal"]


def test_ctrl_c_leaves_nothing_behind(turned: Home, tmp_path: Path) -> None:
    def interrupt(_done: int, _all: int) -> None:
        raise KeyboardInterrupt

    there = set(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        backup.make(
            turned.engine,
            turned.artifacts,
            tmp_path / "never",
            build="test",
            configuration=tmp_path / "none",
            advance=interrupt,
        )
    assert set(tmp_path.iterdir()) == there
    saved, data = make(turned), tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        backup.restore(saved, data, replace=False, advance=interrupt)
    assert not data.exists()


def test_a_log_with_a_version_that_is_gone_is_not_backed_up(turned: Home, tmp_path: Path) -> None:
    (gone, *_) = turned.artifacts.iterdir()
    gone.unlink()
    with pytest.raises(backup.BackupError, match=f"artifact {gone.stem} is missing"):
        make(turned)
    assert not (tmp_path / "saved").exists()


@pytest.mark.usefixtures("turned")
def test_the_verbs_say_what_they_did_and_exit_as_they_promise(tmp_path: Path) -> None:
    there = ("--data", ".")
    done = continual("backup", "saved", "--json", *there, cwd=tmp_path)
    assert done.returncode == cli.OK, done.stderr
    told = json.loads(done.stdout)
    assert told["last_seq"] > 60
    held = files(tmp_path / "saved")
    assert told["size_bytes"] == sum(map(len, held.values())) - len(held["manifest.json"])
    nothing = continual("backup", "empty", "--data", "nowhere", cwd=tmp_path)
    assert nothing.returncode == cli.CONFIGURATION
    assert "expected a log, got nothing" in nothing.stderr
    used = continual("restore", "saved", "--replace", *there, cwd=tmp_path)
    assert used.returncode == cli.CONFIGURATION
    assert "expected a log that nobody uses" in used.stderr  # this process has it open
    back = continual("restore", "saved", "--data", "new", "--json", cwd=tmp_path)
    assert back.returncode == cli.OK, back.stderr
    assert json.loads(back.stdout)["head"] == told["head"]
    checked = continual("restore", "saved", "--check", cwd=tmp_path)
    assert checked.returncode == cli.OK, checked.stderr
    spoil(tmp_path / "saved" / "log.sqlite")
    for flags in (("--check",), ("--data", "newer")):
        broken = continual("restore", "saved", *flags, cwd=tmp_path)
        assert broken.returncode == cli.FAILED
        assert "its bytes are not those" in broken.stdout
    assert not (tmp_path / "newer").exists()
