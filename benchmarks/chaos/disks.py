"""A small disk of its own, which can be full, hang, fail or hold a spoilt page. Needs root."""

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

_SIZE_MB = 160
_TOOLS = ("mkfs.ext4", "mount", "umount", "e2fsck", "fsfreeze")
_BALLAST = "ballast"
_PAGE = 4_096


def missing() -> str | None:
    """Say why there can be no such disk here; None if there can."""
    if os.geteuid() != 0:
        return "a disk of its own needs root"
    lacking = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"{', '.join(lacking)} not installed" if lacking else None


@dataclass(slots=True)
class Disk:
    """An ext4 file system in a file, mounted at ``at``."""

    image: Path
    at: Path

    def mount(self) -> None:
        _run("mount", "-o", "loop", str(self.image), str(self.at))

    def unmount(self) -> None:
        for _ in range(20):
            if _run("umount", str(self.at), check=False) == 0:
                return
            time.sleep(0.5)
        _run("umount", "--lazy", str(self.at))

    def fill(self) -> None:
        """Leave no block free, at once."""
        with (self.at / _BALLAST).open("wb") as file:
            for size in (1 << 20, _PAGE):
                try:
                    while True:
                        os.posix_fallocate(file.fileno(), file.tell(), size)
                        file.seek(size, os.SEEK_CUR)
                except OSError:
                    continue  # not even so much fits any more

    def free(self) -> None:
        (self.at / _BALLAST).unlink()

    def freeze(self) -> None:
        """Let every write wait, as a disk that has gone away does."""
        _run("fsfreeze", "--freeze", str(self.at))

    def thaw(self) -> None:
        _run("fsfreeze", "--unfreeze", str(self.at))

    def fail(self) -> None:
        """Make it read-only at once under whoever writes, as the kernel does after an error."""
        _run("mount", "-o", "remount,abort", str(self.at))

    def mend(self) -> None:
        """Unmount, check and mount it again; nobody may use it."""
        self.unmount()
        _run("e2fsck", "-fy", str(self.image), check=False)
        self.mount()


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """Make a disk and mount it; it is gone afterwards."""
    one = Disk(folder / "disk.img", folder / "disk")
    one.at.mkdir(parents=True)
    with one.image.open("wb") as file:
        file.truncate(_SIZE_MB << 20)
    _run("mkfs.ext4", "-q", str(one.image))
    one.mount()
    try:
        yield one
    finally:
        _run("fsfreeze", "--unfreeze", str(one.at), check=False)
        one.unmount()
        one.image.unlink()


def spoil_a_page(database: Path) -> int:
    """Overwrite one of the newest full pages of the table of observations; return its number."""
    with closing(sqlite3.connect(database)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pages = [
            number
            for (number,) in conn.execute(
                "SELECT pageno FROM dbstat WHERE name = 'observations' AND pagetype = 'leaf'"
                " ORDER BY pageno"
            )
        ]
    page = int(pages[-3])
    with database.open("r+b") as file:
        file.seek((page - 1) * _PAGE)
        file.write(b"\xa5" * _PAGE)
        os.fsync(file.fileno())
    return page


def _run(*command: str, check: bool = True) -> int:
    return subprocess.run(command, check=check, capture_output=True).returncode
