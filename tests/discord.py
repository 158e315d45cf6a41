"""A server on a real socket that answers as Discord's webhooks do: limits, faults, rate limits.

As documented: https://discord.com/developers/docs/resources/webhook, /topics/rate-limits and
/resources/message#embed-object-embed-limits.
"""

import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

WEBHOOK, TOKEN = "1099511627776", "Tq7-secret-token-of-the-webhook_0123456789"
Json = dict[str, Any]
_PATH = re.compile(r"/api/webhooks/(\d+)/([\w-]+)(?:/messages/(\d+))?$")
_LIMITS = {"title": 256, "description": 4096}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it came, and what was answered."""

    method: str
    at: float
    status: int
    body: Json


@dataclass(slots=True)
class Discord:
    """What the server knows and how it is; ``faults`` are answered first, one each request.

    A fault is a status, or "slow" (no answer for ``slow_s``) or "hang up" (none at all).
    """

    url: str = ""
    most: int = 5
    window_s: float = 0.3
    slow_s: float = 1.0
    faults: list[int | str] = field(default_factory=list)
    deleted: bool = False
    now_s: Callable[[], float] = time.monotonic
    asked: list[Asked] = field(default_factory=list)
    messages: dict[str, Json] = field(default_factory=dict)
    _began: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _used: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def titles(self) -> list[str]:
        """Return the titles of all messages, in the order in which they were first sent."""
        return [e["title"].replace("\\", "") for m in self.messages.values() for e in m["embeds"]]

    def statuses(self) -> list[int]:
        """Return what was answered, in order."""
        return [a.status for a in self.asked]

    def answer(self, method: str, url: str, body: Json) -> tuple[int, Json, dict[str, str]]:
        """Answer one request."""
        with self._lock:
            parts = urlsplit(url)
            limited, headers = self._counted(method)
            if limited is not None:
                return limited
            status, told = self._done(method, parts.path, parse_qs(parts.query), body)
            return status, told, headers

    def _counted(
        self, method: str
    ) -> tuple[tuple[int, Json, dict[str, str]] | None, dict[str, str]]:
        """Count a request in its route's window; one too many is told when it may come again."""
        now = self.now_s()
        if now - self._began[method] >= self.window_s:
            self._began[method], self._used[method] = now, 0
        self._used[method] += 1
        left_s = self.window_s - (now - self._began[method])
        headers = {
            "X-RateLimit-Limit": str(self.most),
            "X-RateLimit-Remaining": str(max(0, self.most - self._used[method])),
            "X-RateLimit-Reset-After": f"{left_s:.3f}",
            "X-RateLimit-Bucket": method.lower(),
        }
        if self._used[method] <= self.most:
            return None, headers
        told = {"message": "You are being rate limited.", "retry_after": left_s, "global": False}
        late = {**headers, "Retry-After": str(int(left_s) + 1), "X-RateLimit-Scope": "user"}
        return (429, told, late), headers

    def _done(
        self, method: str, path: str, query: dict[str, list[str]], body: Json
    ) -> tuple[int, Json]:
        found = _PATH.match(path)
        if refused := self._refused(found):
            return refused
        if errors := list(wrong(body)):
            return 400, {"message": "Invalid Form Body", "code": 50035, "errors": {"_": errors}}
        number = found[3] if found and method == "PATCH" else str(2**50 + len(self.asked))
        if method == "PATCH" and number not in self.messages:
            return 404, {"message": "Unknown Message", "code": 10008}
        self.messages[number] = body
        told = (200, {"id": number, **body})
        return told if method == "PATCH" or query.get("wait") == ["true"] else (204, {})

    def _refused(self, found: re.Match[str] | None) -> tuple[int, Json] | None:
        """Refuse who asks for another webhook or does not know this one's token."""
        if found is None:
            return 404, {"message": "404: Not Found", "code": 0}
        if self.deleted or found[1] != WEBHOOK:
            return 404, {"message": "Unknown Webhook", "code": 10015}
        if found[2] != TOKEN:
            return 401, {"message": "Invalid Webhook Token", "code": 50027}
        return None


def wrong(body: Json) -> Iterator[str]:
    """Name what Discord would not take."""
    embeds = body.get("embeds", [])
    if not embeds and not body.get("content"):
        yield "Cannot send an empty message"
    if len(embeds) > 10:
        yield "embeds: Must be 10 or fewer in length."
    total = 0
    for embed in embeds:
        fields = embed.get("fields", [])
        texts = [(embed.get(name, ""), most) for name, most in _LIMITS.items()]
        texts += [(f["name"], 256) for f in fields] + [(f["value"], 1024) for f in fields]
        texts.append((embed.get("footer", {}).get("text", ""), 2048))
        yield from (f"Must be {most} or fewer in length." for t, most in texts if len(t) > most)
        if len(fields) > 25:
            yield "fields: Must be 25 or fewer in length."
        if not all(f["name"].strip() and f["value"].strip() for f in fields):
            yield "fields: This field is required"
        total += sum(len(t) for t, _ in texts)
    if total > 6000:
        yield "Embed size exceeds maximum size of 6000"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, discord: Discord) -> None:
        self.discord = discord
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say that a webhook's address is no page; whoever asks whether we are here, knows it."""
        self._answer(404, b"{}", {})

    def do_POST(self) -> None:
        self._take()

    def do_PATCH(self) -> None:
        self._take()

    def _take(self) -> None:
        discord = self.server.discord
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fault = discord.faults.pop(0) if discord.faults else None
        if fault == "hang up":
            self._note(0, body)
            self.close_connection = True
            return
        if fault == "slow":
            time.sleep(discord.slow_s)
        if isinstance(fault, int):
            status, told, headers = fault, {"message": "a fault", "code": 0}, dict[str, str]()
        else:
            status, told, headers = discord.answer(self.command, self.path, body)
        self._note(status, body)
        self._answer(status, b"" if status == 204 else json.dumps(told).encode(), headers)

    def _answer(self, status: int, text: bytes, headers: dict[str, str]) -> None:
        try:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # they did not wait

    def _note(self, status: int, body: Json) -> None:
        at = time.monotonic()
        asked = Asked(method=self.command, at=at, status=status, body=body)
        self.server.discord.asked.append(asked)

    def log_message(self, *_args: object) -> None:
        """Print nothing."""


@contextmanager
def serve() -> Iterator[Discord]:
    """Serve on a free port, until the end of the block."""
    discord = Discord()
    server = _Server(discord)
    discord.url = f"http://127.0.0.1:{server.server_port}/api/webhooks/{WEBHOOK}/{TOKEN}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield discord
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
