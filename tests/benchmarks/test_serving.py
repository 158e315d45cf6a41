import json
import os
from pathlib import Path

import psutil
import pytest

from benchmarks.serving import (
    bodies,
    environments,
    load,
    measuring,
    pictures,
    processes,
    results,
    tables,
)
from benchmarks.serving.__main__ import HERE, plan
from benchmarks.serving.bars import BARS, cell
from benchmarks.serving.environments import NotThereError
from benchmarks.serving.load import Load
from benchmarks.serving.measuring import Asker, Found
from benchmarks.serving.processes import DidNotServeError, running
from benchmarks.serving.servers import OURS, SERVERS, Server, cell_name, start_of

SAID = """Running 1s test @ http://127.0.0.1:1/predict
  1 threads and 16 connections
  Non-2xx or 3xx responses: 10
Requests/sec:   1010.00

FOUND {"requests":1010,"duration_us":2000000,"refused":10,"broken":2,"late":1,"p50_us":1500,"p99_us":20500}
"""  # noqa: E501  as wrk writes it
MACHINE = {
    "cpu": "abacus",
    "cores": 2,
    "memory_gb": 4,
    "kernel": "Linux 6",
    "python": "3.11",
    "fsync_ms": 0.2,
    "load_before": 0.1,
    "ours": {"numpy": "2.4.6"},
    "peers": {"mlflow": {"mlflow": "3.17.2"}},
}
ANSWERS = {
    "ours": {"predictions": [{"probabilities": {"up": 0.75, "down": 0.25}}]},
    "tutorial, one row": {"prediction": "up", "probabilities": {"down": 0.25, "up": 0.75}},
    "tutorial, LitServe": {"probabilities": [[0.25, 0.75]]},
    "BentoML": [[0.25, 0.75]],
    "MLflow": {"predictions": [[0.25, 0.75]]},
    "ours, as MLflow": {
        "predictions": ["up"],
        "probabilities": [{"down": 0.25, "up": 0.75}],
        "observation_ids": ["1"],
    },
    "V2": {"outputs": [{"name": "predict_proba", "shape": [1, 2], "data": [0.25, 0.75]}]},
}


def found(rate: float = 100.0) -> Found:
    """Make the figures of a run in which everybody is as quick, and nobody anything else."""
    one = Load(rate=rate, p50_ms=2.0, p99_ms=4.0, requests=200, errors=0)
    return Found(
        loads={cell_name(s, c): [one, one] for s in SERVERS for c in s.cells},
        starts_s={s.full_name: [0.5] for s in SERVERS},
        memory_mb={s.full_name: [(70.0, 100.0)] for s in SERVERS},
        memory_after_mb={s.full_name: [(80.0, 110.0)] for s in SERVERS},
        machine=MACHINE,
    )


def kept(of: Found) -> results.Kept:
    return results.of(of, rounds=2, seconds=1)


def test_wrk_is_read_and_what_failed_counts_as_no_request() -> None:
    assert load.read(SAID) == Load(rate=500, p50_ms=1.5, p99_ms=20.5, requests=1_010, errors=13)
    with pytest.raises(ValueError, match="did not say"):
        load.read("unable to connect to 127.0.0.1:1 Connection refused")


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_the_answers_of_all_protocols_are_the_same_probabilities(answer: object) -> None:
    assert bodies.probabilities(answer).tolist() == [[0.25, 0.75]]


@pytest.mark.parametrize("form", bodies.FORMS)
def test_each_form_carries_the_same_values(form: str) -> None:
    rows = bodies.rows(3)
    text = json.dumps(bodies.FORMS[form](rows))
    assert len(rows) == 3
    assert all(json.dumps(value) in text for row in rows for value in row)


def test_every_bar_is_of_cells_that_are_measured() -> None:
    whole = kept(found())
    assert [bar.name for bar in BARS if bar.figure(whole) is None] == []
    assert all(bar.figure(kept(Found())) is None for bar in BARS)


def test_a_bar_says_what_is_met_what_is_missed_and_what_is_not_known() -> None:
    run = found()
    run.loads[cell(OURS)] = [
        Load(rate=rate, p50_ms=1.0, p99_ms=p99, requests=200, errors=0)
        for rate, p99 in ((360, 0.5), (400, 0.9), (900, 6.0))
    ]
    run.loads[cell("tutorial")] = run.loads[cell("tutorial")][:1] * 3
    run.loads[cell("MLflow models serve", form="split")] = [
        Load(rate=rate, p50_ms=1.0, p99_ms=1.0, requests=9, errors=0) for rate in (90, 100, 200)
    ]
    del run.loads[cell("without log")]

    verdicts = {bar.name: bar.verdict(kept(run)) for bar in BARS}

    assert [*verdicts.values()][:3] == ["met", "", "**missed**"]
    assert verdicts["p99 at 16 connections over the tutorial's"] == "met"
    assert verdicts["p99 at 16 connections, ms"] == "goal met"
    assert verdicts["kept of our own speed without the log"] == "not measured"
    assert BARS[0].figure(kept(run)) == (4.0, 3.6, 9.0)


