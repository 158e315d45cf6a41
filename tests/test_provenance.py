from dataclasses import replace

from continualml import decide
from continualml.model import Model
from continualml.records import Built, Declared
from tests.test_decide import MODEL, trained

BUILD = {"continualml": "9.9", "numpy": "2"}


def begun(model: Model = MODEL) -> decide.Known:
    known, _ = decide.advance(decide.Known(), 1, Declared(model=model))
    known, _ = decide.advance(known, 2, Built(build=BUILD))
    known, _ = decide.advance(known, 3, trained("first", 1, 100))
    return known


def test_every_decision_names_outcome_policy_seed_and_code() -> None:
    model = replace(MODEL, seed=5)
    known, (said,) = decide.advance(begun(model), 4, trained("short", 2, 100))
    assert decide.with_provenance(said, known, 4, "ab").basis == said.basis | {
        "decided_from": {
            "outcome": 4,
            "sha256": "ab",
            "policy": decide.policy_hash(model),
            "seed": 5,
            "code": "9.9",
        }
    }
    assert decide.policy_hash(model) != decide.policy_hash(MODEL)


def test_the_declaration_stands_in_full_where_it_comes_into_force() -> None:
    known, _ = decide.advance(decide.Known(), 1, Declared(model=MODEL))
    known, (first,) = decide.advance(known, 2, trained("first", 1, 100))
    assert first.basis["model"]["policy"]["false_alarms"] == 2_000
    calmer = replace(MODEL, policy=replace(MODEL.policy, false_alarms=9_000))
    known, (said,) = decide.advance(known, 3, Declared(model=calmer))
    assert said.basis["model"]["policy"]["false_alarms"] == 9_000
    told = decide.with_provenance(said, known, 3, "").basis["decided_from"]
    assert told["policy"] == decide.policy_hash(calmer)


def test_another_build_is_said_and_leaves_everything_else_as_it_is() -> None:
    before = begun()
    after, (said,) = decide.advance(before, 4, Built(build=BUILD | {"numpy": "3"}))
    assert (said.kind, said.version, said.because) == (
        "build",
        1,
        "the loop runs on continualml 9.9, numpy 3",
    )
    assert said.basis == {"build": BUILD | {"numpy": "3"}}
    assert after.standing is not None
    assert before.standing == replace(after.standing, seq=3)
    assert after.build["numpy"] == "3"


def test_before_the_first_champion_a_build_is_said_without_a_version() -> None:
    known, _ = decide.advance(decide.Known(), 1, Declared(model=MODEL))
    known, (said,) = decide.advance(known, 2, Built(build=BUILD))
    assert (said.model, said.version, known.standing) == ("m", None, None)
    told = decide.with_provenance(said, known, 2, "").basis["decided_from"]
    assert told["policy"] == decide.policy_hash(MODEL)
