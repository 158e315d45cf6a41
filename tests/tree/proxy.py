"""A TCP proxy before a real server, which holds every piece of an answer back."""

import socket
import threading
import time
from contextlib import suppress
from typing import Self


class Proxy:
    """Passes on what clients send at once, and what the server says after ``delay_s``.

    Parameters
    ----------
    delay_s
        May be changed at any time, for what is held back too; infinity: nothing is passed on.
    """

    def __init__(self, port: int, *, delay_s: float) -> None:
        self.delay_s = delay_s
        self.held = 0
        self.answered = 0
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listening]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.delay_s = 0.0
        for one in self._open:
            with suppress(OSError):  # it may be closed by its other side
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the end
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._open += [client, server]
                for pump in (self._ask, self._answer):
                    threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):  # one side is gone
            while piece := client.recv(65_536):
                server.sendall(piece)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):  # one side is gone
            while piece := server.recv(65_536):
                self.held += 1
                came = time.monotonic()
                while time.monotonic() - came < self.delay_s:
                    time.sleep(0.02)
                client.sendall(piece)
                self.answered += 1
            client.shutdown(socket.SHUT_WR)
