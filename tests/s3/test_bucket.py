"""The contract of artifacts, with a real S3 server behind it, and without one."""

import hashlib
import time
from collections.abc import Callable

import pytest

from continualml.errors import UnreachableError
from continualml.integrations import s3
from continualml.integrations.s3 import Bucket
from continualml.store import artifacts
from continualml.store.artifacts import ArtifactError, Remote
from tests.seaweed import SECRET, Seaweed

pytestmark = pytest.mark.journey

Machine = Callable[[str], Remote]
DATA = b"a graph, or what stands for one" * 10_000
LONGEST_S = 2.0


def test_what_one_machine_writes_another_reads_once_and_then_has(
    machine: Machine, seaweed: Seaweed
) -> None:
    here, there = machine("here"), machine("there")

    sha256 = artifacts.write(here, DATA)
    assert artifacts.write(here, DATA) == sha256 == hashlib.sha256(DATA).hexdigest()
    assert artifacts.write(here, b"", kind=artifacts.LEARNER) != sha256

    assert Bucket(here.url).get(f"{sha256}.onnx") == DATA
    assert artifacts.read(there, sha256) == DATA
    with seaweed.hung():
        began = time.monotonic()
        assert artifacts.read(there, sha256) == artifacts.read(here, sha256) == DATA
        assert time.monotonic() - began < 1.0  # nobody was asked


def test_what_is_not_what_its_name_says_is_refused_and_kept_nowhere(machine: Machine) -> None:
    here, there = machine("here"), machine("there")
    sha256 = artifacts.write(here, DATA)
    Bucket(here.url).put(f"{sha256}.onnx", DATA[:-1] + b"!!")

    with pytest.raises(ArtifactError, match="was changed: its bytes hash to"):
        artifacts.read(there, sha256)
    with pytest.raises(ArtifactError, match="was changed"):
        artifacts.read_kept(here, sha256)  # though it is whole in the cache
    with pytest.raises(ArtifactError, match=f"is missing in {here.url}"):
        artifacts.read(there, "a" * 64)
    with pytest.raises(ArtifactError, match="expected a SHA-256"):
        artifacts.read(there, "../../" + "a" * 58)
    assert not there.cache.exists()


def test_what_is_spoilt_in_a_cache_is_brought_anew(machine: Machine) -> None:
    here = machine("here")
    sha256 = artifacts.write(here, DATA)
    path = here.cache / f"{sha256}.onnx"
    path.write_bytes(DATA[:-1])

    assert artifacts.read(here, sha256) == DATA
    assert path.read_bytes() == DATA


def test_while_nothing_can_be_known_it_says_so_in_time_and_names_no_secret(
    machine: Machine, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = machine("here")
    nowhere = Remote(bucket=Bucket("s3://nowhere/x"), url="s3://nowhere/x", cache=here.cache)

    def refused(place: Remote) -> None:
        for act in (lambda: artifacts.read(place, "a" * 64), lambda: artifacts.write(place, DATA)):
            began = time.monotonic()
            with pytest.raises(UnreachableError) as told:
                act()
            said = str(told.value)
            assert said.startswith(place.url)
            assert SECRET not in said
            assert seaweed.endpoint not in said
            assert time.monotonic() - began < 2 * LONGEST_S
        assert not here.cache.exists()

    refused(nowhere)  # a bucket that is not there is no artifact's fault
    monkeypatch.setattr(s3, "LONGEST_S", LONGEST_S)
    with seaweed.hung():
        refused(here)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-one")
    monkeypatch.setattr("s3fs.S3FileSystem._cache", {})
    refused(here)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("s3fs.S3FileSystem._cache", {})
    refused(here)
