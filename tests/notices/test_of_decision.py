"""Which decisions people are told of, and what the notice says."""

from typing import Any

import pytest

from continualml.notices.notice import Share
from continualml.notices.of_decision import (
    DIAGNOSES,
    DRIFT,
    FAILED,
    FIRST,
    PROMOTED,
    RECOVERED,
    REJECTED,
    RETRAINED,
    RETRAINING,
    ROLLED_BACK,
    Seen,
    events_of,
    notice_of,
)
from continualml.records import Decision, DecisionKind, LedgerEntry

SHIFT: dict[str, Any] = {"diagnosis": "covariate shift", "began": 7}
CHANGE: dict[str, Any] = {"diagnosis": "concept change", "began": 812}
UNFIT: dict[str, Any] = {"unfit": {"guard": "errors", "version": 4, "because": "30 of 40 rows"}}
EVIDENCE = "worse than promised: evidence 4e+04 of 3.9e+04, reached"


def decision(kind: DecisionKind, version: int | None = 9, **basis: Any) -> Decision:
    return Decision(
        model="loan", kind=kind, seq=900, because="it was so", basis=basis, version=version
    )


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (decision("first"), (FIRST,)),
        (decision("keep"), ()),
        (decision("build"), ()),
        (decision("alarm", **SHIFT), (DRIFT,)),
        (decision("alarm", **CHANGE), (DRIFT, RETRAINING)),
        (decision("promote", **{"from": 3}), (PROMOTED,)),
        (decision("rollback", **{"from": 3}), (ROLLED_BACK,)),
        (decision("recover"), (RECOVERED,)),
        (decision("accept", strategy="newest-500"), ()),
        (decision("follow", strategy="newest-500"), ()),
        (decision("refuse", strategy="newest-500"), ()),
        (decision("accept", strategy="since-alarm"), (RETRAINED,)),
        (decision("refuse", strategy="since-alarm"), (REJECTED,)),
        (decision("refuse", None, strategy="newest-500"), (FAILED,)),
        (decision("keep", **UNFIT), (FAILED,)),
    ],
)
def test_what_changes_something_is_told_and_what_is_routine_is_not(
    said: Decision, told: tuple[str, ...]
) -> None:
    assert events_of(said, on_alarm=False, failed_before=False, goes_on=False) == told


def test_where_learning_waits_for_an_alarm_no_refit_is_routine() -> None:
    refused = decision("refuse", strategy="newest-500")
    assert events_of(refused, on_alarm=True, failed_before=False, goes_on=False) == (REJECTED,)


def test_a_strategy_that_fails_again_and_again_is_told_once() -> None:
    failed = decision("refuse", None, strategy="newest-500")
    assert events_of(failed, on_alarm=False, failed_before=True, goes_on=False) == ()


def test_an_alarm_that_goes_on_is_told_once_and_so_is_what_is_trained_since_it() -> None:
    for said in (decision("alarm", **CHANGE), decision("accept", strategy="since-alarm")):
        assert events_of(said, on_alarm=False, failed_before=False, goes_on=True) == ()
    promoted = decision("promote", **{"from": 3})
    assert events_of(promoted, on_alarm=False, failed_before=False, goes_on=True) == (PROMOTED,)


def entry(said: Decision) -> LedgerEntry:
    at = "2026-11-24T12:00:00.000+00:00"
    return LedgerEntry(n=17, decision=said, recorded_at=at, previous_hash="", hash="")


def test_a_promotion_names_versions_evidence_and_accuracy_before_and_after() -> None:
    seen = Seen(
        why=("one bet every 24 rows", "blend: evidence 3 of 9e+04, not reached", EVIDENCE),
        rows=1_200,
        served=Share(right=400, n=500),
        expected=Share(right=45, n=50),
        budgets=(4_000, 10_000),
    )
    told = notice_of(PROMOTED, entry(decision("promote", **{"from": 3})), seen)
    assert told.title == "loan: version 9 promoted"
    assert told.why == (EVIDENCE, "one bet every 24 rows")
    facts = dict(told.facts)
    assert facts["Versions"] == "3 → 9"
    # Wilson's interval, computed by hand: 400 of 500, 45 of 50, z = 1.96
    before = "80.0% (95 % interval 76.3% to 83.3%, 500 rows)"
    assert facts["Accuracy before"] == before
    after = "90.0% (95 % interval 78.6% to 95.7%, 50 rows)"
    assert facts["Accuracy after, expected"] == after
    assert facts["Error level"] == "1 false promotion per 10,000 rows at most"
    assert facts["Labelled rows read"] == "1,200"
    assert facts["Decision"] == "17"
    assert (told.section, told.tone) == ("promotion", "good")


def test_an_alarm_leads_to_the_section_of_what_it_is_taken_for() -> None:
    for diagnosis, section in DIAGNOSES.items():
        alarm = decision("alarm", diagnosis=diagnosis, began=3)
        told = notice_of(DRIFT, entry(alarm), Seen())
        assert told.section == section
        assert told.title == f"loan: drift detected: {diagnosis}"
        broken = diagnosis in {"broken feed", "label fault"}
        assert told.tone == ("bad" if broken else "warning")


def test_an_alarm_has_the_error_level_of_alarms_and_a_command_has_none() -> None:
    seen = Seen(budgets=(4_000, 10_000))
    alarm = notice_of(DRIFT, entry(decision("alarm", **CHANGE)), seen)
    assert dict(alarm.facts)["Error level"] == "1 false alarm per 4,000 rows at most"
    proven = decision("promote", **{"from": 3})
    for promised, said in (
        (10_000, "1 false promotion per 10,000 rows at most"),
        (0.05, "a chance of 0.05, for ever, that what is no better is promoted"),
    ):
        told = notice_of(PROMOTED, entry(proven), Seen(budgets=(4_000, promised)))
        assert dict(told.facts)["Error level"] == said
    by_hand = decision("promote", by_hand="ada@desk", said="try", **{"from": 3})
    assert "Error level" not in dict(notice_of(PROMOTED, entry(by_hand), seen).facts)


def test_what_is_done_by_hand_says_so() -> None:
    by_hand = decision("promote", by_hand="ada@desk", said="try", **{"from": 3})
    assert notice_of(PROMOTED, entry(by_hand), Seen()).title.endswith("promoted by hand")


def test_what_cannot_answer_and_what_cannot_be_trained_are_told_apart() -> None:
    assert notice_of(FAILED, entry(decision("keep", **UNFIT)), Seen()).title == (
        "loan: version 4 cannot answer"
    )
    failed = decision("refuse", None, strategy="trees")
    assert notice_of(FAILED, entry(failed), Seen()).title == "loan: training of trees failed"
