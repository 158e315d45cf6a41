"""From states of components to what changed in them, once it has lasted; and to its notice."""

from collections.abc import Mapping
from dataclasses import dataclass

from continualml.notices.notice import Notice

OK, DEGRADED, DOWN = "ok", "degraded", "down"
SECTIONS = {"loop": "cycle-too-old"}  # headings of docs/runbook.md
COMPONENT_DOWN, COMPONENT_UP = "component down", "component up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """How a component is now, and why if it is not ok."""

    status: str
    because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What was said last of a component, and what it has been since ``since_s``.

    ``said_s`` is when that was said; both in seconds since 1970.
    """

    said: str = OK
    said_s: float = 0.0
    status: str = OK
    since_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A component is another than was said last, since ``since_s`` (seconds since 1970).

    ``lasted_s`` is how long it was what it was before.
    """

    name: str
    before: str
    status: str
    because: str
    since_s: float
    lasted_s: float


def step(
    watched: Mapping[str, Watched], seen: Mapping[str, Component], *, at_s: float, settle_s: float
) -> tuple[dict[str, Watched], tuple[Change, ...]]:
    """Take in a look at all components; what has been otherwise for ``settle_s`` is a change.

    What is well when it is first seen is no change, and what comes back sooner was none. Who was
    not looked at stays as it was.
    """
    after = dict(watched)
    changes: list[Change] = []
    for name, component in seen.items():
        one = watched.get(name, Watched(said_s=at_s, since_s=at_s))
        if component.status != one.status:
            one = Watched(said=one.said, said_s=one.said_s, status=component.status, since_s=at_s)
        if one.status != one.said and at_s - one.since_s >= settle_s:
            changes.append(
                Change(
                    name=name,
                    before=one.said,
                    status=one.status,
                    because=component.because,
                    since_s=one.since_s,
                    lasted_s=one.since_s - one.said_s,
                )
            )
            one = Watched(
                said=one.status, said_s=one.since_s, status=one.status, since_s=one.since_s
            )
        after[name] = one
    return after, tuple(changes)


def notice_of(change: Change, *, at: str) -> Notice:
    """Write the notice of a change; ``at`` is ``since_s`` in ISO 8601."""
    up = change.status == OK
    how = {OK: "up again", DEGRADED: "degraded", DOWN: "down"}[change.status]
    minutes = change.lasted_s / 60
    facts = [("Before", change.before)]
    if up:
        facts.append((f"Was {change.before} for", f"{minutes:,.0f} min"))
    return Notice(
        event=COMPONENT_UP if up else COMPONENT_DOWN,
        tone="good" if up else "bad" if change.status == DOWN else "warning",
        title=f"{change.name} is {how}",
        what=f"The component {change.name} is {how}."
        if up
        else f"The component {change.name} is {how}: {change.because or 'no reason is known'}.",
        facts=tuple(facts),
        section="all-is-well" if up else SECTIONS.get(change.name, "component-down"),
        at=at,
    )