def test_the_tables_show_every_server_and_who_is_absent() -> None:
    run = found()
    run.absent["LitServe, 2 workers"] = "not installed: no such package"
    shown = tables.all_of(kept(run))
    assert all(f"| {s.full_name}" in shown for s in SERVERS)
    assert "LitServe, 2 workers was not measured to the end: not installed: no such" in shown
    assert "| tutorial, 1 worker, lists | 10,000 |" in shown  # 100 requests of 100 rows
    lines = [line for line in shown.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 4  # each table has its own width
    few = tables.all_of(kept(Found(machine=run.machine, absent={"BentoML, 1 worker": "gone"})))
    assert "BentoML, 1 worker was not measured to the end: gone" in few


def test_the_readme_shows_the_figures_that_are_in_the_json() -> None:
    text = (HERE / "README.md").read_text("utf-8")
    if "Not measured yet" in text:
        assert not (HERE / "results.json").exists()
    else:
        assert tables.replaced(text, results.read(HERE / "results.json")) == text


def test_the_figures_are_kept_as_json_and_put_between_the_marks(tmp_path: Path) -> None:
    whole, text = kept(found()), (HERE / "README.md").read_text("utf-8")
    results.write(whole, tmp_path / "results.json")
    assert results.read(tmp_path / "results.json") == whole
    shown = tables.replaced(text, whole)
    assert tables.bars(whole) in shown
    around = [(one.split("<!--")[0], one.split("-->")[-1]) for one in (shown, text)]
    assert around[0] == around[1]
    pictures.draw(whole, tmp_path / "serving.png")
    assert (tmp_path / "serving.png").read_bytes().startswith(b"\x89PNG")


def test_a_part_can_be_chosen() -> None:
    alone = plan([], ["1 worker | 1 row named"], [16])
    assert {s.peer for s, _ in alone} == {""}
    assert {cell_name(s, c) for s, cells in alone for c in cells} >= {
        cell(OURS),
        cell("without log"),
    }
    assert {c.connections for _, cells in alone for c in cells} == {16}
    assert {s.name for s, _ in plan(["mlflow"], None, None)} >= {OURS, "MLflow models serve"}
    names = [cell_name(s, c) for s in SERVERS for c in s.cells]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("peer", environments.NAMES)
def test_what_a_peer_needs_is_pinned_to_the_last_package(peer: str) -> None:
    lines = environments.requirements(peer).read_text("utf-8").splitlines()
    assert len(lines) == len(environments.versions(peer))
    assert environments.versions(peer)["scikit-learn"] == "1.9.1"


def test_an_environment_that_cannot_be_made_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(environments.PLACE, str(tmp_path))
    monkeypatch.setenv("UV", str(tmp_path / "uv"))
    with pytest.raises(NotThereError, match="uv is not installed"):
        environments.make("litserve")
    (tmp_path / "uv").write_text("#!/bin/sh\necho no index can be reached >&2; exit 2\n")
    (tmp_path / "uv").chmod(0o700)
    with pytest.raises(NotThereError, match="no index can be reached"):
        environments.make("litserve")
    assert not environments.is_there("litserve")


def test_a_server_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 0.5)
    # The second ignores a polite request.
    script = "trap '' TERM; sleep 60 & exec sleep 60"
    command = ("sh", "-c", f'sh -c "{script}" & exec sleep 60')
    with running(command, os.environ, tmp_path / "said", lambda: True) as server:
        there = psutil.Process(server.pid)
        each = [there, *_until_two(there)]
        assert server.memory_mb()[1] > 0
    assert [p for p in each if p.is_running()] == []


def _until_two(process: psutil.Process) -> list[psutil.Process]:
    for _ in range(1_000):
        if len(found := process.children(recursive=True)) >= 2:
            return found
    raise AssertionError("it started nothing")


def test_a_server_that_ends_says_what_it_wrote(tmp_path: Path) -> None:
    command = ("sh", "-c", "echo no such model; exit 3")
    with (
        pytest.raises(DidNotServeError, match="no such model"),
        running(command, os.environ, tmp_path / "said", lambda: False),
    ):
        pass


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Asker:
    return measuring.prepared(tmp_path_factory.mktemp("serving"))


@pytest.mark.journey
@pytest.mark.parametrize("server", [s for s in SERVERS if s.peer], ids=lambda s: s.full_name)
def test_each_peer_answers_right_where_its_environment_is(
    server: Server, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if not environments.is_there(server.peer):
        pytest.skip(f"no environment of {server.peer}: python -m benchmarks.serving makes it")
    asker: Asker = request.getfixturevalue("asker")
    start = start_of(server, asker.folder, asker.token)
    first = server.cells[0]
    with running(
        start.command, start.env, tmp_path / "said", lambda: asker.is_right(server, start, first)
    ):
        assert all(asker.is_right(server, start, one) for one in server.cells)
