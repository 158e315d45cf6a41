"""That all is well, or what is not: the message that is edited in place, and the daily digest."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from continualml.notices.notice import Notice, Share
from continualml.notices.of_components import OK, Component

OK_EVENT, DIGEST = "ok", "daily digest"
_NOUNS = {
    "alarm": "alarms",
    "promote": "promotions",
    "follow": "refits that answer",
    "accept": "refits accepted",
    "refuse": "refits refused",
    "rollback": "ways back",
    "recover": "recoveries",
    "keep": "looks without a finding",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one model stands.

    Parameters
    ----------
    served
        Right answers of what was served, over the newest labelled rows or those of the day.
    evidence
        Strongest evidence for an alarm, as a share of its threshold; 1 is an alarm.
    decisions
        Of the day, by kind.
    moved_again
        Moves of columns since the last one that was said, by column.
    """

    champion: int | None
    served: Share | None = None
    evidence: float | None = None
    incident: str | None = None
    rows: int = 0
    decisions: Mapping[str, int] = field(default_factory=dict)
    moved_again: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """How everything stands at ``at``, and what happened since ``since`` (UTC, ISO 8601)."""

    models: Mapping[str, Standing]
    components: Mapping[str, Component]
    at: str
    since: str | None = None


def ok(day: Day) -> Notice:
    """Say that every check was well, or which was not."""
    faults = _faults(day)
    return Notice(
        event=OK_EVENT,
        tone="warning" if faults else "good",
        title="Attention" if faults else "OK",
        what=f"Not as it should be: {'; '.join(faults)}."
        if faults
        else "Every model keeps its promise and every component is well.",
        facts=_facts(day),
        section="all-is-well",
        at=day.at,
    )


def digest(day: Day) -> Notice:
    """Say what a day brought."""
    faults = _faults(day)
    what = f"Since {day.since}. "
    return Notice(
        event=DIGEST,
        tone="warning" if faults else "good",
        title="Daily digest",
        what=what + (f"Not as it should be: {'; '.join(faults)}." if faults else "All is well."),
        facts=_facts(day),
        section="all-is-well",
        at=day.at,
    )


def _faults(day: Day) -> list[str]:
    faults = [
        f"{name} is {c.status}" + (f" ({c.because})" if c.because else "")
        for name, c in day.components.items()
        if c.status != OK
    ]
    faults += [f"{name}: {s.incident} is open" for name, s in day.models.items() if s.incident]
    return faults + [
        f"{name} has no champion yet" for name, s in day.models.items() if s.champion is None
    ]


def _facts(day: Day) -> tuple[tuple[str, str], ...]:
    facts = [(name, "\n".join(_lines(standing))) for name, standing in day.models.items()]
    well = ", ".join(f"{name} {c.status}" for name, c in day.components.items())
    return (*facts, ("Components", well)) if well else tuple(facts)


def _lines(s: Standing) -> list[str]:
    lines = [f"champion: version {s.champion}" if s.champion is not None else "no champion yet"]
    if s.served is not None:
        lines.append(f"accuracy served: {s.served}")
    if s.evidence is not None:
        lines.append(f"evidence for an alarm: {s.evidence:.0%} of its threshold")
    lines.append(f"labelled rows read: {s.rows:,}")
    if s.moved_again:
        again = ", ".join(f"{name} {n}" for name, n in s.moved_again.items())
        lines.append(f"moved again since that was said: {again}")
    lines += [f"{_NOUNS[kind]}: {n}" for kind, n in s.decisions.items() if kind in _NOUNS]
    return lines
