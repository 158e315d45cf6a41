"""Uptime Kuma: what ``kuma sync`` leaves there, and the heartbeat, over its real protocol."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from pydantic import SecretStr
from sqlalchemy import Engine

from continualml import demo
from continualml.app import timer, watching
from continualml.errors import InputError, UnreachableError
from continualml.settings import Project, Settings
from continualml.store import failed_turns, leases, tokens
from continualml.store.engine import read, write
from tests import kuma
from tests.kuma import Kuma

pytestmark = [pytest.mark.journey, pytest.mark.patient]
WORD = "zk3v-9QpL7-xWm2"
HOOK = "https://discord.com/api/webhooks/1/secret"
NAMES = ["Discord", "ready", "health", "heartbeat", "MLflow", "Prefect", "dashboard"]


@pytest.fixture(scope="module")
def served() -> Iterator[Kuma]:
    with kuma.serve() as one:
        yield one


@pytest.fixture
def server(served: Kuma) -> Kuma:
    """The server as it is when it was just installed."""
    for known in (served.users, served.monitors, served.notifications, served.beats):
        known.clear()
    served.edits, served.broken = 0, False
    return served


def project(directory: Path, url: str, **other: Any) -> Project:
    values: dict[str, Any] = {
        "data": directory,
        "database_url": f"sqlite:///{directory / 'log.sqlite'}",
        "discord_webhook_url": SecretStr(HOOK),
        "dashboard_url": "http://127.0.0.1:8501",
        "kuma_url": url,
        "kuma_password": SecretStr(WORD),
        "mlflow_tracking_uri": None,
        **other,
    }
    return Project(settings=Settings(**values), models={"demo": demo.DEMO}, default="demo")


def test_the_first_sync_makes_the_user_and_every_check_and_the_second_changes_nothing(
    server: Kuma, engine: Engine, tmp_path: Path
) -> None:
    ours = project(tmp_path, server.url)
    made = watching.sync(ours)
    assert made == {f"Continual ML: {name}": "made" for name in NAMES}
    assert server.users == {"continual": WORD}
    edits = server.edits

    assert set(watching.sync(ours).values()) == {"as it was"}
    assert server.edits == edits

    health = server.named("Continual ML: health")
    assert health["type"] == "json-query"
    assert health["url"] == "http://127.0.0.1:8000/health"
    query = (health["jsonPath"], health["jsonPathOperator"], health["expectedValue"])
    assert query == ("status", "==", "ok")
    secret = json.loads(health["headers"])["Authorization"].removeprefix("Bearer ")
    with read(engine) as conn:
        token = tokens.check(conn, secret)
    assert token is not None
    assert token.scopes == {"read"}
    heartbeat = server.named("Continual ML: heartbeat")
    assert (heartbeat["type"], heartbeat["interval"]) == ("push", 90)  # three periods
    assert heartbeat["pushToken"] == (tmp_path / "kuma.push").read_text("utf-8").strip()
    assert (tmp_path / "kuma.push").stat().st_mode & 0o077 == 0
    (notification,) = server.notifications.values()
    assert notification["discordWebhookUrl"] == HOOK
    for monitor in server.monitors.values():
        assert list(monitor["notificationIDList"]) == ["1"]
    assert server.named("Continual ML: ready")["url"] == "http://127.0.0.1:8000/readyz"


def test_what_somebody_has_changed_comes_back_and_what_is_not_ours_stays(
    server: Kuma, engine: Engine, tmp_path: Path
) -> None:
    ours = project(tmp_path, server.url)
    watching.sync(ours)
    server.named("Continual ML: ready")["url"] = "http://elsewhere"
    server.named("Continual ML: ready")["description"] = "of mine"
    theirs = {**server.named("Continual ML: ready"), "id": 99, "name": "theirs"}
    server.monitors[99] = theirs
    with write(engine) as conn:  # the token does not hold any more
        for token in tokens.listed(conn):
            tokens.revoke(conn, token.id)
    moved = SecretStr(f"{HOOK}-new")
    done = watching.sync(project(tmp_path, server.url, discord_webhook_url=moved))
    changed = {name for name, what in done.items() if what == "changed"}
    assert changed == {f"Continual ML: {n}" for n in ("Discord", "ready", "health")}
    ready = server.named("Continual ML: ready")
    assert (ready["url"], ready["description"]) == ("http://127.0.0.1:8000/readyz", "of mine")
    assert server.monitors[99] == theirs
    assert server.notifications[1]["discordWebhookUrl"] == f"{HOOK}-new"


@pytest.mark.usefixtures("engine")
def test_a_data_directory_that_was_lost_takes_the_heartbeat_over(
    server: Kuma, tmp_path: Path
) -> None:
    ours = project(tmp_path, server.url)
    watching.sync(ours)
    token = server.named("Continual ML: heartbeat")["pushToken"]
    (tmp_path / "kuma.push").unlink()
    watching.sync(ours)
    assert (tmp_path / "kuma.push").read_text("utf-8").strip() == token


@pytest.mark.usefixtures("engine")
def test_another_user_s_password_and_a_weak_one_are_said_with_their_settings(
    server: Kuma, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"too weak.*CONTINUAL_KUMA_PASSWORD"):
        watching.sync(project(tmp_path, server.url, kuma_password=SecretStr("short")))
    assert server.users == {}
    server.users["continual"] = "another-1"
    with pytest.raises(
        InputError, match="CONTINUAL_KUMA_USERNAME and CONTINUAL_KUMA_PASSWORD"
    ) as e:
        watching.sync(project(tmp_path, server.url))
    assert WORD not in str(e.value)
    assert server.edits == 0


@pytest.mark.usefixtures("engine")
def test_what_is_not_set_and_what_does_not_answer_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="CONTINUAL_KUMA_URL"):
        watching.sync(project(tmp_path, ""))
    with pytest.raises(InputError, match="CONTINUAL_KUMA_PASSWORD"):
        watching.sync(project(tmp_path, "http://127.0.0.1:1", kuma_password=None))
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1 does not answer"):
        watching.sync(project(tmp_path, "http://127.0.0.1:1"))


def test_the_timer_s_heartbeat_goes_on_while_the_loop_is_down_and_says_why(
    server: Kuma, engine: Engine, tmp_path: Path
) -> None:
    ours = project(tmp_path, server.url, check_interval_seconds=1.0)
    watching.sync(ours)
    leases.beat(engine, leases.TURNED)
    leases.beat(engine, leases.TIMER)
    stopped = threading.Event()
    beating = threading.Thread(target=timer.run, args=(ours, stopped))
    beating.start()
    try:
        wait_for(server, lambda beat: beat["status"] == "up")
        leases.beat(engine, leases.TURNED)  # so that the timer does not turn it, and mend it
        failed_turns.note(engine, "demo", RuntimeError("no memory left"))
        wait_for(server, lambda beat: "no memory left" in beat["msg"])
        assert server.beats[-1]["status"] == "down"
        n = len(server.beats)
        failed_turns.clear(engine, "demo")
        leases.beat(engine, leases.TURNED)
        wait_for(server, lambda beat: beat["status"] == "up", after=n)
    finally:
        stopped.set()
        beating.join()


@pytest.mark.usefixtures("engine")
def test_a_kuma_that_is_down_or_was_never_asked_harms_nobody_and_no_log_holds_the_token(
    server: Kuma, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    watching.beat(project(tmp_path, server.url).settings, up=True, because="OK")
    assert server.beats == []  # nobody has synced yet
    watching.sync(project(tmp_path, server.url))
    watching.beat(project(tmp_path, server.url).settings, up=True, because="OK", took_ms=12.4)
    assert server.beats == [{"status": "up", "msg": "OK", "ping": "12"}]
    server.broken = True
    watching.beat(project(tmp_path, server.url).settings, up=True, because="OK")
    watching.beat(project(tmp_path, "http://127.0.0.1:1").settings, up=True, because="OK")
    token = (tmp_path / "kuma.push").read_text("utf-8").strip()
    ours = [r for r in caplog.records if r.name in {"httpx", "httpcore", "root"}]
    assert token not in "\n".join(r.getMessage() for r in ours)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None], ids=["no text", "a directory"])
def test_a_heartbeat_s_file_that_cannot_be_read_is_a_warning(
    server: Kuma, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "kuma.push"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING", format="{message}")
    try:
        watching.beat(project(tmp_path, server.url).settings, up=True, because="OK")
    finally:
        logger.remove(sink)

    assert server.beats == []
    (line,) = lines
    assert f"{file} cannot be read" in line


def wait_for(server: Kuma, true: Any, *, after: int = 0) -> None:
    end = time.monotonic() + 20
    while not any(true(beat) for beat in server.beats[after:]):
        assert time.monotonic() < end, server.beats
        time.sleep(0.05)
