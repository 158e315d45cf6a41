import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from continualml.app.redaction import redacted
from tests.conftest import Home
from tests.tree.conftest import free_port, until

pytestmark = [pytest.mark.journey, pytest.mark.patient]

# Each runs a process's own entry to its end; those that would go on are told to stop.
STOP = "import os, threading; threading.Timer(3, os.kill, (os.getpid(), 15)).start()"
ENTRIES = {
    "api": "from continualml.app.api.__main__ import main; assert main() == 2",
    "worker": "from continualml.app.api.main import from_environment; from_environment()",
    "timer": f"from continualml.app.timer import main; {STOP}; main()",
    "courier": f"from continualml.app.courier import main; {STOP}; main()",
    "trainer": "from continualml.app.trainer import main; main()",
    "scheduled": "from continualml.app.scheduled import continual_cycle; continual_cycle.fn()",
    "cli": "from continualml.cli import main\ntry: main()\nexcept SystemExit: pass",
}
THEN = """
from loguru import logger
def fails(url):
    raise RuntimeError("on purpose", len(url))
try:
    fails("postgresql://ml:" + "hunter2"[::-1] + "@db")
except RuntimeError:
    logger.exception("a turn failed")
"""


@pytest.mark.parametrize("name", ENTRIES)
def test_no_process_logs_the_values_of_a_failed_functions_variables(
    tmp_path: Path, name: str
) -> None:
    argument = {"cli": ("config", "check"), "trainer": ("4096",)}.get(name, ())
    env = {"CONTINUAL_PORT": "0"} if name == "api" else {}
    # In a file: a traceback without its source shows no values anyway.
    script = tmp_path / "entry.py"
    script.write_text(f"{ENTRIES[name]}\n{THEN}", encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(script), *argument],
        cwd=tmp_path,
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "on purpose" in ran.stderr
    assert "2retnuh" not in ran.stderr


KEY, WORD = "qL7-vX2-mN9-pR4-tY6-zB1-kD8", "hunter2-of-the-store"
OPENS, LIBPQ = "violet tram 47 orchard", "hunter3-of-libpq"
SESSION = "cs_6744f1a0.Zm9vYmFy-XV4.5bd3ac8844d1f27c"  # pragma: allowlist secret
ISSUED = "ct_Zm9vYmFyYmF6cXV4LW5vdC1hLXNlY3JldA"  # pragma: allowlist secret
HOOKS = (
    "https://discord.com/api/webhooks/123456/aBcDeF-secret",
    "https://hooks.slack.com/services/T01/B02/aBcDeF-secret",  # pragma: allowlist secret
    "http://kuma.local/api/push/aBcDeFsecret?status=up",
)
SPEAKS = f"""
import logging, threading, warnings
from loguru import logger
from continualml import settings
from continualml.app import logs
logs.begin()
logs.begin(settings.load().settings)
HOOKS, KEY, ISSUED = {HOOKS!r}, {KEY!r}, {ISSUED!r}
def fails():
    try:
        raise ValueError(f"cannot reach {{HOOKS[0]}} and {{HOOKS[1]}}")
    except ValueError as error:
        error.add_note(f"with Authorization: Bearer {{ISSUED}}")
        raise RuntimeError({{"api_key": KEY, "url": f"postgresql://ml:{WORD}@db/x"}}) from error
def ends():
    raise OSError(f"GET {{HOOKS[2]}} with {{KEY}}")
said = logger.bind(event="promote", model="loan", version=3, decision=17, who=ISSUED)
said.info("a {{}}\\n b", KEY)
said.info("logs in with {OPENS}, reads with {LIBPQ}, looks with {SESSION}")
try:
    fails()
except RuntimeError:
    logger.exception("a turn failed")
    logging.getLogger("uvicorn.error").exception("in ASGI, token=%s", ISSUED)
logging.getLogger("sqlalchemy.engine").warning("connects to %s", "postgresql://ml:{WORD}@db/x")
logging.getLogger("prefect.flow_runs").error("wrong %d", "number " + KEY)
logging.getLogger("uvicorn.access").info("not asked for")
warnings.warn("from " + HOOKS[0], stacklevel=1)
thread = threading.Thread(target=ends, name="courier")
thread.start()
thread.join()
fails()
"""


