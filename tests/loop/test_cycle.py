import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
from sqlalchemy import Engine, delete

from continualml import decide, demo
from continualml.errors import InputError
from continualml.learning.table import Table
from continualml.loop import begin, carry_out, cycle
from continualml.loop.build import this_build
from continualml.loop.cycle import Loop
from continualml.loop.replay import replay
from continualml.loop.training import Limits, Product, Trainer, TrainingError
from continualml.model import Feature, Learner, Model
from continualml.records import DecisionKind, Rows, Scored, TrainingFailed
from continualml.store import leases, ledger, log, pointers, windows
from continualml.store.artifacts import ArtifactError
from continualml.store.engine import read, write
from continualml.store.tables import snapshots
from tests.conftest import Home, demo_table


def kinds(home: Home) -> list[str]:
    with read(home.engine) as conn:
        return [str(e.decision.kind) for e in ledger.entries(conn, limit=1_000)][::-1]


def test_drift_is_answered_by_a_promotion_and_the_ledger_says_why(home: Home) -> None:
    home.send(400, seed=1)
    home.loop.turn("demo")
    assert "promote" not in kinds(home)
    home.send(3_000, seed=2, drift=1.5)
    verdict = home.loop.turn("demo")
    assert verdict.kind in {"promote", "rollback"}
    with read(home.engine) as conn:
        promoted = ledger.entries(conn, kinds=("promote",))[-1]
        pointed = pointers.pointed(conn, "demo")
        assert ledger.verify(conn) is None
    proof = promoted.decision.basis["gate"][promoted.decision.basis["place"]]
    assert proof["evidence"] >= proof["threshold"]
    assert pointed["champion"] != 1
    assert "alarm" in kinds(home)


def test_every_kind_of_decision_has_its_weight_in_a_turns_verdict() -> None:
    assert set(cycle._WEIGHT) == set(get_args(DecisionKind))  # noqa: SLF001  no other seam


def test_a_turn_without_new_rows_decides_nothing(home: Home) -> None:
    home.loop.turn("demo")
    before = kinds(home)
    verdict = home.loop.turn("demo")
    assert (verdict.kind, kinds(home)) == ("keep", before)
    assert verdict.because.startswith("no new labelled rows since number")


def test_a_lost_snapshot_is_folded_anew_from_the_outcomes(home: Home) -> None:
    home.send(900, seed=3, drift=0.7)
    home.loop.turn("demo")
    with read(home.engine) as conn:
        kept = carry_out.known(conn, "demo")
    with write(home.engine) as conn:
        conn.execute(delete(snapshots))
    with read(home.engine) as conn:
        folded = carry_out.known(conn, "demo")
    assert msgspec.json.encode(folded) == msgspec.json.encode(kept)  # bit for bit
    home.send(200, seed=4)
    assert home.loop.turn("demo").rows == 200  # and the loop goes on from there


def test_two_turns_at_once_do_no_harm(home: Home) -> None:
    assert leases.acquire(home.engine, "cycle:demo", "somebody else", 60)
    assert home.loop.turn("demo").because == "another turn is under way"
    leases.release(home.engine, "cycle:demo", "somebody else")
    with read(home.engine) as conn:
        old = carry_out.known(conn, "demo")
    home.loop.turn("demo")
    failed = TrainingFailed(strategy="newest-500", through=1, because="test")
    before = kinds(home)
    with pytest.raises(carry_out.OvertakenError), write(home.engine) as conn:
        carry_out.take_in(conn, old, "demo", failed, at=0.0, recorded_at="2026-01-01")
    assert kinds(home) == before


def test_two_processes_that_begin_a_model_at_once_have_one_first_champion(
    tmp_path: Path, engine: Engine, trainer: Trainer
) -> None:
    def loop_with(trains: Trainer) -> Loop:
        return Loop(
            engine=engine,
            artifacts=tmp_path / "artifacts",
            models={"demo": demo.DEMO},
            trainer=trains,
            holder="test",
        )

    class Overtaken(Trainer):
        """While it fits, another process begins the model."""

        def fit(self, *args: Any, **kwargs: Any) -> Product:
            made = trainer.fit(*args, **kwargs)
            begin.from_table(loop_with(trainer), "demo", demo_table(300, seed=0))
            return made

    with pytest.raises(InputError, match="a model without a champion"):
        begin.from_table(loop_with(Overtaken()), "demo", demo_table(300, seed=0))
    with read(engine) as conn:
        told = [e.decision.kind for e in ledger.entries(conn)]
        again = replay(conn, "demo")
        assert [v.version for v in pointers.versions_of(conn, "demo")] == [1]
    assert told.count("first") == 1
    assert again.differences == ()


