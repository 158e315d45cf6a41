"""From the ledger to Discord: what is told, in which order, and what happens when it is not taken.

A real store and a server that behaves as Discord does, on a real socket.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, select, update

from continualml import demo
from continualml.app import courier
from continualml.app.api.champion import Champions
from continualml.app.api.health import Health
from continualml.loop.command import command
from continualml.records import Decision, DecisionKind, Json
from continualml.settings import Project, Settings, environment
from continualml.store import channels, ledger, outbox
from continualml.store.engine import read, write
from continualml.store.tables import channels as table
from continualml.store.tables import outbox as messages
from tests import discord
from tests.conftest import Home
from tests.discord import Discord

GOING = threading.Event()


@pytest.fixture
def server() -> Iterator[Discord]:
    with discord.serve() as one:
        yield one


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Discord) -> Project:
    monkeypatch.chdir(tmp_path)
    return project_of(tmp_path, server)


def project_of(directory: Path, server: Discord, **other: Any) -> Project:
    said = Settings(
        data=directory,
        database_url=f"sqlite:///{directory / 'log.sqlite'}",
        discord_webhook_url=SecretStr(server.url),
        api_url=server.url,  # somebody answers: the API's health is not at issue
        check_interval_seconds=3_600.0,
        **other,
    )
    return Project(settings=said, models={"demo": demo.DEMO}, default="demo")


class Told:
    """One channel and its looks, as the courier turns them."""

    def __init__(self, project: Project, engine: Engine) -> None:
        self.engine, self.project = engine, project
        self.looking, self.route = courier.open_channel(project, engine, "discord")

    def turn(self, *, checks: bool = False) -> None:
        if checks:
            self.looking._checked = float("-inf")  # noqa: SLF001  the interval is not waited for
        self.looking.look()
        courier.deliver(self.engine, self.route, GOING)

    def soon(self) -> None:
        """Let what waits be due."""
        with write(self.engine) as conn:
            outbox.make_due(conn, "discord")

    def states(self) -> list[str]:
        with read(self.engine) as conn:
            return list(conn.scalars(select(messages.c.state).order_by(messages.c.id)))

    def health(self) -> Json:
        champions = Champions(self.engine, self.project.settings.artifacts, {})
        looked = Health(self.engine, champions, self.project)
        looked.look()
        told: Json = looked.now["components"]["discord"]
        return told


def decided(engine: Engine, kind: DecisionKind, version: int | None = None, **basis: Any) -> None:
    said = Decision(
        model="demo", kind=kind, seq=1, because="it was so", basis=basis, version=version
    )
    with write(engine) as conn:
        ledger.record(conn, said, datetime.now(UTC).isoformat(timespec="milliseconds"))


@pytest.fixture
def told(project: Project, engine: Engine, server: Discord) -> Told:
    """A channel whose first OK is there, and forgotten by the server's list."""
    one = Told(project, engine)
    one.turn()
    server.asked.clear()
    server.messages.clear()
    with write(engine) as conn:
        channels.living(conn, "discord", None)
    return one


def alarm(engine: Engine) -> None:
    decided(engine, "alarm", 1, diagnosis="concept change", began=3, family="loss", metric="brier")


def test_what_happened_before_a_channel_was_set_is_not_told(
    project: Project, engine: Engine, server: Discord
) -> None:
    decided(engine, "promote", 2, **{"from": 1})
    told = Told(project, engine)
    told.turn()
    decided(engine, "rollback", 1, **{"from": 2})
    told.turn()
    assert server.titles()[1:] == ["demo: rolled back to version 1"]


def test_an_incident_is_told_in_order_whatever_is_in_the_way(
    told: Told, engine: Engine, server: Discord
) -> None:
    alarm(engine)
    decided(engine, "accept", 2, strategy="since-alarm")
    for _ in range(30):  # routine, and more than one look reads
        decided(engine, "keep", 1)
    decided(engine, "promote", 2, **{"from": 1})
    server.faults = [500, "hang up", 502]
    for _ in range(6):
        told.soon()
        told.turn()
    assert server.titles() == [
        "demo: drift detected: concept change",
        "demo: retraining",
        "demo: version 2 retrained, on trial now",
        "demo: version 2 promoted",
    ]
    assert told.states() == ["delivered"] * 4


