import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from sqlalchemy import Connection, delete, select, update

from continualml import demo
from continualml.loop import begin
from continualml.loop import replay as replaying
from continualml.loop.build import this_build
from continualml.loop.cycle import Loop
from continualml.loop.replay import Replayed, replay
from continualml.loop.training import Trainer
from continualml.records import Outcome, Scored, Trained
from continualml.store import ledger, log, verify
from continualml.store.engine import open_store, write
from continualml.store.tables import ledger as entries
from continualml.store.tables import outcomes
from tests.conftest import Home, demo_table

MODELS = {"demo": demo.DEMO}
T = TypeVar("T", Scored, Trained)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, trainer: Trainer) -> Path:
    """A directory in which something happened, for copies."""
    directory = tmp_path_factory.mktemp("lived")
    engine = open_store(f"sqlite:///{directory / 'log.sqlite'}")
    loop = Loop(
        engine=engine,
        artifacts=directory / "artifacts",
        models=MODELS,
        trainer=trainer,
        holder="test",
        most_s=600.0,
    )
    begin.from_table(loop, "demo", demo_table(600, seed=0))
    lived = Home(directory, engine, loop)
    lived.send(300, seed=1)
    loop.turn("demo")
    lived.send(900, seed=2, drift=1.5)
    loop.turn("demo")
    engine.dispose()
    return directory


@pytest.fixture
def lived(once: Path, tmp_path: Path) -> Path:
    return shutil.copytree(once, tmp_path / "lived")


@pytest.fixture
def conn(lived: Path) -> Iterator[Connection]:
    engine = open_store(f"sqlite:///{lived / 'log.sqlite'}")
    with write(engine) as conn:
        yield conn
    engine.dispose()


def fields(found: Replayed) -> set[tuple[int | None, str]]:
    return {(d.n, d.field) for d in found.differences}


def broken(conn: Connection, directory: Path) -> dict[str, str]:
    told = verify.verify(conn, directory / "artifacts")
    return {c.check: c.broken for c in told if c.broken is not None}


def an_outcome(conn: Connection, kind: type[T]) -> tuple[int, T]:
    known = log.outcomes_after(conn, "demo", 0, 10_000)
    return [(seq, o) for seq, o in known if isinstance(o, kind)][-1]


def rewrite(conn: Connection, seq: int, outcome: Outcome) -> None:
    body = msgspec.msgpack.encode(outcome)
    conn.execute(update(outcomes).where(outcomes.c.seq == seq).values(body=body))


def test_an_untouched_log_leads_to_every_decision_bit_for_bit(
    conn: Connection, lived: Path
) -> None:
    told: list[int] = []
    found = replay(conn, "demo", told.append)
    n = len(ledger.entries(conn, limit=10_000))
    assert broken(conn, lived) == {}
    assert found.differences == ()
    assert (found.equal, found.close, found.rows) == (n, 0, 1_200)
    assert sum(told) == found.outcomes
    assert n > 20


def test_a_reason_that_was_rewritten_is_found_by_chain_and_replay(
    conn: Connection, lived: Path
) -> None:
    conn.execute(update(entries).where(entries.c.n == 7).values(because="it felt right"))
    assert fields(replay(conn, "demo")) == {(7, "because")}
    assert broken(conn, lived) == {"ledger": "entry 7: number, link or hash is not its own"}


def test_evidence_that_was_polished_and_chained_anew_is_found_by_replay_alone(
    conn: Connection, lived: Path
) -> None:
    whole = ledger.entries(conn, limit=10_000)[::-1]
    n = next(e.n for e in whole if e.decision.kind == "keep")
    conn.execute(delete(entries))
    for entry in whole:
        if entry.n == n:
            entry.decision.basis["loss"]["evidence"] += 1e-12
        ledger.record(conn, entry.decision, entry.recorded_at)
    assert broken(conn, lived) == {}
    assert fields(replay(conn, "demo")) == {(n, "basis.loss.evidence")}