def speak(folder: Path, form: str, source: str = SPEAKS) -> subprocess.CompletedProcess[str]:
    script = folder / "speaks.py"
    script.write_text(source, encoding="utf-8")
    words = {"LOG_FORMAT": form, "API_KEY": KEY, "PGPASSWORD": LIBPQ, "DASHBOARD_PASSWORD": OPENS}
    words["CONTINUAL_DATABASE_URL"] = f"postgresql://ml:{WORD}@127.0.0.1:9/x"
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env=os.environ | words,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("form", ["json", "text", "auto"])
def test_no_secret_gets_into_the_log_also_not_inside_an_exception(
    tmp_path: Path, form: str
) -> None:
    said = speak(tmp_path, form)
    assert said.returncode == 1
    assert said.stdout == ""
    for secret in (KEY, WORD, ISSUED[3:], SESSION[3:], SESSION[-16:], OPENS, LIBPQ, "aBcDeF"):
        assert secret not in said.stderr
    for kept in ("discord.com/api/webhooks/***", "hooks.slack.com", "postgresql://ml:***@db"):
        assert kept in said.stderr
    assert "not asked for" not in said.stderr
    for what in ("a turn failed", "in ASGI", "connects to", "UserWarning", "the thread courier"):
        assert what in said.stderr
    assert "the process ended: RuntimeError" in said.stderr


def test_every_line_of_json_parses_and_has_the_same_keys(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in speak(tmp_path, "json").stderr.splitlines()]
    assert len(lines) == 9
    always = {"time", "level", "message", "logger", "process", "event", "model", "version"}
    always |= {"observation_id", "decision", "trace"}
    for line in lines:
        assert always <= set(line) <= always | {"extra", "exception"}
    first = lines[0]
    assert (first["event"], first["model"], first["version"]) == ("promote", "loan", 3)
    assert (first["decision"], first["trace"], first["extra"]) == (17, None, {"who": "ct_***"})
    assert first["message"] == "a ***\n b"
    assert "direct cause of the following exception" in lines[2]["exception"]
    assert [line["logger"] for line in lines[3:6]] == [
        "uvicorn.error", "sqlalchemy.engine", "prefect.flow_runs",
    ]  # fmt: skip
    assert lines[-1]["level"] == "CRITICAL"


def test_a_terminal_gets_lines_for_people(tmp_path: Path) -> None:
    script = tmp_path / "speaks.py"
    script.write_text(SPEAKS, encoding="utf-8")
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={n: v for n, v in os.environ.items() if "LOG_FORMAT" not in n},
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65_536):
            said += part
    except OSError:  # the other end was closed
        pass
    finally:
        os.close(ours)
        child.wait(20)
    text = said.decode()
    assert "[event=promote model=loan version=3 decision=17 who=ct_***]" in text
    assert "\x1b[31m" in text
    assert not text.startswith("{")


def test_a_server_writes_nothing_but_json_also_of_a_request_that_fails(home: Home) -> None:
    break_it = (
        "from continualml.app.api import main, __main__ as entry\n"
        "from continualml.store import ledger\n"
        "def fails(*_):\n"
        f"    raise RuntimeError('cannot reach {HOOKS[0]}')\n"
        "ledger.entry = fails\n"
        "raise SystemExit(entry.main())\n"
    )
    script = home.directory / "serves.py"
    script.write_text(break_it, encoding="utf-8")
    port, log = free_port(), home.directory / "said.log"
    words = {"CONTINUAL_PORT": str(port), "CONTINUAL_DATA": str(home.directory), "API_KEY": KEY}
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, str(script)],
            cwd=home.directory,
            env=os.environ | words,
            stdout=out,
            stderr=out,
        )
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"  # pragma: allowlist secret
    sent = {"Authorization": f"Bearer {KEY}", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: reaches(f"{url}/livez"), 30, lambda: log.read_text("utf-8"))
        assert httpx.get(f"{url}/decisions/1", headers=sent, trust_env=False).status_code == 500
    finally:
        server.terminate()
        server.wait(20)
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    (failed,) = (line for line in lines if line["level"] == "ERROR")
    assert "cannot reach https://discord.com/api/webhooks/***" in failed["exception"]
    assert failed["trace"] == trace
    assert "aBcDeF" not in log.read_text("utf-8")
    assert all(line["trace"] is None for line in lines if line is not failed)


def reaches(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    "plain",
    [
        "instances[3].features.age: expected a number, got 'forty' (a string)",
        "API_KEY: expected at least 24 random characters",
        "this needs a valid bearer token",
        "http://127.0.0.1:8000/docs answers at 12:30:15",
        "--token: expected a name",
    ],
)
def test_what_is_no_secret_stays_readable(plain: str) -> None:
    assert redacted(plain) == plain