def test_the_same_change_is_told_once_until_something_comes_of_it(
    told: Told, engine: Engine, server: Discord
) -> None:
    server.most = 50
    for _ in range(3):
        alarm(engine)
        decided(engine, "accept", 2, strategy="since-alarm")
    decided(engine, "alarm", 1, diagnosis="covariate shift", began=3, family="data")
    decided(engine, "promote", 2, **{"from": 1})
    alarm(engine)
    told.turn()
    incident = ["drift detected: concept change", "retraining"]
    assert [t.removeprefix("demo: ") for t in server.titles()] == [
        *incident,
        "version 2 retrained, on trial now",
        "drift detected: covariate shift",
        "version 2 promoted",
        *incident,
    ]


def test_a_window_that_is_used_up_is_waited_for_and_nothing_is_asked_too_early(
    told: Told, engine: Engine, server: Discord
) -> None:
    server.most, server.window_s = 2, 0.5
    for version in range(2, 9):
        decided(engine, "promote", version, **{"from": version - 1})
    for _ in range(3):
        told.turn()
    assert [t.rpartition(" ")[0] for t in server.titles()] == [
        f"demo: version {v}" for v in range(2, 9)
    ]
    assert 429 not in server.statuses()


def test_who_says_when_to_come_again_is_left_alone_until_then_and_nothing_is_wrong(
    told: Told, engine: Engine, server: Discord
) -> None:
    server.most, server.window_s = 1, 60.0
    server.answer("POST", "", {})  # somebody else has used the window up
    decided(engine, "promote", 2, **{"from": 1})
    told.turn()
    told.turn()
    assert server.statuses() == [429]
    assert told.health()["status"] == "ok"
    with read(engine) as conn:
        waiting = conn.execute(select(messages).where(messages.c.state == "waiting")).one()
    assert 50.0 < waiting.due_at - datetime.now(UTC).timestamp() < 61.0
    assert waiting.attempts == 0


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_channel_that_takes_nothing_any_more_is_parked_until_somebody_acts(
    told: Told, engine: Engine, server: Discord, status: int
) -> None:
    server.faults = [status]
    alarm(engine)
    told.turn()
    decided(engine, "promote", 2, **{"from": 1})
    for _ in range(3):
        told.turn()
    assert server.statuses() == [status]  # it is asked no more
    health = told.health()
    assert (health["status"], health["parked"]) == ("degraded", True)
    assert str(status) in health["because"]
    assert "continual notify unpark discord" in health["because"]
    assert discord.TOKEN not in str(health)
    with write(engine) as conn:
        assert channels.unpark(conn, "discord")
    told.turn()
    assert server.titles() == [
        "demo: drift detected: concept change",
        "demo: retraining",
        "demo: version 2 promoted",
    ]
    assert told.health()["status"] == "ok"


def test_another_address_opens_a_parked_channel(
    told: Told, engine: Engine, server: Discord
) -> None:
    server.faults = [404]
    alarm(engine)
    told.turn()
    assert told.health()["status"] == "degraded"
    other = project_of(told.project.settings.data, server)
    url = SecretStr(f"{server.url}?thread_id=7")
    said = other.settings.model_copy(update={"discord_webhook_url": url})
    moved = Told(Project(settings=said, models=other.models, default="demo"), engine)
    moved.turn()
    assert moved.health()["status"] == "ok"
    assert "demo: retraining" in server.titles()


def test_a_message_that_discord_refuses_is_set_aside_and_the_next_ones_go_on(
    told: Told, engine: Engine, server: Discord
) -> None:
    server.faults = [400]
    decided(engine, "promote", 2, **{"from": 1})
    decided(engine, "promote", 3, **{"from": 2})
    told.turn()
    assert told.states() == ["refused", "delivered"]
    assert "1 messages were refused" in told.health()["because"]


def test_that_all_is_well_is_one_message_which_is_edited_in_place(
    project: Project, engine: Engine, server: Discord
) -> None:
    told = Told(project, engine)
    for _ in range(3):
        told.turn(checks=True)
    assert [a.method for a in server.asked] == ["POST", "PATCH", "PATCH"]
    assert len(server.messages) == 1
    again = Told(project, engine)  # a courier that was started anew knows it
    again.turn()
    assert server.asked[-1].method == "PATCH"
    server.messages.clear()  # somebody has deleted it
    again.turn(checks=True)
    assert [a.status for a in server.asked[-2:]] == [404, 200]
    assert len(server.messages) == 1
    assert told.states() == []  # nothing is kept of it


