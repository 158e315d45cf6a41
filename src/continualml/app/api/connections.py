"""One connection, with the limits that uvicorn's has not: how large a head, how long a request."""

import asyncio
import resource
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from continualml.app.api import problems
from continualml.app.api.problems import ProblemError
from continualml.app.api.straight import Straight, is_plain

_HEAD_BYTES: Final = 64 * 1024
_HEADERS: Final = 100
_OF_BODY: Final = {b"content-length", b"transfer-encoding"}
_HEAD_S: Final = 10.0  # from the first byte, or from connecting, to the end of the head
_REQUEST_S: Final = 60.0  # to the end of the body
_LOOK_S: Final = 2.0
# The log, artifacts and what is being accepted need descriptors too.
_CONNECTIONS: Final = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2


class _RefusedError(Exception):
    """The head is refused; raised inside the parser, which ends the connection."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection over httptools; a client that is too slow or says too much is ended.

    uvicorn bounds the head over h11 only, and over neither the time that a request may take to
    come in. A look every two seconds costs a connection less than a timer for each request.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._received_at: float | None = None  # when the message that comes in began
        self._n_asked = 0
        self._has_head = False
        self._field_bytes = 0  # since a head began, or since the last byte of a body
        self._look_again: asyncio.TimerHandle | None = None
        self._straight: Straight | None = None
        self._problem = ProblemError(400, "malformed-http", "this is no HTTP/1.1 request")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request, unless there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > _CONNECTIONS:  # those that are there go on
            transport.abort()
            return
        self._received_at = self.loop.time()
        self._look_again = self.loop.call_later(_LOOK_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop looking."""
        if self._look_again is not None:
            self._look_again.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; refuse a head that does not end, and fields behind a body likewise."""
        super().data_received(data)
        if self._received_at is None:
            self._field_bytes = 0
        elif not self._field_bytes:
            self._field_bytes = 1  # its first part may have come behind a body
        elif (more := self._field_bytes + len(data)) <= _HEAD_BYTES:
            self._field_bytes = more
        elif not self.transport.is_closing():
            self._problem = _too_large()
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """Note when a request begins."""
        super().on_message_begin()
        self._has_head = False
        self._field_bytes = 0
        self._received_at = self.loop.time()

    def on_headers_complete(self) -> None:
        """Start the request, unless its head has too many parts, or cannot be followed."""
        if len(self.headers) > _HEADERS:
            self._problem = _too_large()
            raise _RefusedError
        # The parser takes what follows for that protocol's: a body would be the next request.
        upgrades = self.parser.should_upgrade()
        if upgrades and any(name in _OF_BODY for name, _ in self.headers):
            self._problem = _no_upgrade()
            raise _RefusedError
        self._has_head = True
        self._n_asked += 1
        super().on_headers_complete()
        if upgrades:
            self.cycle.keep_alive = False
        # What comes behind a body is no part of its head: nobody logs in with that.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._field_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that all of it is here."""
        self._received_at = None
        super().on_message_complete()
        if self._straight is not None:
            straight, self._straight = self._straight, None
            straight.begin()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Start a request, a plain prediction when its body is here."""
        predicts = getattr(app, "predicts", None)
        fresh = cycle is self.cycle and cycle.more_body
        if predicts is not None and fresh and predicts(cycle.scope) and is_plain(cycle):
            self._straight = Straight(cycle, partial(super()._start_asgi_task, cycle))
        else:
            super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's own words
        """Answer with a problem document what never becomes a request, and end the connection."""
        answer = problems.answer(self._problem)
        earlier = self._n_asked and not (self._has_head or self.cycle.response_complete)
        half = self._has_head and self._received_at is not None
        answered = half and self.cycle.response_started
        if self.pipeline or earlier or answered:  # the client would take it for that one's answer
            self.transport.close()
            return
        title = HTTPStatus(self._problem.status).phrase
        head = f"HTTP/1.1 {self._problem.status} {title}\r\nconnection: close\r\n".encode()
        said = b"".join(b"%s: %s\r\n" % header for header in answer.raw_headers)
        self.transport.write(head + said + b"\r\n" + bytes(answer.body))
        self.transport.close()

    def _look(self) -> None:
        """End the connection if a request takes too long to come in, or comes in vain."""
        self._look_again = self.loop.call_later(_LOOK_S, self._look)
        if self._received_at is None or self.transport.is_closing():
            return
        waited_s = self.loop.time() - self._received_at
        if self._has_head and self.cycle.response_complete:
            self.transport.close()  # it was refused, and its body goes on and on
        elif waited_s > (_REQUEST_S if self._has_head else _HEAD_S):
            self._problem = ProblemError(
                408, "too-slow", f"the request was not here after {waited_s:.0f} s"
            )
            self.send_400_response("")


def _no_upgrade() -> ProblemError:
    return ProblemError(
        400,
        "malformed-http",
        "a request with a body asks for another protocol (the field Upgrade)",
        remedy="speak HTTP/1.1 from the start; of Java's client, `version(HTTP_1_1)`",
    )


def _too_large() -> ProblemError:
    return ProblemError(
        431,
        "head-too-large",
        f"the head has more than {_HEADERS} fields or {_HEAD_BYTES} bytes",
    )
