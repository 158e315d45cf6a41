"""Artifacts: files named by the SHA-256 of their bytes, written once.

They are kept in a directory, or in a bucket elsewhere with a directory here as its cache.
"""

import fcntl
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from continualml.store import private

# A version's graph, and what its learner needs to go on learning.
GRAPH, LEARNER = "onnx", "skops"
_NAME = re.compile(r"[0-9a-f]{64}")


class ArtifactError(RuntimeError):
    """An artifact is missing or its bytes are not those that its name says; it is not loaded."""


class Bucket(Protocol):
    """Where artifacts are kept outside; every call is bounded in time.

    They raise ``UnreachableError`` while nothing can be known.
    """

    def get(self, name: str) -> bytes | None:
        """Read an object; None if there is none of that name."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Write an object, whole or not at all, unless it is there."""
        ...

    def look(self) -> None:
        """See whether it answers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A bucket, and the directory here that holds what this machine has made or needed of it."""

    bucket: Bucket
    url: str
    cache: Path


Place = Path | Remote


def write(place: Place, data: bytes, *, kind: str = GRAPH) -> str:
    """Write an artifact so that after a crash it is there whole or not at all; return its hash.

    One in a directory whose bytes are no longer what its name says is replaced; one that is whole
    counts as made now, so that nobody collects what it was.

    Raises
    ------
    UnreachableError
        If it belongs into a bucket and is not known to be there; then nobody may hear of it.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    name = f"{sha256}.{kind}"
    if isinstance(place, Remote):
        place.bucket.put(name, data)
        place = place.cache
    if _is_whole(place, sha256, kind) and _renewed(place / name):
        # Whoever wrote it may have been killed before its name was on disk.
        private.sync_folder(place)
    else:
        _put(place, name, data)
    return sha256


def read(place: Place, sha256: str, *, kind: str = GRAPH) -> bytes:
    """Read an artifact and check its bytes against its name.

    Of a bucket, what is whole in the cache is taken from there, and all else is brought there.

    Raises
    ------
    ArtifactError
        If it is missing, is no plain file or was changed.
    UnreachableError
        If it is neither here nor can be asked for now: nothing is known about it.
    """
    if isinstance(place, Path):
        return _checked(sha256, _from_directory(place, sha256, kind))
    try:
        return read(place.cache, sha256, kind=kind)
    except ArtifactError:
        data = read_kept(place, sha256, kind=kind)
        _put(place.cache, f"{sha256}.{kind}", data)
        return data


def read_kept(place: Place, sha256: str, *, kind: str = GRAPH) -> bytes:
    """Read an artifact from where it is kept, whatever is in a cache, and check it likewise."""
    if isinstance(place, Path):
        return read(place, sha256, kind=kind)
    _check_name(sha256)
    data = place.bucket.get(f"{sha256}.{kind}")
    if data is None:
        raise ArtifactError(f"artifact {sha256} is missing in {place.url}")
    return _checked(sha256, data)


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Let nobody else renew or remove an artifact in a directory."""
    lock = directory.with_name(f"{directory.name}.lock")
    private.make_file(lock)
    with lock.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _renewed(path: Path) -> bool:
    """Let a file be as young as one that is made now; False if it was removed meanwhile."""
    with alone(path.parent):
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
    return True


def _put(directory: Path, name: str, data: bytes) -> None:
    private.make_folder(directory)
    with tempfile.NamedTemporaryFile(dir=directory, suffix=".part", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            Path(file.name).unlink()  # on a full disk it would take the last bytes, for ever
            raise
    Path(file.name).rename(directory / name)
    private.sync_folder(directory)


def _from_directory(directory: Path, sha256: str, kind: str) -> bytes:
    _check_name(sha256)
    try:
        return _plain(directory / f"{sha256}.{kind}")
    except FileNotFoundError:
        raise ArtifactError(f"artifact {sha256} is missing in {directory}") from None
    except OSError as error:
        raise ArtifactError(f"artifact {sha256} cannot be read: {error.strerror}") from None


def _check_name(sha256: str) -> None:
    if not _NAME.fullmatch(sha256):
        raise ArtifactError(f"expected a SHA-256 as an artifact's name, got {sha256!r}")


def _checked(sha256: str, data: bytes) -> bytes:
    if (got := hashlib.sha256(data).hexdigest()) != sha256:
        raise ArtifactError(f"artifact {sha256} was changed: its bytes hash to {got}")
    return data


def _is_whole(directory: Path, sha256: str, kind: str) -> bool:
    try:
        read(directory, sha256, kind=kind)
    except ArtifactError:
        return False
    return True


def _plain(path: Path) -> bytes:
    """Read a file that is no link to elsewhere, no pipe and no device."""
    # Non-blocking, or a pipe that nobody writes to would hold up whoever reads it.
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise ArtifactError(f"artifact {path.name} is no plain file")
        return file.read()
