"""Every body of a test runs over each database; that of PostgreSQL is a real server's."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from continualml.store.engine import open_store

DATABASES = ["sqlite", pytest.param("postgresql", marks=[pytest.mark.journey, pytest.mark.patient])]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name a database that nothing is in yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'log.sqlite'}"
    new: Callable[[], str] = request.getfixturevalue("server").new
    return new()


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    opened = open_store(url)
    yield opened
    opened.dispose()
