"""From a decision to what people are told of it, or to nothing: most decisions are routine."""

from dataclasses import dataclass

from continualml.decide import SINCE_ALARM
from continualml.decide.diagnose import (
    BROKEN_FEED,
    CONCEPT_CHANGE,
    COVARIATE_SHIFT,
    LABEL_FAULT,
    LABELS_LATE,
    LABELS_SILENT,
    PRIOR_SHIFT,
)
from continualml.notices.notice import Notice, Share, Tone
from continualml.records import Decision, LedgerEntry

FIRST, DRIFT, RETRAINING, RETRAINED = "first champion", "drift detected", "retraining", "retrained"
PROMOTED, REJECTED, FAILED = "promoted", "rejected", "failed"
ROLLED_BACK, RECOVERED, POLICY = "rolled back", "recovered", "policy changed"

# Headings of docs/runbook.md.
SECTIONS = {
    FIRST: "promotion",
    RETRAINING: "alarm-drift",
    RETRAINED: "alarm-drift",
    PROMOTED: "promotion",
    REJECTED: "rejected",
    FAILED: "training-failed",
    ROLLED_BACK: "rolled-back",
    RECOVERED: "all-is-well",
    POLICY: "all-is-well",
}
DIAGNOSES = {
    CONCEPT_CHANGE: "alarm-drift",
    COVARIATE_SHIFT: "alarm-drift",
    PRIOR_SHIFT: "alarm-drift",
    BROKEN_FEED: "broken-feed",
    LABEL_FAULT: "label-fault",
    LABELS_LATE: "label-lag",
    LABELS_SILENT: "label-lag",
}
UNFIT_SECTION = "rolled-back"
_TONES: dict[str, Tone] = {
    FIRST: "good",
    DRIFT: "warning",
    RETRAINING: "plain",
    RETRAINED: "plain",
    PROMOTED: "good",
    REJECTED: "warning",
    FAILED: "bad",
    ROLLED_BACK: "warning",
    RECOVERED: "good",
    POLICY: "plain",
}
_FAULTS = {BROKEN_FEED, LABEL_FAULT}
_BY_KIND = {
    "first": FIRST,
    "promote": PROMOTED,
    "rollback": ROLLED_BACK,
    "recover": RECOVERED,
    "policy": POLICY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What log and registry say beside the entry itself.

    Parameters
    ----------
    why
        The entry's evidence against its thresholds, in sentences.
    rows
        Labelled rows that the loop had read since the first champion.
    began
        Where the change began, for people.
    served
        Right answers of what was served, over the newest labelled rows up to the decision.
    expected
        Right answers of the new version on rows held back from its fit.
    budgets
        Rows, at least, that were to pass on average until an alarm without a change; and the chance
        that what is not better is ever promoted, or, where the policy says so, rows until then.
    """

    why: tuple[str, ...] = ()
    rows: int | None = None
    began: str | None = None
    served: Share | None = None
    expected: Share | None = None
    budgets: tuple[int, int | float] | None = None


def events_of(
    d: Decision, *, on_alarm: bool, failed_before: bool, goes_on: bool
) -> tuple[str, ...]:
    """Name what people are told of a decision, in order; nothing of what is routine.

    Refits on their schedules come and go all day: the digest counts them.

    Parameters
    ----------
    on_alarm
        The policy learns only after an alarm: no refit is routine then.
    failed_before
        The strategy's fit before this one failed as well, so that was said.
    goes_on
        It is about an alarm that was said, and nothing has come of it yet.
    """
    awaited = on_alarm or d.basis.get("strategy") == SINCE_ALARM
    failed = d.kind == "refuse" and d.version is None
    told: tuple[str, ...] = ()
    if d.kind in _BY_KIND:
        return (_BY_KIND[d.kind],)
    if d.kind == "alarm":
        told = (DRIFT, RETRAINING) if d.basis.get("diagnosis") == CONCEPT_CHANGE else (DRIFT,)
    elif failed or (d.kind == "keep" and "unfit" in d.basis):
        told = () if failed and failed_before else (FAILED,)
    elif awaited and d.kind in {"accept", "follow", "refuse"}:
        told = (REJECTED,) if d.kind == "refuse" else (RETRAINED,)
    return () if goes_on else told


def notice_of(event: str, entry: LedgerEntry, seen: Seen) -> Notice:
    """Write the notice of one of a decision's events."""
    d = entry.decision
    diagnosis = d.basis.get("diagnosis", "")
    drift = event == DRIFT
    tone: Tone = "bad" if drift and diagnosis in _FAULTS else _TONES[event]
    return Notice(
        event=event,
        tone=tone,
        title=f"{d.model}: {_title(event, d)}",
        what=_what(event, d),
        why=() if event == RETRAINING else _telling(seen.why),
        facts=tuple(_facts(event, entry, seen)),
        section=_section(event, d),
        at=entry.recorded_at,
    )


def _section(event: str, d: Decision) -> str:
    if event == DRIFT:
        return DIAGNOSES.get(d.basis.get("diagnosis", ""), "alarm-drift")
    if event == FAILED and "unfit" in d.basis:
        return UNFIT_SECTION
    return SECTIONS[event]


def _telling(why: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out what did not lead to it; what did comes first."""
    kept = [w for w in why if not w.endswith(", not reached")]
    return tuple(sorted(kept, key=lambda w: not w.endswith(", reached")))


def _title(event: str, d: Decision) -> str:
    by_hand = " by hand" if "by_hand" in d.basis else ""
    strategy = d.basis.get("strategy", "a version")
    unfit = d.basis.get("unfit")
    titles = {
        DRIFT: f"drift detected: {d.basis.get('diagnosis', 'unknown')}",
        PROMOTED: f"version {d.version} promoted{by_hand}",
        ROLLED_BACK: f"rolled back to version {d.version}{by_hand}",
        REJECTED: f"version {d.version} rejected",
        RETRAINED: f"version {d.version} retrained, on trial now",
        FAILED: f"version {unfit['version']} cannot answer"
        if unfit
        else f"training of {strategy} failed",
    }
    return titles.get(event, event)


def _what(event: str, d: Decision) -> str:
    if event != RETRAINING:
        return f"{d.because[:1].upper()}{d.because[1:]}."
    return (
        f"A challenger is trained on the rows since number {d.basis['began']}. Version {d.version} "
        "answers until one is proven better."
    )


def _facts(event: str, entry: LedgerEntry, seen: Seen) -> list[tuple[str, str]]:
    d = entry.decision
    moved = event in {PROMOTED, ROLLED_BACK}
    facts: list[tuple[str, str]] = []
    if moved:
        facts.append(("Versions", f"{d.basis.get('from', 'none')} → {d.version}"))
    elif d.version is not None:
        facts.append(("Version", str(d.version)))
    if seen.served is not None:
        facts.append(("Accuracy before" if moved else "Accuracy served", str(seen.served)))
    if seen.expected is not None:
        name = "Accuracy after, expected" if moved else "Accuracy, held-back rows"
        facts.append((name, str(seen.expected)))
    if seen.began is not None and event in {DRIFT, RETRAINING}:
        facts.append(("Began about", seen.began))
    if seen.budgets is not None and (level := _error_level(event, d, seen.budgets)):
        facts.append(("Error level", level))
    if seen.rows is not None:
        facts.append(("Labelled rows read", f"{seen.rows:,}"))
    return [*facts, ("Decision", str(entry.n))]


def _error_level(event: str, d: Decision, budgets: tuple[int, int | float]) -> str | None:
    """Say how often this may happen without a reason; what a person or a guard did has no level."""
    alarms, promotions = budgets
    if event == DRIFT:
        return f"1 false alarm per {alarms:,} rows at most"
    if event in {PROMOTED, ROLLED_BACK} and not {"by_hand", "unfit"} & set(d.basis):
        if isinstance(promotions, float):
            return f"a chance of {promotions:g}, for ever, that what is no better is promoted"
        return f"1 false promotion per {promotions:,} rows at most"
    return None
