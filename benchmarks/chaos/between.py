"""A TCP proxy before a server: it passes on, holds back, swallows, or is not there at all."""

import socket
import threading
import time
from contextlib import suppress
from typing import Self

_BYTES = 65_536
_LOOK_S = 0.05


class Between:
    """Stands between clients and a server of this machine.

    Parameters
    ----------
    port
        The server's; nobody has to listen there while nothing is passed on.
    """

    def __init__(self, port: int) -> None:
        self.delay_s = 0.0
        self.silent = False
        self._server = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()

    def refuse(self) -> None:
        """Cut every connection and take no new one, as if the server's machine were off."""
        for one in (self._listening, *self._open):
            with suppress(OSError):  # its other side may have closed it
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def take_again(self) -> None:
        """Listen again on the same port."""
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self._listen()

    def _listen(self) -> None:
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):  # refused from now on
            while True:
                client, _ = listening.accept()
                self._open.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._hold()
        try:
            server = socket.create_connection(("127.0.0.1", self._server))
        except OSError:
            client.close()
            return
        self._open.append(server)
        threading.Thread(target=self._pump, args=(server, client), daemon=True).start()
        self._pump(client, server)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # one side is gone
            while piece := source.recv(_BYTES):
                self._hold()
                sink.sendall(piece)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _hold(self) -> None:
        """Wait for as long as the proxy is slow, or silent."""
        time.sleep(self.delay_s)
        while self.silent:
            time.sleep(_LOOK_S)