def test_that_all_is_well_waits_once_however_long_nobody_takes_it(
    told: Told, server: Discord
) -> None:
    server.faults = [503] * 9
    for _ in range(4):
        told.turn(checks=True)
    assert told.states() == ["waiting"]


def test_each_check_can_be_told(tmp_path: Path, engine: Engine, server: Discord) -> None:
    told = Told(project_of(tmp_path, server, notify_ok="every_check"), engine)
    for _ in range(3):
        told.turn(checks=True)
    assert [a.method for a in server.asked] == ["POST"] * 3
    assert len(server.messages) == 3


def test_a_digest_comes_once_a_day_and_counts_what_happened(
    told: Told, engine: Engine, server: Discord
) -> None:
    told.turn(checks=True)
    assert "Daily digest" not in server.titles()
    decided(engine, "promote", 2, **{"from": 1})
    with write(engine) as conn:  # as if a day had passed
        conn.execute(update(table).values(digested_at=table.c.digested_at - 86_400))
    for _ in range(3):
        told.turn(checks=True)
    assert server.titles().count("Daily digest") == 1
    (digest,) = [m for m in server.messages.values() if m["embeds"][0]["title"] == "Daily digest"]
    fields = {f["name"]: f["value"] for f in digest["embeds"][0]["fields"]}
    assert "promotions: 1" in fields["demo"]


@pytest.mark.journey
@pytest.mark.patient
def test_what_a_loop_really_decides_is_told_with_its_accuracy_and_evidence(
    home: Home, server: Discord
) -> None:
    told = Told(project_of(home.directory, server), home.engine)
    told.turn()
    home.send(150, seed=1, version=1)
    home.loop.turn("demo")
    command(
        home.engine, home.directory / "artifacts", "demo", version=2, said="try it", by="ada@desk"
    )
    told.turn()
    promoted = next(
        m["embeds"][0]
        for m in server.messages.values()
        if m["embeds"][0]["title"] == "demo: version 2 promoted by hand"
    )
    facts = {f["name"]: f["value"] for f in promoted["fields"]}
    assert facts["Versions"] == "1 → 2"
    assert "95 % interval" in facts["Accuracy after, expected"]
    assert "150 rows" in facts["Accuracy before"]
    assert "commanded by ada@desk, without proof: try it" in facts["Why"]
    assert "promised of the champion" in facts["Why"]
    assert facts["Look"] == "docs/runbook.md#promotion"


@pytest.mark.journey
@pytest.mark.patient
def test_a_component_that_is_down_is_told_and_that_it_is_up_again(
    told: Told, server: Discord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told.looking, "settle_s", 0.0)
    monkeypatch.setattr(told.looking, "grace_s", 0.0)
    away = told.project.settings.model_copy(update={"api_url": "http://127.0.0.1:1"})
    there = told.looking.project
    told.looking.project = Project(settings=away, models=there.models, default="demo")
    told.turn(checks=True)
    told.looking.project = there
    told.turn(checks=True)
    titles = [t for t in server.titles() if t.startswith("api")]
    assert titles == ["api is down", "api is up again"]


@pytest.mark.journey
@pytest.mark.patient
def test_a_courier_that_is_killed_loses_nothing_and_its_log_does_not_hold_the_address(
    project: Project, engine: Engine, server: Discord, tmp_path: Path
) -> None:
    log = tmp_path / "courier.log"
    server.most = 100
    with courier_process(project, log) as first:
        until(lambda: len(server.titles()) == 1)  # how everything stands
        first.kill()
    alarm(engine)
    server.faults = [500, "hang up"]
    with courier_process(project, log) as second:
        until(lambda: "Discord answered 500" in log.read_text("utf-8"))
        second.kill()
    decided(engine, "promote", 2, **{"from": 1})
    with courier_process(project, log) as third:
        until(lambda: "demo: version 2 promoted" in server.titles())
        server.deleted = True
        decided(engine, "rollback", 1, **{"from": 2})
        until(lambda: "is parked" in log.read_text("utf-8"))
        third.terminate()
        assert third.wait(timeout=15) == 0
    # How everything stands may have been said twice: its answer was lost with the first courier.
    assert [t for t in server.titles() if t.startswith("demo")] == [
        "demo: drift detected: concept change",
        "demo: retraining",
        "demo: version 2 promoted",
    ]
    assert discord.TOKEN not in log.read_text("utf-8")


@contextmanager
def courier_process(project: Project, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "continualml.app.courier"],
            env=os.environ | environment(project.settings),
            stdout=file,
            stderr=file,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
