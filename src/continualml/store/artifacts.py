"""Artifacts: files named by the SHA-256 of their bytes, written once."""

import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path

from continualml.store import private

# A version's graph, and what its learner needs to go on learning.
GRAPH, LEARNER = "onnx", "skops"
_NAME = re.compile(r"[0-9a-f]{64}")


class ArtifactError(RuntimeError):
    """An artifact is missing or its bytes are not those that its name says; it is not loaded."""


def write(directory: Path, data: bytes, *, kind: str = GRAPH) -> str:
    """Write an artifact so that after a crash it is there whole or not at all; return its hash."""
    sha256 = hashlib.sha256(data).hexdigest()
    path = directory / f"{sha256}.{kind}"
    if path.exists():
        return sha256
    private.make_folder(directory)
    with tempfile.NamedTemporaryFile(dir=directory, suffix=".part", delete=False) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).rename(path)
    folder = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return sha256


def read(directory: Path, sha256: str, *, kind: str = GRAPH) -> bytes:
    """Read an artifact and check its bytes against its name.

    Raises
    ------
    ArtifactError
        If it is missing, is no plain file or was changed.
    """
    if not _NAME.fullmatch(sha256):
        raise ArtifactError(f"expected a SHA-256 as an artifact's name, got {sha256!r}")
    path = directory / f"{sha256}.{kind}"
    try:
        data = _plain(path)
    except FileNotFoundError:
        raise ArtifactError(f"artifact {sha256} is missing in {directory}") from None
    except OSError as error:
        raise ArtifactError(f"artifact {sha256} cannot be read: {error.strerror}") from None
    if (got := hashlib.sha256(data).hexdigest()) != sha256:
        raise ArtifactError(f"artifact {sha256} was changed: its bytes hash to {got}")
    return data


def _plain(path: Path) -> bytes:
    """Read a file that is no link to elsewhere, no pipe and no device."""
    # Non-blocking, or a pipe that nobody writes to would hold up whoever reads it.
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise ArtifactError(f"artifact {path.name} is no plain file")
        return file.read()
