"""A real S3 server, a bucket, and a project whose artifacts belong there."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from continualml.app.place import place_of
from continualml.settings import Project
from continualml.store.artifacts import Remote
from tests.api.conftest import _nothing_from_outside, point, project_in, serve
from tests.seaweed import Seaweed

__all__ = ("_nothing_from_outside", "point", "serve")

BUCKET = "models"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    one = Seaweed(tmp_path_factory.mktemp("seaweed"))
    one.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in one.environment.items():
            patch.setenv(name, value)
        one.make(BUCKET)
    yield one
    one.kill()


@pytest.fixture(autouse=True)
def seaweed(
    server: Seaweed, _nothing_from_outside: None, monkeypatch: pytest.MonkeyPatch
) -> Seaweed:
    """The server, up, and whom to ask in the environment."""
    from s3fs import S3FileSystem  # noqa: PLC0415  an extra, and slow

    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()  # a test before may have asked at another address
    if server.process is None:
        server.start()
    return server


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two models, whose artifacts belong into the bucket."""
    one = project_in(tmp_path)
    url = f"s3://{BUCKET}/{tmp_path.name}"
    return replace(one, settings=one.settings.model_copy(update={"artifacts_url": url}))


@pytest.fixture
def machine(project: Project, tmp_path: Path) -> Callable[[str], Remote]:
    """Name a machine: the same bucket, and a cache of its own."""

    def machine(name: str) -> Remote:
        place = place_of(project.settings.model_copy(update={"data": tmp_path / name}))
        assert isinstance(place, Remote)
        return place

    return machine
