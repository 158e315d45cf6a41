"""One server at a time: started, asked until it answers right, and ended with all its children."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

_PATIENCE_S = 180.0
_EVERY_S = 0.01
GRACE_S = 8.0
_LAST_S = 5.0


class DidNotServeError(RuntimeError):
    """A server did not start, or does not answer right; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that answered right ``start_s`` seconds after its process was started."""

    pid: int
    start_s: float

    def memory_mb(self) -> tuple[float, float]:
        """Return proportional and resident set of the process and all its children, in MB."""
        first = psutil.Process(self.pid)
        found = [p.memory_full_info() for p in (first, *first.children(recursive=True))]
        return sum(m.pss for m in found) / 2**20, sum(m.rss for m in found) / 2**20


@contextmanager
def running(
    command: tuple[str, ...], env: Mapping[str, str], said: Path, is_right: Callable[[], bool]
) -> Iterator[Running]:
    """Run a server until the end of the block.

    Raises
    ------
    DidNotServeError
        If it ends, or gives no right answer for three minutes.
    """
    began = time.monotonic()
    with said.open("wb") as log:
        # A session of its own: whatever it starts is ended with it, and Ctrl-C comes to us alone.
        # It writes where its words go: MLServer makes a folder where it is started.
        child = subprocess.Popen(
            command,
            env=dict(env),
            cwd=said.parent,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while not _answers(is_right):
            if child.poll() is not None or time.monotonic() - began > _PATIENCE_S:
                told = " ".join(said.read_text("utf-8", "replace").split())[-300:]
                raise DidNotServeError(told or f"no right answer in {_PATIENCE_S:g} s")
            time.sleep(_EVERY_S)
        yield Running(pid=child.pid, start_s=time.monotonic() - began)
    finally:
        _end(child)


def _answers(is_right: Callable[[], bool]) -> bool:
    with suppress(httpx.TransportError):  # it does not listen yet
        return is_right()
    return False


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Ask the whole session to end, and end what is left of it after a while."""
    for way, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, _LAST_S)):
        until = time.monotonic() + patience_s
        try:
            os.killpg(child.pid, way)
            while time.monotonic() < until:
                child.poll()
                os.killpg(child.pid, 0)
                time.sleep(0.02)
        except ProcessLookupError:  # all of them are gone
            break
    child.wait(timeout=_LAST_S)


def free_ports(n: int) -> list[int]:
    """Find ports of the loopback address that are free now."""
    probes = [socket.socket() for _ in range(n)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
