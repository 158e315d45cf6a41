"""How components are asked: whoever answers is there, and no password goes along."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from continualml import demo
from continualml.app import noticing
from continualml.notices.of_components import DOWN, OK
from continualml.settings import Project, Settings
from continualml.store import failed_turns
from tests import discord
from tests.discord import Discord

WORD = "of-the-server-1"


@pytest.fixture
def server() -> Iterator[Discord]:
    with discord.serve() as one:
        yield one


@pytest.fixture
def project(tmp_path: Path, server: Discord) -> Project:
    address = server.url.replace("http://", f"http://ada:{WORD}@")
    said = Settings(
        data=tmp_path,
        api_url=server.url,
        mlflow_tracking_uri=address,
        prefect_api_url="http://127.0.0.1:1/api",
    )
    return Project(settings=said, models={"demo": demo.DEMO}, default="demo")


def test_who_answers_is_there_and_who_does_not_is_down_with_a_proxy_or_without(
    project: Project,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # it leads out, not to ourselves
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    seen = noticing.seen(engine, project, up_for_s=1.0)
    states = {name: component.status for name, component in seen.items()}
    assert states == {"api": OK, "mlflow": OK, "prefect": DOWN, "loop": OK}
    assert seen["prefect"].because == "it does not answer (ConnectError)"
    assert WORD not in caplog.text


def test_a_directory_is_not_asked_and_a_turn_that_failed_is_a_loop_that_is_not_well(
    project: Project, engine: Engine
) -> None:
    failed_turns.note(engine, "demo", RuntimeError("no memory left"))
    said = project.settings.model_copy(update={"mlflow_tracking_uri": "/var/mlflow"})
    seen = noticing.seen(engine, replace(project, settings=said), up_for_s=1.0)
    assert "mlflow" not in seen
    assert seen["loop"].status == "degraded"
    assert "no memory left" in seen["loop"].because
