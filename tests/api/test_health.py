"""What /health says of the loop, by who has turned it and when."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from continualml.app.api.champion import Champions
from continualml.app.api.health import Health
from continualml.records import Json
from continualml.settings import Project
from continualml.store import leases
from continualml.store.engine import open_store, write
from continualml.store.tables import leases as table

PERIOD_S = 30.0


@pytest.fixture
def engine(project: Project) -> Engine:
    return open_store(project.settings.database_url)


def loop(engine: Engine, project: Project, *, up_for_s: float) -> Json:
    health = Health(engine, Champions(engine, project.settings.artifacts, project.models), project)
    health._began -= up_for_s  # noqa: SLF001  minutes that the test does not wait
    health.look()
    told: Json = health.now["components"]["loop"]
    return told


def beat(engine: Engine, name: str, *, ago_s: float) -> None:
    leases.beat(engine, name)
    with write(engine) as conn:
        at = datetime.now(UTC).timestamp() - ago_s
        conn.execute(table.update().values(taken_at=at).where(table.c.name == name))


def test_without_any_turn_ever_the_loop_is_not_degraded_and_what_is_known_is_said(
    engine: Engine, project: Project
) -> None:
    told = loop(engine, project, up_for_s=1_000)
    assert told["status"] == "ok"
    assert told["because"] == (
        "no scheduler has turned the loop on this log yet; "
        "no timer runs either: nothing turns the loop"
    )


def test_a_scheduler_that_works_off_late_runs_is_alive(engine: Engine, project: Project) -> None:
    beat(engine, leases.TURNED, ago_s=4_000)
    beat(engine, leases.SKIPPED, ago_s=2)
    told = loop(engine, project, up_for_s=1_000)
    assert told["status"] == "ok"
    assert "because" not in told
    assert told["scheduled_turn_age_s"] > 3_900


def test_a_silent_scheduler_degrades_three_periods_after_the_start_and_not_before(
    engine: Engine, project: Project
) -> None:
    beat(engine, leases.TURNED, ago_s=4_000)
    assert loop(engine, project, up_for_s=2.9 * PERIOD_S)["status"] == "ok"
    told = loop(engine, project, up_for_s=3.1 * PERIOD_S)
    assert told["status"] == "degraded"
    assert told["because"].endswith("s; no timer runs either: nothing turns the loop")
    beat(engine, leases.TIMER, ago_s=3)
    assert loop(engine, project, up_for_s=3.1 * PERIOD_S)["because"].endswith(
        "s; the timer turns the loop"
    )
