"""Folders and files that nobody but their owner may look into, whatever the umask is."""

import os
import stat
from pathlib import Path

from continualml.errors import InputError

_FOLDER, _FILE = 0o700, 0o600
_OTHERS = 0o077


def make_folder(path: Path) -> None:
    """Create a folder and those above that are missing; what is there stays as it is."""
    if path.is_dir():
        return
    if path.parent != path:
        make_folder(path.parent)
    path.mkdir(mode=_FOLDER, exist_ok=True)
    sync_folder(path.parent)


def make_file(path: Path) -> None:
    """Create an empty file, unless there is one."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, _FILE))


def check_own(path: Path) -> None:
    """Refuse a file with a secret that others than its owner may read.

    Raises
    ------
    InputError
        Names the mode that it has.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        raise InputError(
            str(path),
            expected="a file that only its owner may read (mode 0600)",
            got=f"{mode:04o}",
            remedy=f"chmod 600 {path}, or remove it and start again if others could have read it",
        )


def read_own(path: Path) -> str | None:
    """Read a secret from its file; None if there is no file.

    Raises
    ------
    InputError
        If others may read it.
    """
    if not path.exists():
        return None
    check_own(path)
    return path.read_text("utf-8").strip()


def write_own(path: Path, secret: str) -> None:
    """Write a secret into its file: whole or not at all, and never open to others."""
    make_folder(path.parent)
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(f"{secret}\n")
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(path)


def sync_folder(path: Path) -> None:
    """Put a folder's names on disk: what was created, renamed or removed in it outlives a cut."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
