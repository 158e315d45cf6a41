"""The loop, whose versions belong into a bucket: without it nothing is decided from a guess."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from continualml import demo
from continualml.cli import main
from continualml.cli.exits import FAILED, OK, UNREACHABLE
from continualml.errors import UnreachableError
from continualml.integrations import s3
from continualml.integrations.s3 import Bucket
from continualml.loop import begin
from continualml.loop.cycle import Loop
from continualml.loop.training import Trainer
from continualml.model import Strategy
from continualml.records import LedgerEntry
from continualml.store import ledger, pointers
from continualml.store.artifacts import Remote
from continualml.store.engine import read
from tests.conftest import Home, demo_table
from tests.seaweed import Seaweed

pytestmark = pytest.mark.journey

POLICY = replace(demo.DEMO.policy, strategies=(Strategy(name="newest-200", window=200, refit=100),))
MODEL = replace(demo.DEMO, policy=POLICY)


@pytest.fixture
def away(
    tmp_path: Path, engine: Engine, trainer: Trainer, machine: Callable[[str], Remote]
) -> Home:
    loop = loop_of(engine, trainer, machine("data"))
    begin.from_table(loop, "demo", demo_table(600, seed=0))
    return Home(tmp_path, engine, loop)


def loop_of(engine: Engine, trainer: Trainer, place: Remote) -> Loop:
    models = {"demo": MODEL}
    return Loop(engine=engine, artifacts=place, models=models, trainer=trainer, holder="test")


def entries(home: Home) -> list[LedgerEntry]:
    with read(home.engine) as conn:
        return list(ledger.entries(conn, limit=1_000))[::-1]


def versions(home: Home) -> dict[int, str]:
    """Return the hashes of the versions that are registered, by their numbers."""
    found: dict[int, str] = {}
    with read(home.engine) as conn:
        while known := pointers.version(conn, "demo", len(found) + 1):
            found[known.version] = known.sha256
    return found


def test_a_version_that_cannot_be_kept_is_refused_and_fitted_again_later(
    away: Home, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "LONGEST_S", 1.0)
    away.send(100, seed=1)
    before = versions(away)
    with seaweed.hung():
        away.loop.turn("demo")
    refused = [e.decision for e in entries(away) if e.decision.kind == "refuse"]
    assert versions(away) == before  # nobody has heard of it
    assert {d.basis["strategy"] for d in refused} == {"newest-200"}
    assert "could not be kept: s3://" in refused[0].because

    away.send(200, seed=2)
    away.loop.turn("demo")

    place = away.loop.artifacts
    assert isinstance(place, Remote)
    assert len(versions(away)) > len(before)
    for sha256 in versions(away).values():
        assert (
            Bucket(place.url).get(f"{sha256}.onnx") == (place.cache / f"{sha256}.onnx").read_bytes()
        )


def test_versions_that_nothing_is_known_about_are_not_judged(
    away: Home,
    machine: Callable[[str], Remote],
    seaweed: Seaweed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3, "LONGEST_S", 1.0)
    another = loop_of(away.engine, away.loop.trainer, machine("another"))
    away.send(90, seed=1)
    before = entries(away)
    with seaweed.hung(), pytest.raises(UnreachableError, match="s3://"):
        another.turn("demo")
    assert entries(away) == before

    another.turn("demo")  # the rows have waited
    assert len(entries(away)) > len(before)


def test_verify_and_doctor_ask_the_bucket_and_not_the_cache(
    away: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = away.loop.artifacts
    assert isinstance(place, Remote)
    monkeypatch.setenv("CONTINUAL_DATABASE_URL", str(away.engine.url))
    monkeypatch.setenv("CONTINUAL_DATA", str(place.cache.parent))
    monkeypatch.setenv("CONTINUAL_ARTIFACTS_URL", place.url)
    name = f"{versions(away)[1]}.onnx"

    def told(verb: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["continual", verb, "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        out = capsys.readouterr()
        return int(ended.value.code or 0), out.out + out.err

    assert told("verify")[0] == OK
    Bucket(place.url).put(name, b"something else")
    code, said = told("verify")
    assert code == FAILED
    assert "was changed" in said
    assert f'"found": "{place.url}"' in told("doctor")[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("s3fs.S3FileSystem._cache", {})
    assert told("verify")[0] == UNREACHABLE
    assert "AWS_ENDPOINT_URL" in told("doctor")[1]
