"""Backups: one state of the log with the versions that it names, each file by its hash.

A backup becomes visible by one rename, after its files are on disk and have been checked; a restore
moves what was there aside, and the log comes last.
"""

import hashlib
import os
import secrets
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import Connection, Engine

from continualml import clock
from continualml.errors import InputError, Said
from continualml.records import Json
from continualml.store import artifacts, ledger, log, pointers, private
from continualml.store.artifacts import Place
from continualml.store.engine import file_of, has_log, read
from continualml.store.pages import copy_log, look_into
from continualml.store.verify import Checked, verify

LOG, ARTIFACTS, MANIFEST = "log.sqlite", "artifacts", "manifest.json"
_FORMAT = 1
_PIECE = 1 << 20
_POSTGRESQL = (
    "this log is kept in PostgreSQL: back up the database with pg_dump, and then copy the"
    " artifacts; see docs/backup.md"
)

# Told, while files are written or read, how many bytes of how many are through.
Advance = Callable[[int, int], None]


class Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a backup: what its bytes hash to, and how many they are."""

    sha256: str
    size_bytes: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup holds; ``head`` is the hash of the ledger's last entry, ``entries`` its number.

    ``configuration`` is the SHA-256 of the configuration's file, where there was one.
    """

    format: int
    made_at: str
    build: str
    last_seq: int
    entries: int
    head: str
    configuration: str | None
    files: dict[str, Held]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore did; ``aside`` is where what was there before lies now."""

    manifest: Manifest
    aside: Path | None


class BackupError(RuntimeError):
    """A backup, or the log that one was to be made of, is not whole; nothing was left behind."""

    def __init__(self, where: Path, checks: tuple[Checked, ...]) -> None:
        self.checks = checks
        broken = "; ".join(f"{c.check}: {c.broken}" for c in checks if c.broken)
        super().__init__(f"{where}: {broken}")


def make(
    engine: Engine,
    place: Place,
    target: Path,
    *,
    build: str,
    configuration: Path,
    advance: Advance = lambda _n, _all: None,
) -> Manifest:
    """Back up the log and the artifacts in ``place``, while others read and write them.

    Raises
    ------
    InputError
        If ``target`` is there already, or the log is not a file.
    BackupError
        If the log or an artifact is broken.
    UnreachableError
        If an artifact is in a bucket alone that does not answer.
    """
    if file_of(engine) is None:
        raise InputError("backup", expected="a log in SQLite", got=Said(_POSTGRESQL))
    with read(engine) as conn:
        if not has_log(conn):
            got = Said("nothing that was ever written to")
            raise InputError(str(engine.url.database), expected="a log", got=got)
    if target.exists():
        raise InputError(str(target), expected="a name that is free", got=Said("what is there"))
    with _staged(target.absolute().parent, f".{target.name}.") as staged:
        with read(engine) as conn:
            copy_log(conn, staged / LOG, advance)
            names = list(_artifacts(conn))
            manifest = _described(conn, build, configuration)
        for sha256, kind in names:
            try:
                data = artifacts.read(place, sha256, kind=kind)
            except artifacts.ArtifactError as error:
                broken = Checked(check="artifacts", looked_at=len(names), broken=str(error))
                raise BackupError(target, (broken,)) from None
            artifacts.write(staged / ARTIFACTS, data, kind=kind)
        files = {str(p.relative_to(staged)): _held(p, advance) for p in _files(staged)}
        manifest = msgspec.structs.replace(manifest, files=files)
        _write(staged / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
        _refuse_broken(target, _of_contents(staged, manifest))
        staged.rename(target)
        private.sync_folder(target.absolute().parent)
    return manifest


def check(backup: Path, advance: Advance = lambda _n, _all: None) -> tuple[Checked, ...]:
    """Hold a backup's files against its manifest, and what they say against itself.

    Raises
    ------
    InputError
        If it is no backup.
    """
    manifest = manifest_of(backup)
    files = Checked(check="files", looked_at=len(manifest.files), broken=None)
    for name, held in manifest.files.items():
        path = backup / name
        got = _held(path, advance) if path.is_file() else None
        if got != held:
            said = f"{name}: {'missing' if got is None else 'its bytes are not those backed up'}"
            # Whatever else it says cannot be believed.
            return (Checked(check="files", looked_at=len(manifest.files), broken=said),)
    return (files, *_of_contents(backup, manifest))


def manifest_of(backup: Path) -> Manifest:
    """Read what a backup says that it holds.

    Raises
    ------
    InputError
        If it is no backup, or one of another kind.
    """
    try:
        found = msgspec.json.decode((backup / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        got = Said(f"what has no {MANIFEST} that can be read: {error}")
        raise InputError(str(backup), expected="a backup", got=got) from None
    if found.format != _FORMAT:
        raise InputError(str(backup), expected=f"a backup of format {_FORMAT}", got=found.format)
    if LOG not in found.files or any(Path(n).is_absolute() or ".." in n for n in found.files):
        raise InputError(str(backup), expected="a backup", got=Said("names that lead elsewhere"))
    return found


def restore(
    backup: Path, data: Path, *, replace: bool, advance: Advance = lambda _n, _all: None
) -> Restored:
    """Put a backup's log and artifacts into a data directory on which nothing runs.

    Parameters
    ----------
    replace
        Move what is there into a folder aside; if not, only an empty directory is taken.

    Raises
    ------
    InputError
        If it is no backup, or the directory is not empty and nobody said ``replace``.
    BackupError
        If its files, its ledger or its artifacts are not what they were; nothing was touched.
    """
    manifest = manifest_of(backup)
    there = _contents(data)
    if there and not replace:
        got = Said(f"one with {', '.join(sorted(p.name for p in there)[:3])}")
        remedy = "--replace moves what is there aside"
        raise InputError(str(data), expected="an empty directory", got=got, remedy=remedy)
    _refuse_broken(backup, check(backup, advance))
    private.make_folder(data)
    with _staged(data, ".restoring.") as staged:
        for name, held in manifest.files.items():
            _copy(backup / name, staged / name)
            if _held(staged / name, advance) != held:
                broken = Checked(check="files", looked_at=1, broken=f"{name}: changed meanwhile")
                raise BackupError(backup, (broken,))
        with _uninterrupted():
            aside = _swap(staged, data, there)
    return Restored(manifest=manifest, aside=aside)


def hash_of(configuration: Path) -> str | None:
    """Hash the configuration's file; None where there is none."""
    there = configuration.exists()
    return hashlib.sha256(configuration.read_bytes()).hexdigest() if there else None


