"""A disk whose power may be cut: what was written, what was synced, and what may be left.

Between a write and the sync after it, each sector of 512 bytes may hold what it held at any instant
since the last sync, whatever the sectors beside it do: so writes are lost, torn and reordered. The
same goes for a file's length, and for the names in the directory. A byte that is not written does
not change (SQLite assumes that too, and calls it powersafe overwrite).
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import apsw
import numpy as np

SECTOR = 512
# How an unsynced write fares: all lost, all kept, the first ones kept, each sector by itself.
Fate = Literal["lost", "kept", "first", "sectors"]
FATES: tuple[Fate, ...] = ("lost", "kept", "first", "sectors")


@dataclass(frozen=True, slots=True)
class Write:
    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """What was written to a file before the event number ``upto`` is on disk."""

    file: int
    upto: int


@dataclass(frozen=True, slots=True)
class Link:
    """A name in the directory means this file from now on; None: none."""

    name: str
    file: int | None


@dataclass(frozen=True, slots=True)
class SyncNames:
    upto: int


@dataclass(frozen=True, slots=True)
class Said:
    """Somebody was told that these are recorded."""

    what: tuple[Any, ...]


Event = Write | Truncate | Sync | Link | SyncNames | Said


class Watched(apsw.VFS):
    """The file system of this machine, which notes in order what SQLite asks of it."""

    def __init__(self, name: str) -> None:
        self.events: list[Event] = []
        self.files: dict[str, int] = {}
        self._last = 0
        self._lock = threading.Lock()
        super().__init__(name, base="")

    def note(self, event: Event) -> None:
        self.events.append(event)

    def file_of(self, path: str) -> int:
        """Number the file that a path names now; a new one gets its name in the directory."""
        name = Path(path).name
        with self._lock:
            if name not in self.files:
                self._last += 1
                self.files[name] = self._last
                self.note(Link(name, self._last))
            return self.files[name]

    def xOpen(self, name: Any, flags: list[int]) -> "WatchedFile":  # noqa: N802  SQLite's names
        return WatchedFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        with self._lock:
            name = Path(filename).name
            self.files.pop(name, None)
            self.note(Link(name, None))
            if syncdir:
                self.note(SyncNames(len(self.events)))


class WatchedFile(apsw.VFSFile):
    def __init__(self, disk: Watched, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        # A file without a name is SQLite's own scratch; nobody reads it after a cut.
        self._file = disk.file_of(path) if path else 0
        creates = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL
        self._name_is_new = bool(flags[0] & creates)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        if self._file:
            self._disk.note(Write(self._file, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        if self._file:
            self._disk.note(Truncate(self._file, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        upto = len(self._disk.events)
        super().xSync(flags)
        if self._file:
            self._disk.note(Sync(self._file, upto))
            if self._name_is_new:  # then SQLite's unix layer syncs the directory too
                self._disk.note(SyncNames(upto))
                self._name_is_new = False


@dataclass(slots=True)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, Write | Truncate]] = field(default_factory=list)


def cuts(
    events: Sequence[Event],
    at: Sequence[int],
    rng: np.random.Generator,
    *,
    fates: Sequence[Fate] = FATES,
    lies: bool = False,
) -> Iterator[tuple[int, Fate, dict[str, bytes]]]:
    """Cut the power before the events with the numbers ``at``, ascending; give what is left.

    Parameters
    ----------
    fates
        One of them, at random, befalls what was not synced; ``kept`` alone is the end of the
        processes on a machine that goes on.
    lies
        The disk confirms syncs and does none: what a model that cannot fail would pass over.
    """
    files: dict[int, _File] = {}
    names: dict[str, int] = {}
    renamed: list[tuple[int, Link]] = []
    done = 0
    for cut in at:
        for number in range(done, cut):
            event = events[number]
            if isinstance(event, Write | Truncate):
                files.setdefault(event.file, _File()).pending.append((number, event))
            elif isinstance(event, Link):
                renamed.append((number, event))
            elif isinstance(event, Sync) and not lies:
                _settle(files.setdefault(event.file, _File()), event.upto)
            elif isinstance(event, SyncNames) and not lies:
                for _, link in (r for r in renamed if r[0] < event.upto):
                    _link(names, link)
                renamed = [r for r in renamed if r[0] >= event.upto]
        done = cut
        fate = fates[int(rng.integers(len(fates)))]
        yield cut, fate, _left(files, names, renamed, fate, rng)


def _settle(file: _File, upto: int) -> None:
    for _, event in (p for p in file.pending if p[0] < upto):
        _apply(file.durable, event)
    file.pending = [p for p in file.pending if p[0] >= upto]


def _apply(content: bytearray, event: Write | Truncate) -> None:
    if isinstance(event, Truncate):
        del content[event.size :]
        content.extend(bytes(event.size - len(content)))
        return
    end = event.offset + len(event.data)
    content.extend(bytes(max(0, end - len(content))))
    content[event.offset : end] = event.data


def _link(names: dict[str, int], link: Link) -> None:
    if link.file is None:
        names.pop(link.name, None)
    else:
        names[link.name] = link.file


def _left(
    files: dict[int, _File],
    names: dict[str, int],
    renamed: list[tuple[int, Link]],
    fate: Fate,
    rng: np.random.Generator,
) -> dict[str, bytes]:
    there = dict(names)
    for _, link in renamed[: _kept(len(renamed), fate, rng)]:
        _link(there, link)
    return {
        name: bytes(_content(files.get(number, _File()), fate, rng))
        for name, number in there.items()
    }


def _kept(n: int, fate: Fate, rng: np.random.Generator) -> int:
    if fate in {"lost", "kept"}:
        return n if fate == "kept" else 0
    return int(rng.integers(n + 1))


def _content(file: _File, fate: Fate, rng: np.random.Generator) -> bytearray:
    pending = [event for _, event in file.pending]
    content = bytearray(file.durable)
    if fate != "sectors" or not pending:
        for event in pending[: _kept(len(pending), fate, rng)]:
            _apply(content, event)
        return content
    # Each sector as it was at an instant of its own, and the length likewise.
    last = bytearray(file.durable)
    sizes = [len(last)]
    for event in pending:
        _apply(last, event)
        sizes.append(len(last))
    instants = rng.integers(len(pending) + 1, size=max(sizes) // SECTOR + 1)
    for i, event in enumerate(pending):
        if isinstance(event, Truncate):
            continue
        for start in range(event.offset - event.offset % SECTOR, _end(event), SECTOR):
            if i < instants[start // SECTOR]:
                a, b = max(start, event.offset), min(start + SECTOR, _end(event))
                part = event.data[a - event.offset : b - event.offset]
                _apply(content, Write(event.file, a, part))
    _apply(content, Truncate(0, sizes[int(rng.integers(len(sizes)))]))
    return content


def _end(event: Write) -> int:
    return event.offset + len(event.data)
