import numpy as np
import pytest

from continualml import decide, demo
from continualml.errors import InputError
from continualml.loop import explain, reasons
from continualml.scoring.session import Session
from continualml.store import artifacts, ledger, log, pointers
from continualml.store.engine import read, write
from continualml.store.log import Labelled, Observed
from tests.conftest import Home, numeric


def ask(home: Home, observation_id: str, *values: float) -> list[float]:
    """Log a row with what version 1 answers for it."""
    row = numeric(*values)
    with write(home.engine) as conn:
        known = pointers.version(conn, "demo", 1)
        assert known is not None
        session = Session(artifacts.read(home.directory / "artifacts", known.sha256))
        rows, _ = demo.generate(1, seed=0, noise=0.0, drift=0.0)
        rows.numeric[0] = values
        answer = session.answer(rows)[0]
        one = Observed(
            model="demo",
            observation_id=observation_id,
            numeric=row,
            categorical=None,
            version=1,
            answer=answer.astype("<f8").tobytes(),
            recorded_at=1_800_000_000.0,
            trace="4bf92f3577b34da6a3ce929d0e0e4736",  # pragma: allowlist secret
        )
        log.append_observations(conn, [one])
    return [float(v) for v in answer]


def values(n: int) -> np.ndarray:
    return demo.generate(n, seed=9, noise=0.0, drift=0.0)[0].numeric


def test_an_answer_leads_to_version_rows_decision_policy_labels_and_todays_champion(
    home: Home,
) -> None:
    answer = ask(home, "order-7", *values(1)[0])
    home.send(2_000, seed=2, drift=1.5)
    home.loop.turn("demo")
    with write(home.engine) as conn:
        late = Labelled(observation_id="order-7", label="yes")
        log.append_labels(conn, demo.DEMO, [late], 1_800_000_100.0)
    with read(home.engine) as conn:
        told = explain.observation(conn, home.directory / "artifacts", demo.DEMO, "order-7")
        champion = pointers.pointed(conn, "demo")["champion"]
        first = ledger.entries(conn, kinds=("first",))[0]
    assert list(told["answer"]["probabilities"].values()) == answer
    assert told["version"]["training_rows"] == 480
    assert told["version"]["training_ranges"] == [[1, 480]]
    assert (told["version"]["version"], told["version"]["strategy"]) == (1, "first")
    assert told["installed_by"]["n"] == first.n
    assert told["policy"]["hash"] == decide.policy_hash(demo.DEMO)
    assert told["policy"]["policy"]["false_alarms"] == 10_000
    assert [(v["label"], v["recorded_at"]) for v in told["labels"]] == [("yes", 1_800_000_100.0)]
    assert champion != 1
    assert told["now"]["version"] == champion
    assert told["now"]["probabilities"] != told["answer"]["probabilities"]
    assert told["trace"] == "4bf92f3577b34da6a3ce929d0e0e4736"  # pragma: allowlist secret
    assert told["recorded_at"] == "2027-01-15T08:00:00+00:00"


def test_who_asks_for_what_is_not_there_is_told_so(home: Home) -> None:
    with read(home.engine) as conn:
        with pytest.raises(InputError, match="expected an observation of demo, got 'nobody'"):
            explain.observation(conn, home.directory, demo.DEMO, "nobody")
        with pytest.raises(InputError, match="expected the number of a decision, got 99"):
            reasons.decision(conn, 99)


def test_a_row_without_an_answer_has_no_version_to_explain(home: Home) -> None:
    home.send(1, seed=5)
    with read(home.engine) as conn:
        told = explain.observation(conn, home.directory / "artifacts", demo.DEMO, "5-0")
    assert (told["version"], told["answer"], told["installed_by"]) == (None, None, None)
    assert told["now"]["version"] == 1


def test_a_promotion_is_explained_by_its_evidence_and_what_stands_around_it(home: Home) -> None:
    home.send(2_000, seed=2, drift=1.5)
    home.loop.turn("demo")
    with read(home.engine) as conn:
        promoted = ledger.entries(conn, kinds=("promote",), limit=100)[-1]
        told = reasons.decision(conn, promoted.n)
    place = promoted.decision.basis["place"]
    proof = next(s for s in told["evidence"] if s.startswith(f"{place} (version "))
    assert proof.endswith(", reached")
    assert any("promised of the champion, on average: brier at most" in s for s in told["evidence"])
    assert told["decided_from"]["policy"] == decide.policy_hash(demo.DEMO)
    assert told["build"] == home.loop.build
    assert [e["n"] - promoted.n for e in told["around"]][:2] == [-2, -1]


def test_every_kind_of_decision_is_explained_in_sentences(home: Home) -> None:
    home.send(900, seed=3, drift=1.0)
    home.loop.turn("demo")
    with read(home.engine) as conn:
        whole = ledger.entries(conn, limit=1_000)
    said = {str(e.decision.kind): list(reasons.sentences(e.decision)) for e in whole}
    assert {"first", "keep", "accept", "build"} <= set(said)
    assert all(sentences for kind, sentences in said.items() if kind != "build")
