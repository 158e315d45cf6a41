"""Whether a part lives, as a container asks it: over a real socket, and from a real store."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from continualml.app import alive
from continualml.store import leases, tables
from continualml.store.engine import write


class _Status(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """Answer each path with the status that it names."""
    one = HTTPServer(("127.0.0.1", 0), _Status)
    thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{one.server_port}"
    one.shutdown()
    thread.join()
    one.server_close()


def test_a_part_that_listens_lives_while_it_answers_well(
    server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert alive.main(f"{server}/200") == 0
    assert capsys.readouterr().err == ""
    assert alive.main(f"{server}/503") == 1
    assert capsys.readouterr().err == f"{server}/503: answered 503\n"


def test_a_part_that_nobody_reaches_does_not_live(capsys: pytest.CaptureFixture[str]) -> None:
    assert alive.main("http://127.0.0.1:1/livez") == 1
    assert "ConnectionRefusedError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "beat", "longest_s"),
    [
        ("timer", leases.TIMER, 30),
        ("scheduled", leases.TURNED, 60),
        ("scheduled", leases.SKIPPED, 60),
    ],
)
def test_a_part_that_does_not_listen_lives_as_long_as_its_last_beat_is_young(
    part: str,
    beat: str,
    longest_s: float,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CONTINUAL_DATABASE_URL", str(engine.url))
    monkeypatch.setenv("CHECK_INTERVAL_SECONDS", "20")
    assert alive.main(part) == 1
    assert "no beat yet" in capsys.readouterr().err
    leases.beat(engine, beat)
    assert alive.main(part) == 0
    back = tables.leases.c.taken_at - (longest_s + 1)
    with write(engine) as conn:
        conn.execute(update(tables.leases).values(taken_at=back))
    assert alive.main(part) == 1
    assert "the last beat was" in capsys.readouterr().err


def test_asking_over_http_loads_none_of_the_project_but_itself() -> None:
    look = (
        "import sys; from continualml.app import alive; "
        "alive.main('http://127.0.0.1:1/'); "
        "print([m for m in sys.modules if m.split('.')[0] in {'pydantic', 'sqlalchemy', 'numpy'}])"
    )
    told = subprocess.run(
        [sys.executable, "-c", look], cwd=Path.cwd(), capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"
