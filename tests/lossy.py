"""A TCP proxy before PostgreSQL: it can move elsewhere, hang, and lose a commit's answer."""

import socket
import threading
import time
from contextlib import suppress
from typing import Self


class Lossy:
    """Passes on bytes both ways, between clients and the server at ``port``.

    Parameters
    ----------
    port
        May be changed at any time, as when an address moves; connections that are there are cut
        by ``cut`` alone.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.silent = False
        # Whether the next COMMIT arrives, before both sides are cut off without an answer.
        self.lose_commit: bool | None = None
        self.commits_before = 0  # that are passed on as usual
        self.lost = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.own_port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.silent = False
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()

    def cut(self) -> None:
        """End every connection that is there."""
        there, self._open = self._open, []
        for one in there:
            _end(one)

    def _accept(self) -> None:
        with suppress(OSError):  # the end
            while True:
                client, _ = self._listening.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.port))
                except OSError:
                    _end(client)
                    continue
                self._open += [client, server]
                for ends in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, here: socket.socket, there: socket.socket, asks: bool) -> None:
        with suppress(OSError):  # one side is gone
            while piece := here.recv(65_536):
                while self.silent:
                    time.sleep(0.02)
                if asks and self.lose_commit is not None and b"COMMIT" in piece:
                    if not self.commits_before:
                        self._lose(piece, here, there)
                        return
                    self.commits_before -= 1
                there.sendall(piece)
        _end(here)
        _end(there)

    def _lose(self, piece: bytes, client: socket.socket, server: socket.socket) -> None:
        arrives, self.lose_commit = self.lose_commit, None
        self.lost += 1
        _end(client)  # it gets no answer in any case
        if arrives:
            server.sendall(piece)
            # No more comes behind it: the server commits, finds nobody, and ends the session.
            server.shutdown(socket.SHUT_WR)
            return
        _end(server)


def _end(one: socket.socket) -> None:
    with suppress(OSError):  # the other side may have closed it
        one.shutdown(socket.SHUT_RDWR)
    one.close()
