"""An Uptime Kuma on a real socket: its events over socket.io, and the heartbeats' route.

As its server answers in version 2: lists are emitted at the login, one monitor after each change,
everything but the set-up and the login needs a login, and errors come in the acknowledgement.
"""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import socketio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

Json = dict[str, Any]
_SHORTEST_PASSWORD = 6
_TYPES = {"http", "json-query", "push"}


@dataclass(slots=True)
class Kuma:
    """What it knows; ``loses`` is how many calls it forgets to answer, and ``edits`` counts."""

    url: str = ""
    loses: int = 1
    users: dict[str, str] = field(default_factory=dict)
    monitors: dict[int, Json] = field(default_factory=dict)
    notifications: dict[int, Json] = field(default_factory=dict)
    beats: list[dict[str, str]] = field(default_factory=list)
    edits: int = 0
    broken: bool = False

    def named(self, name: str) -> Json:
        """Return the one monitor of that name."""
        (found,) = [m for m in self.monitors.values() if m["name"] == name]
        return found

    async def push(self, request: Request) -> JSONResponse:
        """Take a heartbeat under a token that a monitor has."""
        token = request.path_params["token"]
        if self.broken or not any(m.get("pushToken") == token for m in self.monitors.values()):
            told = {"ok": False, "msg": "Monitor not found or not active."}
            return JSONResponse(told, status_code=500)
        self.beats.append(dict(request.query_params))
        return JSONResponse({"ok": True})


class Events(socketio.AsyncNamespace):  # type: ignore[misc]
    """What a browser's page asks, and so does the client."""

    def __init__(self, kuma: Kuma) -> None:
        super().__init__("/")
        self.kuma = kuma
        self.known: set[str] = set()

    async def on_connect(self, sid: str, _environ: Json) -> None:
        await self.emit("info", {"isContainer": False}, to=sid)

    async def on_needSetup(self, _sid: str) -> bool:  # noqa: N802  its name
        if self.kuma.loses:
            self.kuma.loses -= 1
            await asyncio.sleep(2)  # later than anybody waits
        return not self.kuma.users

    async def on_setup(self, _sid: str, username: str, password: str) -> Json:
        if len(password) < _SHORTEST_PASSWORD or password.isalpha():
            return {"ok": False, "msg": "Password is too weak."}
        if self.kuma.users:
            return {"ok": False, "msg": "Uptime Kuma has been initialized."}
        self.kuma.users[username] = password
        return {"ok": True, "msg": "Added Successfully."}

    async def on_login(self, sid: str, asked: Json) -> Json:
        if self.kuma.users.get(asked["username"]) != asked["password"]:
            return {"ok": False, "msg": "authIncorrectCreds"}
        self.known.add(sid)
        await self.emit("info", {"version": "2.5.3"}, to=sid)
        await self.emit("monitorList", self._list(), to=sid)
        await self._notifications(sid)
        return {"ok": True, "token": "t"}

    async def on_getMonitorList(self, sid: str) -> Json:  # noqa: N802  its name
        await self.emit("monitorList", self._list(), to=sid)
        return {"ok": True}

    async def on_getMonitor(self, sid: str, number: int) -> Json:  # noqa: N802  its name
        if sid not in self.known:
            return _logged_out()
        return {"ok": True, "monitor": self.kuma.monitors[number]}

    async def on_add(self, sid: str, monitor: Json) -> Json:
        number = len(self.kuma.monitors) + 1
        return await self._saved(sid, {"id": number, "active": True, **monitor})

    async def on_editMonitor(self, sid: str, monitor: Json) -> Json:  # noqa: N802  its name
        return await self._saved(sid, monitor)

    async def on_addNotification(self, sid: str, told: Json, number: int | None) -> Json:  # noqa: N802
        if sid not in self.known:
            return _logged_out()
        number = number or len(self.kuma.notifications) + 1
        self.kuma.edits += 1
        self.kuma.notifications[number] = told
        await self._notifications(sid)
        return {"ok": True, "msg": "Saved.", "id": number}

    async def _saved(self, sid: str, monitor: Json) -> Json:
        if sid not in self.known:
            return _logged_out()
        if monitor["type"] not in _TYPES or monitor["interval"] < 20:
            return {"ok": False, "msg": "Interval cannot be less than 20 seconds"}
        number = monitor["id"]
        self.kuma.edits += 1
        self.kuma.monitors[number] = monitor
        await self.emit("updateMonitorIntoList", {str(number): monitor}, to=sid)
        return {"ok": True, "msg": "Saved.", "monitorID": number}

    async def _notifications(self, sid: str) -> None:
        told = [
            {"id": n, "name": one["name"], "active": True, "config": json.dumps(one)}
            for n, one in self.kuma.notifications.items()
        ]
        await self.emit("notificationList", told, to=sid)

    def _list(self) -> dict[str, Json]:
        return {str(n): monitor for n, monitor in self.kuma.monitors.items()}


def _logged_out() -> Json:
    return {"ok": False, "msg": "You are not logged in."}


@contextmanager
def serve() -> Iterator[Kuma]:
    """Serve on a free port, until the end of the block."""
    kuma = Kuma()
    events = socketio.AsyncServer(async_mode="asgi")
    events.register_namespace(Events(kuma))
    pages = Starlette(routes=[Route("/api/push/{token}", kuma.push)])
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        kuma.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(
            socketio.ASGIApp(events, pages),
            log_level="error",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield kuma
        finally:
            server.should_exit = True
            thread.join()