def test_no_version_is_ever_scored_on_a_row_that_it_saw(home: Home) -> None:
    home.send(800, seed=4)
    home.loop.turn("demo")
    with read(home.engine) as conn:
        known = {v.version: v for v in pointers.versions_of(conn, "demo", limit=1_000)}
        some = log.outcomes_after(conn, "demo", 0, 1_000)
        window = windows.joined(conn, demo.DEMO, 0)
    ids = dict(zip(window.seq.tolist(), window.observation_seq.tolist(), strict=True))
    checked = 0
    for _, outcome in some:
        if isinstance(outcome, Scored):
            rows = memoryview(outcome.seq).cast("q").tolist()
            for version in outcome.versions:
                for first, last in known[version].manifest["rows"]["ranges"]:
                    assert not any(first <= ids[seq] <= last for seq in rows)
                    checked += 1
    assert checked > 10


def test_who_was_replaced_and_is_not_asked_any_more_does_not_stay_loaded(home: Home) -> None:
    home.send(600, seed=4)
    home.loop.turn("demo")
    with read(home.engine) as conn:
        made = len(pointers.versions_of(conn, "demo", limit=1_000))
        known = carry_out.known(conn, "demo").standing
        last = [o for _, o in log.outcomes_after(conn, "demo", 0, 1_000) if isinstance(o, Scored)]
    assert known is not None
    (shelf,) = home.loop._shelves.values()  # noqa: SLF001  no other seam
    # Those asked about the newest rows, and those that were made of them.
    assert set(shelf.sessions) <= {*last[-1].versions, *decide.watched(demo.DEMO, known)}
    assert made > 2 * len(shelf.sessions) > 0


def test_files_that_differ_in_their_categories_alone_are_two_files(
    engine: Engine, tmp_path: Path, trainer: Trainer
) -> None:
    towns = Model(
        name="towns",
        kind="classification",
        target="y",
        classes=("no", "yes"),
        features=(Feature(name="town", kind="categorical"),),
    )
    loop = Loop(
        engine=engine,
        artifacts=tmp_path / "artifacts",
        models={"towns": towns},
        trainer=trainer,
        holder="test",
    )
    for town in ("Bern", "Bonn"):
        rows = Rows(numeric=np.empty((12, 0)), categorical=np.full((12, 1), town, dtype=object))
        with pytest.raises(InputError, match="labelled rows, expected at"):  # too few of them
            begin.from_table(loop, "towns", Table(rows=rows, labels=("no", "yes") * 6))
    with read(engine) as conn:
        window = windows.joined(conn, towns, 0)
    assert window.rows.categorical.ravel().tolist() == ["Bern"] * 12 + ["Bonn"] * 12


def test_a_file_is_read_into_the_log_once(home: Home) -> None:
    with pytest.raises(InputError, match="expected a model without a champion"):
        begin.from_table(home.loop, "demo", demo_table(600, seed=0))
    with read(home.engine) as conn:
        assert windows.n_joined(conn, demo.DEMO, 0) == 600


def test_a_challenger_that_cannot_be_read_counts_as_wrong_and_stops_nobody(home: Home) -> None:
    home.loop.turn("demo")
    with read(home.engine) as conn:
        broken = pointers.version(conn, "demo", 2)
    assert broken is not None
    (home.directory / "artifacts" / f"{broken.sha256}.onnx").write_bytes(b"something else")
    home.send(90, seed=5)
    verdict = fresh_loop(home).turn("demo")
    assert verdict.rows == 90
    with read(home.engine) as conn:
        last = [o for _, o in log.outcomes_after(conn, "demo", 0, 1_000) if isinstance(o, Scored)]
    answers = np.frombuffer(last[-1].answers, "<f4").reshape(90, len(last[-1].versions), 2)
    lost = np.isnan(answers).all(axis=(0, 2))
    assert [v for v, gone in zip(last[-1].versions, lost, strict=True) if gone] == [2]


