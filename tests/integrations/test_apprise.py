"""Another channel by Apprise, against a webhook of one's own on a real socket."""

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from continualml.integrations.apprise import Other
from continualml.integrations.delivery import Closed, Delivered, Gone, Retry
from continualml.notices.notice import Links, Notice

# What a plugin of it imports.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
TOKEN = "a-path-that-nobody-guesses"  # noqa: S105  a fake
NOTICE = Notice(
    event="promoted",
    tone="good",
    title="loan: version 9 promoted",
    what="Strategy newest-500 is proven better.",
    why=("evidence 5e+04 of 3.9e+04, reached",),
    facts=(("Versions", "3 → 9"),),
    section="promoted",
    at="2026-11-24T12:00:00.000+00:00",
)


class Hook(HTTPServer):
    status = 200

    def __init__(self) -> None:
        self.bodies: list[dict[str, str]] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.bodies.append(json.loads(self.rfile.read(length)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Print nothing."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_same_notice_goes_to_a_webhook_and_what_is_not_taken_is_tried_again(
    hook: Hook,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HOME", str(tmp_path))
    there = Other(SecretStr(f"json://127.0.0.1:{hook.server_port}/{TOKEN}"), links=Links())
    assert there.post(NOTICE) == Delivered()
    (body,) = hook.bodies
    assert body["title"] == NOTICE.title
    assert "evidence 5e+04 of 3.9e+04, reached" in body["message"]
    assert "docs/runbook.md#promoted" in body["message"]
    assert "github" not in str(body)  # no picture from elsewhere
    hook.status = 503
    assert isinstance(there.post(NOTICE), Retry)
    assert isinstance(there.edit("1", NOTICE), Gone)
    assert list(tmp_path.iterdir()) == []  # it keeps no files
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("apprise")]
    assert TOKEN not in str(ours)


def test_an_address_that_apprise_does_not_know_closes_the_channel() -> None:
    result = Other(SecretStr(f"nothing://{TOKEN}"), links=Links()).post(NOTICE)
    assert isinstance(result, Closed)
    assert TOKEN not in result.because + result.remedy
