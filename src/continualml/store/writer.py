"""Hands statements to the process that commits for an event loop; see ``writer_process``."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from loguru import logger

from continualml.store import writer_process

_PROGRAM: Final = Path(writer_process.__file__)
# SQLite waits ten seconds for other processes; what takes longer has hung.
_PATIENCE_S: Final = 15.0
_AGAIN_S: Final = 1.0
_SOON_S: Final = 0.1

# Gets True if it is on disk, False if nothing was written, None if nobody knows.
Told = Callable[[bool | None], None]


class Writer:
    """One process that executes a statement at a time, on a SQLite file.

    If it ends, what was under way is told so, and another one is started soon.

    Parameters
    ----------
    database
        The file.
    script
        SQL that sets its connection up.
    """

    def __init__(self, database: str, script: str) -> None:
        self._arguments = (database, script)
        self._process: subprocess.Popen[bytes] | None = None
        self._told: Told | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listens = False
        self._start()

    @property
    def idle(self) -> bool:
        """Tell whether it would take a statement."""
        return self._process is not None and self._told is None

    def execute(
        self, loop: asyncio.AbstractEventLoop, sql: str, values: tuple[Any, ...], told: Told
    ) -> bool:
        """Execute a statement in a transaction of its own; all calls come from one event loop.

        Returns
        -------
        Whether it was taken; if not, ``told`` is not called.
        """
        said = writer_process.message(sql, values)
        if not self.idle or len(said) > writer_process.LARGEST:
            return False
        if not self._listens:
            self._loop, self._listens = loop, True
            loop.add_reader(self._socket, self._answered)
            self._look(None)
        try:
            self._socket.send(said)
        except OSError as error:
            self._lose(str(error))
            return False
        self._told = told
        return True

    def close(self) -> None:
        """Wait for what is under way, and end the process."""
        if self._told is not None:
            self._socket.settimeout(_PATIENCE_S)
            self._answered()
        if (process := self._let_go()) is not None:
            _end(process, _AGAIN_S)
        for timer in self._timers:
            timer.cancel()

    def _start(self) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-I", "-S", str(_PROGRAM), str(its.fileno()), *self._arguments]
        with its, contextlib.ExitStack() as unless:
            unless.callback(ours.close)
            self._process = subprocess.Popen(  # noqa: S603  our own file
                command, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL
            )
            unless.pop_all()
        ours.setblocking(False)
        self._socket = ours

    def _start_again(self) -> None:
        try:
            self._start()
        except OSError as error:  # without memory or descriptors; the thread goes on to write
            logger.warning("The writer's process cannot be started: {}", error)
            self._later(_AGAIN_S, self._start_again)

    def _answered(self) -> None:
        try:
            answer = self._socket.recv(1)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(str(error))
            return
        if not answer:
            self._lose("it ended")
            return
        told, self._told = self._told, None
        if told is not None:
            told(answer == writer_process.COMMITTED)

    def _look(self, before: Told | None) -> None:
        """End the process if it is at what it was at the last time."""
        if before is not None and self._told is before:
            self._lose(f"it hung for more than {_PATIENCE_S:.0f} s")
        else:
            self._later(_PATIENCE_S, self._look, self._told)

    def _later(self, delay_s: float, do: Callable[..., None], *arguments: object) -> None:
        if self._loop is not None:
            self._timers = [self._loop.call_later(delay_s, do, *arguments)]

    def _lose(self, why: str) -> None:
        """Do without the process; what it was about may be on disk or not."""
        logger.warning("The writer's process is lost: {}; another one is started", why)
        process = self._let_go()
        if process is not None:
            process.kill()
            _end(process, _SOON_S)
        for timer in self._timers:
            timer.cancel()
        self._later(_AGAIN_S, self._start_again)
        told, self._told = self._told, None
        if told is not None:
            told(None)

    def _let_go(self) -> subprocess.Popen[bytes] | None:
        process, self._process = self._process, None
        if process is not None:
            if self._loop is not None and self._listens:
                self._loop.remove_reader(self._socket)
            self._listens = False
            self._socket.close()
        return process


def _end(process: subprocess.Popen[bytes], most_s: float) -> None:
    """Wait until it has ended, which a disk that hangs may put off."""
    with contextlib.suppress(subprocess.TimeoutExpired):  # the next process that starts buries it
        process.wait(most_s)
