"""What the loop and its lookers ask costs what is new, however long the log has become."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from continualml import demo
from continualml.store import arrivals, log, windows
from continualml.store.engine import open_store, read, write
from continualml.store.log import Labelled, Observed, append_labels, append_observations

MODEL = demo.DEMO
NEW = 50
# Ten instructions of SQLite's machine at a time are counted.
AT_ONCE = 10

QUESTIONS: dict[str, Callable[[Connection, int], object]] = {
    "joined": lambda conn, read_to: windows.joined(conn, MODEL, read_to, limit=100),
    "n_joined": lambda conn, read_to: windows.n_joined(conn, MODEL, read_to),
    "n_labelled": lambda conn, read_to: windows.n_labelled(
        conn, MODEL, read_to, upto=log.last_seq(conn)
    ),
    "training": lambda conn, _: windows.training(
        conn, MODEL, through=log.last_seq(conn), newest=100
    ),
    "observed": lambda conn, read_to: windows.observed(conn, MODEL, read_to, limit=100),
    "newest_observed": lambda conn, _: windows.newest_observed(conn, MODEL, 100),
    "nth_observed": lambda conn, read_to: windows.nth_observed(conn, MODEL, read_to, 10),
    "events": lambda conn, read_to: windows.events(
        conn, MODEL, read_to, upto=log.last_seq(conn), limit=100
    ),
    "lags": lambda conn, _: arrivals.lags(conn, MODEL.name, 100),
    "unlabelled": lambda conn, _: arrivals.unlabelled(conn, MODEL.name, 100),
    "newest_label": lambda conn, _: arrivals.newest_label(conn, MODEL.name),
}


def test_no_question_of_a_turn_or_a_page_looks_through_history(tmp_path: Path) -> None:
    steps = {rows: _steps(_grown(tmp_path / f"{rows}.sqlite", rows)) for rows in (400, 4_000)}

    grown = {q: n / steps[400][q] for q, n in steps[4_000].items()}
    assert {q: round(times, 2) for q, times in grown.items() if times > 1.25} == {}


@pytest.fixture(scope="module", autouse=True)
def _counts_what_it_should(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Look through all rows once: that has to count more steps where there are more rows."""
    few, many = (_grown(tmp_path_factory.mktemp("all") / "log.sqlite", n) for n in (400, 4_000))
    assert _counted(many, lambda conn: windows.joined(conn, MODEL, 0)) > 5 * _counted(
        few, lambda conn: windows.joined(conn, MODEL, 0)
    )


def _grown(path: Path, rows: int) -> Engine:
    """Make a log of answered rows, most labelled late, some early, some corrected."""
    engine = open_store(f"sqlite:///{path}")
    for start in range(0, rows + NEW, NEW):
        ids = [f"row-{start + i}" for i in range(NEW)]
        early, late = ids[::10], [i for n, i in enumerate(ids) if n % 10]
        with write(engine) as conn:
            append_labels(conn, MODEL, [_label(i) for i in early], 1.0)
            append_observations(conn, [_row(i) for i in ids])
            append_labels(conn, MODEL, [_label(i) for i in late], 2.0)
            append_labels(conn, MODEL, [_label(i, revision=1) for i in late[::5]], 3.0)
    return engine


def _steps(engine: Engine) -> dict[str, int]:
    with read(engine) as conn:
        per_portion = NEW + NEW + len(range(0, NEW - NEW // 10, 5))
        read_to = log.last_seq(conn) - per_portion
    return {
        name: _counted(engine, lambda conn, ask=ask: ask(conn, read_to))  # type: ignore[misc]
        for name, ask in QUESTIONS.items()
    }


def _counted(engine: Engine, ask: Callable[[Connection], object]) -> int:
    with read(engine) as conn:
        driver = conn.connection.driver_connection
        assert driver is not None
        n = 0

        def step() -> int:
            nonlocal n
            n += 1
            return 0

        driver.set_progress_handler(step, AT_ONCE)
        ask(conn)
        driver.set_progress_handler(None, 0)
        return n


def _row(name: str) -> Observed:
    return Observed(
        model=MODEL.name,
        observation_id=name,
        numeric=bytes(32),
        categorical=None,
        version=1,
        answer=bytes(16),
        recorded_at=1.0,
    )


def _label(name: str, revision: int = 0) -> Labelled:
    return Labelled(observation_id=name, label="no", revision=revision)