def test_one_flipped_bit_of_an_outcome_is_found_by_both(conn: Connection, lived: Path) -> None:
    seq, outcome = an_outcome(conn, Scored)
    answers = bytearray(outcome.answers)
    answers[0] ^= 1
    rewrite(conn, seq, replace(outcome, answers=bytes(answers)))
    assert "basis.decided_from.sha256" in {f for _, f in fields(replay(conn, "demo"))}
    assert list(broken(conn, lived)) == ["outcomes"]
    assert broken(conn, lived)["outcomes"].startswith(f"outcome {seq}: changed since entry")


def test_what_no_decision_depends_on_is_held_by_its_hash(conn: Connection, lived: Path) -> None:
    seq, outcome = an_outcome(conn, Trained)
    rewrite(conn, seq, replace(outcome, seconds=0.0))
    assert {f for _, f in fields(replay(conn, "demo"))} == {"basis.decided_from.sha256"}
    assert list(broken(conn, lived)) == ["outcomes"]


def test_an_outcome_that_cannot_be_read_or_is_gone_is_found_by_both(
    conn: Connection, lived: Path
) -> None:
    seq, _ = an_outcome(conn, Scored)
    conn.execute(update(outcomes).where(outcomes.c.seq == seq).values(body=b"\xc1"))
    found = replay(conn, "demo")
    assert f"outcome {seq}: expected what 'scored' means" in str(found.differences[0].recomputed)
    conn.execute(delete(outcomes).where(outcomes.c.seq == seq))
    found = replay(conn, "demo")
    assert any(d.field == "entry" and d.recomputed is None for d in found.differences)
    assert broken(conn, lived)["outcomes"].startswith(f"outcome {seq}: missing, and entry")


def test_an_entry_that_is_gone_is_found_by_both_and_the_last_one_by_replay(
    conn: Connection, lived: Path
) -> None:
    last = conn.execute(select(entries.c.n).order_by(entries.c.n.desc()).limit(1)).scalar_one()
    conn.execute(delete(entries).where(entries.c.n == last))
    assert broken(conn, lived) == {}  # a chain does not know how long it was
    (cut,) = replay(conn, "demo").differences
    assert (cut.n, cut.recorded) == (None, None)
    conn.execute(delete(entries).where(entries.c.n == 9))
    assert broken(conn, lived) == {"ledger": "entry 10: number, link or hash is not its own"}
    assert len(replay(conn, "demo").differences) == 2


def test_a_missing_and_a_changed_artifact_are_named(conn: Connection, lived: Path) -> None:
    files = sorted((lived / "artifacts").glob("*.onnx"))
    data = files[0].read_bytes()
    files[0].write_bytes(data + b"x")
    assert "was changed" in broken(conn, lived)["artifacts"]
    files[0].unlink()
    assert f"artifact {files[0].stem} is missing" in broken(conn, lived)["artifacts"]
    files[0].write_bytes(data)
    assert broken(conn, lived) == {}


def test_on_another_cpu_evidence_may_differ_in_its_last_bits_but_a_verdict_may_not(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = select(entries.c.n, entries.c.basis).where(entries.c.kind == "keep")
    n, text = conn.execute(asked.order_by(entries.c.n).limit(1)).one()
    basis = json.loads(text)
    basis["loss"]["evidence"] *= 1 + 1e-12
    conn.execute(update(entries).where(entries.c.n == n).values(basis=ledger.written(basis)))
    assert replay(conn, "demo").close == 0
    monkeypatch.setattr(replaying, "this_build", lambda: this_build() | {"cpu": "another"})
    found = replay(conn, "demo")
    assert (found.close, found.differences) == (1, ())
    conn.execute(update(entries).where(entries.c.n == n).values(kind="promote"))
    assert fields(replay(conn, "demo")) >= {(n, "kind")}
