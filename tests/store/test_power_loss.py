import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.power_loss.__main__ import tried
from benchmarks.power_loss.disk import Event, Link, Said, Sync, SyncNames, Write, cuts
from continualml.store import artifacts

# More, and the figures: python -m benchmarks.power_loss
INSTANTS = 30


def test_a_power_cut_at_any_instant_loses_nothing_that_was_said() -> None:
    found = tried("power, power cut", INSTANTS, seed=3)
    assert [f for f in found if f.lost or f.gap or f.broken] == []
    assert max(f.said for f in found) > 500


def test_durability_process_loses_nothing_when_processes_end_and_only_the_tail_with_the_power() -> (
    None
):
    killed = tried("process, processes killed", INSTANTS, seed=3)
    assert [f for f in killed if f.lost or f.gap or f.broken] == []
    cut = tried("process, power cut", INSTANTS, seed=3)
    assert [f for f in cut if f.lost_below_a_decision or f.gap or f.broken] == []
    assert any(f.lost for f in cut)  # or it would cost nothing to promise more


def test_the_same_cuts_find_a_disk_that_confirms_what_it_has_not_done() -> None:
    found = tried("power, a disk that lies", INSTANTS, seed=3)
    assert sum(f.lost > 0 for f in found) > INSTANTS / 4
    assert any(f.broken for f in found)


class Folder:
    """Notes what is written, synced and renamed in one folder, in order; its names are new."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.events = folder, list[Event]()
        self._files: dict[str, int] = {}
        self._fsync, self._rename = os.fsync, os.rename
        patch.setattr(os, "fsync", self.fsync)
        patch.setattr(os, "rename", self.rename)

    def fsync(self, number: int) -> None:
        path = Path(f"/proc/self/fd/{number}").readlink()
        upto = len(self.events)
        if path == self.folder:
            self.events.append(SyncNames(upto))
        elif path.parent == self.folder:
            file = self._seen(path)
            self.events.append(Sync(file, len(self.events)))
        self._fsync(number)

    def rename(self, old: Path, new: Path) -> None:
        file = self._seen(Path(old))
        self.events.append(Link(Path(new).name, file))
        self.events.append(Link(Path(old).name, None))
        self._files[Path(new).name] = file
        self._rename(old, new)

    def _seen(self, path: Path) -> int:
        """Note what a file holds by now, if it is not known yet."""
        if path.name not in self._files:
            self._files[path.name] = number = len(self._files) + 1
            self.events.append(Link(path.name, number))
            self.events.append(Write(number, 0, path.read_bytes()))
        return self._files[path.name]


def test_an_artifact_is_whole_or_not_there_after_a_power_cut_and_there_once_it_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    watched = Folder(folder, monkeypatch)
    made = {}
    for i in range(3):
        data = os.urandom(3_000 + i)
        sha256 = artifacts.write(folder, data)
        made[f"{sha256}.onnx"] = data
        watched.events.append(Said((f"{sha256}.onnx",)))
    # A process was killed after the rename; the next one makes the same version.
    data = os.urandom(2_000)
    named = f"{hashlib.sha256(data).hexdigest()}.onnx"
    part = folder / "killed.part"
    part.write_bytes(data)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.rename(folder / named)
    made[named] = data
    artifacts.write(folder, data)
    watched.events.append(Said((named,)))

    events, rng = watched.events, np.random.default_rng(0)
    for cut, _, left in cuts(events, sorted([*range(len(events) + 1)] * 40), rng):
        there = {n: d for n, d in left.items() if n.endswith(".onnx")}
        assert there.items() <= made.items()
        said = {w for e in events[:cut] if isinstance(e, Said) for w in e.what}
        assert said <= there.keys()