def test_when_no_version_can_be_read_nothing_is_decided(home: Home) -> None:
    home.loop.turn("demo")
    shutil.rmtree(home.directory / "artifacts")
    home.send(90, seed=5)
    before = kinds(home)
    with pytest.raises(ArtifactError, match="none of the versions"):
        fresh_loop(home).turn("demo")
    assert kinds(home) == before


def fresh_loop(home: Home) -> Loop:
    return Loop(
        engine=home.engine,
        artifacts=home.directory / "artifacts",
        models={"demo": demo.DEMO},
        trainer=home.loop.trainer,
        holder="fresh",
    )


@pytest.mark.parametrize(
    ("child", "because"),
    [
        ("import time; time.sleep(60)", "took longer than 1 s"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "died"),
        ("raise SystemExit(3)", "died"),
    ],
)
def test_a_training_process_that_hangs_or_dies_is_a_failed_fit(
    home: Home, child: str, because: str
) -> None:
    with read(home.engine) as conn:
        window = windows.training(conn, demo.DEMO, through=10_000, newest=300)
    with (
        Trainer(Limits(seconds=1.0), child=(sys.executable, "-c", child)) as trainer,
        pytest.raises(TrainingError, match=because),
    ):
        trainer.fit(demo.DEMO, Learner(), window, strategy="s", seed=0)


def test_a_fit_that_takes_too_much_memory_is_a_failed_fit(home: Home) -> None:
    with read(home.engine) as conn:
        window = windows.training(conn, demo.DEMO, through=10_000, newest=300)
    greedy = Learner(
        name="sklearn.neural_network.MLPClassifier",
        parameters=(("hidden_layer_sizes", 200_000_000),),
    )
    with (
        Trainer(Limits(memory_mb=3_000)) as trainer,
        pytest.raises(TrainingError, match="needs more than 3000 MB"),
    ):
        trainer.fit(demo.DEMO, greedy, window, strategy="s", seed=0)


def test_one_class_and_an_unknown_learner_are_failed_fits_that_say_so(home: Home) -> None:
    with read(home.engine) as conn:
        window = windows.training(conn, demo.DEMO, through=10_000, newest=300)
    one = replace(window, target=window.target * 0)
    with pytest.raises(TrainingError, match="all 300 rows are of the class 'no'"):
        home.loop.trainer.fit(demo.DEMO, Learner(), one, strategy="s", seed=0)
    with pytest.raises(TrainingError, match="there is no such estimator"):
        home.loop.trainer.fit(
            demo.DEMO, Learner(name="sklearn.linear_model.Logistic"), window, strategy="s", seed=0
        )
    fitted = home.loop.trainer.fit(
        demo.DEMO, Learner(), window, strategy="s", seed=0
    )  # the process lives on
    assert fitted.artifact
    assert fitted.manifest["rows"]["n"] == 300


def test_a_build_is_said_once_in_each_change_and_every_entry_names_its_code(home: Home) -> None:
    home.send(50, seed=6)
    home.loop.turn("demo")
    fresh_loop(home).turn("demo")
    other = replace(fresh_loop(home), build={**this_build(), "continualml": "9.9"})
    other.turn("demo")
    home.send(50, seed=7)
    other.turn("demo")
    with read(home.engine) as conn:
        said = ledger.entries(conn, limit=1_000)[::-1]
        assert ledger.verify(conn) is None
    builds = [e.decision.basis["build"] for e in said if e.decision.kind == "build"]
    assert builds == [this_build(), other.build]
    assert {"numpy", "onnxruntime", "python", "machine", "cpu"} <= set(this_build())
    code = [e.decision.basis["decided_from"]["code"] for e in said]
    assert (code[0], code[-1]) == (this_build()["continualml"], "9.9")


def test_a_turn_in_which_an_incident_ends_says_so(home: Home) -> None:
    home.send(200, seed=1)
    home.send(400, seed=2, drift=3.0)  # as good as flipped labels
    verdicts = [home.loop.turn("demo")]
    for seed in range(3, 9):
        home.send(100, seed=seed)
        verdicts.append(home.loop.turn("demo"))
    said = {e.decision.kind for v in verdicts for e in v.entries}
    assert {"alarm", "recover"} <= said
