"""A prediction from its connection and back, past what ASGI needs for all others.

A task, its messages and the checks of their headers cost a fifth of what a prediction costs.
Whatever is not plain, and every problem, goes the usual way.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from continualml.app.api import predict, trace
from continualml.app.api.answering import Answered
from continualml.app.api.problems import ProblemError
from continualml.app.api.serving import serving_of

# uvicorn stops to read a longer body until somebody asks for it.
_LONGEST: Final = 32 * 1024
_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    b"x-model-version: %b\r\ncontent-length: %d\r\n%b\r\n"
)


def is_plain(cycle: RequestResponseCycle) -> bool:
    """Tell whether a prediction's body is short and comes as one, without being asked for."""
    if cycle.waiting_for_100_continue:
        return False
    scope: Any = cycle.scope
    try:
        most = min(_LONGEST, serving_of(scope).most_bytes)
    except ProblemError:  # it has not begun to serve, as the usual way says
        return False
    return any(n == b"content-length" and int(v) <= most for n, v in scope["headers"])


class Straight:
    """One prediction whose body is here.

    Parameters
    ----------
    otherwise
        Has an ASGI application answer in its stead.
    """

    __slots__ = ("_asking", "_cycle", "_otherwise")

    def __init__(self, cycle: RequestResponseCycle, otherwise: Callable[[Any], None]) -> None:
        scope: Any = cycle.scope
        self._cycle = cycle
        self._otherwise = otherwise
        began, traced = time.perf_counter(), trace.of(scope)
        self._asking = predict.Asking(serving_of(scope), scope, began, traced)

    def begin(self) -> None:
        """Check and predict; the answer is written when it is on disk."""
        try:
            self._asking.allow()
            self._asking.begin(bytes(self._cycle.body), self._told)
        except Exception as error:  # noqa: BLE001  the usual way tells and logs it
            self._otherwise(partial(self._asking.refuse, error))

    def _told(self, found: Answered | Exception) -> None:
        if isinstance(found, Exception):
            self._otherwise(partial(self._asking.refuse, found))
            return
        try:
            version, content = self._asking.said(found)
            written = self._write(version, content)
        except Exception as error:  # noqa: BLE001  as above; others wait behind this one
            self._otherwise(partial(self._asking.refuse, error))
            return
        self._asking.count(200)
        if written:
            self._cycle.on_response()

    def _write(self, version: bytes, content: bytes) -> bool:
        cycle = self._cycle
        if cycle.disconnected:
            return False
        if cycle.flow.write_paused:  # a client that does not read waits for itself
            headers = {"x-model-version": version.decode()}
            self._otherwise(Response(content, headers=headers, media_type="application/json"))
            return False
        last = b"" if cycle.keep_alive else b"connection: close\r\n"
        cycle.response_started = cycle.response_complete = True
        cycle.transport.write(_HEAD % (version, len(content), last) + content)
        if not cycle.keep_alive:
            cycle.transport.close()
        return True
