"""The processes of one tree: one tree on a data directory, its members marked, ended together."""

import fcntl
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from continualml.errors import AlreadyRunningError
from continualml.store import private

MARK = "CONTINUAL_TREE"  # in the environment of every member, so in that of its children too
TERM_S = 5.0
_FILE = "up.lock"
_ENDING_S = 2 * TERM_S
_LOOK_S = 0.1


@contextmanager
def hold(data: Path) -> Iterator[int]:
    """Hold the data directory against a second tree; gives the lock's file descriptor.

    Whoever inherits the descriptor holds on: a tree whose first process was killed counts as
    running until its last one is gone, which is waited for.

    Raises
    ------
    AlreadyRunningError
        If another tree holds it.
    """
    private.make_folder(data)
    number = os.open(data / _FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        until = time.monotonic() + _ENDING_S
        while not _locked(number, fcntl.LOCK_EX):
            pid = _pid(number)
            ending = pid is None or not psutil.pid_exists(pid)
            if not ending or time.monotonic() > until:
                raise AlreadyRunningError(str(data), pid)
            time.sleep(_LOOK_S)
        os.ftruncate(number, 0)
        os.pwrite(number, f"{os.getpid()}\n".encode(), 0)
        yield number
    finally:
        os.close(number)


def name_of(part: str) -> str:
    """Name a part that is one of its kind, as the holder of leases: its next process is the same.

    The tree starts another one only when the first is gone, and what that held is its own at once.
    Outside of a tree nobody knows, and each process is another holder.
    """
    return f"{part}@{socket.gethostname()}:{os.environ.get(MARK) or os.getpid()}"


def holder(data: Path) -> int | None:
    """Return the first process of the tree that runs on this data directory; None if none does."""
    try:
        number = os.open(data / _FILE, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return None if _locked(number, fcntl.LOCK_SH) else _pid(number)
    finally:
        os.close(number)


def users(path: Path) -> list[int]:
    """List the processes that have a file open, as far as this user may look into them."""
    wanted, found = str(path.resolve()), []
    for process in psutil.process_iter():
        try:
            if any(file.path == wanted for file in process.open_files()):
                found.append(process.pid)
        except psutil.Error:
            continue  # it ended, or is not ours to look into
    return found


def ports(pid: int) -> set[int]:
    """Collect the ports that a process and its children listen on."""
    found: set[int] = set()
    for process in family(pid):
        try:
            found |= {c.laddr.port for c in process.net_connections("inet") if c.status == "LISTEN"}
        except psutil.Error:
            continue  # it ended, or is not ours to look into
    return found


def family(pid: int) -> list[psutil.Process]:
    """List a process and its children's children; nobody if it ended."""
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def marked(mark: str) -> list[psutil.Process]:
    """List the processes that carry a tree's mark, whoever their parent is by now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue  # it ended, or belongs to somebody else
    return found


def tell(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to each that is still there."""
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue  # it ended by itself


def _locked(number: int, how: int) -> bool:
    try:
        fcntl.flock(number, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid(number: int) -> int | None:
    text = os.pread(number, 32, 0).decode().strip()
    return int(text) if text.isdecimal() else None