def _described(conn: Connection, build: str, configuration: Path) -> Manifest:
    last = ledger.entries(conn, limit=1)
    return Manifest(
        format=_FORMAT,
        made_at=clock.now().isoformat(timespec="seconds"),
        build=build,
        last_seq=log.last_seq(conn),
        entries=last[0].n if last else 0,
        head=last[0].hash if last else ledger.GENESIS,
        configuration=hash_of(configuration),
        files={},
    )


def _artifacts(conn: Connection) -> Iterator[tuple[str, str]]:
    yield from dict.fromkeys((one.sha256, one.kind) for one in pointers.artifacts_named(conn))


def _of_contents(backup: Path, manifest: Manifest) -> tuple[Checked, ...]:
    engine = look_into(backup / LOG)
    try:
        with read(engine) as conn:
            checks = verify(conn, backup / ARTIFACTS)
            if any(c.broken for c in checks):
                return checks
            last = ledger.entries(conn, limit=1)
    finally:
        engine.dispose()
    head = (last[0].n, last[0].hash) if last else (0, ledger.GENESIS)
    same = head == (manifest.entries, manifest.head)
    broken = None if same else f"the ledger ends with entry {head[0]}, not as the manifest says"
    return (*checks, Checked(check="manifest", looked_at=1, broken=broken))


def _refuse_broken(where: Path, checks: tuple[Checked, ...]) -> None:
    if any(c.broken for c in checks):
        raise BackupError(where, checks)


@contextmanager
def _staged(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a folder for what is not whole yet; unless it was renamed, nothing of it stays."""
    if not parent.is_dir():
        raise InputError(str(parent), expected="a directory", got=Said("none"))
    folder = parent / f"{prefix}{secrets.token_hex(4)}.part"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        if folder.exists():
            shutil.rmtree(folder)


def _swap(staged: Path, data: Path, there: list[Path]) -> Path | None:
    """Move what is there aside and what is staged in, or nothing at all."""
    moves: list[tuple[Path, Path]] = []
    aside = None
    if there:
        aside = data / f"replaced-{clock.now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        aside.mkdir(mode=0o700)
        # The log before its WAL: an old WAL beside a new log would be read as a part of it.
        old = sorted(there, key=lambda p: (p.name != LOG, p.name))
        moves += [(path, aside / path.name) for path in old]
    # The log last: without one there is no store, and with it all that it names is there.
    new = sorted(staged.iterdir(), key=lambda p: (p.name == LOG, p.name))
    moves += [(path, data / path.name) for path in new]
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            source.rename(target)
            done.append((source, target))
            private.sync_folder(target.parent)
    except OSError:
        for source, target in reversed(done):
            target.rename(source)
        if aside is not None:
            aside.rmdir()
        raise
    private.sync_folder(data)
    return aside


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until some renames are through."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _contents(data: Path) -> list[Path]:
    """List what a restore would have to move: not earlier ones' leavings, nor the tree's lock."""
    if not data.exists():
        return []
    mine = ("replaced-", ".restoring.")
    return [p for p in data.iterdir() if not p.name.startswith(mine) and p.name != "up.lock"]


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def _held(path: Path, advance: Advance) -> Held:
    size = path.stat().st_size
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            done += len(piece)
            advance(done, size)
    return Held(sha256=digest.hexdigest(), size_bytes=done)


def _copy(source: Path, target: Path) -> None:
    private.make_folder(target.parent)
    private.make_file(target)
    with source.open("rb") as old, target.open("wb") as new:
        shutil.copyfileobj(old, new, _PIECE)
        new.flush()
        os.fsync(new.fileno())
    private.sync_folder(target.parent)


def _write(path: Path, data: bytes) -> None:
    private.make_file(path)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    private.sync_folder(path.parent)


def told(manifest: Manifest) -> Json:
    """Say of a manifest what people and scripts want to know."""
    return {
        **{k: v for k, v in msgspec.to_builtins(manifest).items() if k != "files"},
        "files": len(manifest.files),
        "size_bytes": sum(held.size_bytes for held in manifest.files.values()),
    }
