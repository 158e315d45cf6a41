"""A notice: what happened, why, and where to look; every channel shows it in its own way."""

import math
from dataclasses import dataclass
from typing import Literal

Tone = Literal["good", "bad", "warning", "plain"]
_Z = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing that people are told.

    Parameters
    ----------
    event
        What kind of thing it is, as in docs/notifications.md.
    what
        What happened, in a sentence or two.
    why
        Evidence against thresholds, a sentence each; the most telling first.
    facts
        (name, value) for a table: versions, accuracy before and after, rows.
    section
        Anchor in the runbook.
    at
        When it happened: UTC, ISO 8601.
    """

    event: str
    tone: Tone
    title: str
    what: str
    section: str
    at: str
    why: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Where people look: pages that a notice leads to; None where there are none."""

    dashboard: str | None = None
    runbook: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """So many right answers of so many labelled rows."""

    right: int
    n: int

    def __str__(self) -> str:
        """Write the share with its 95 % interval (Wilson 1927), which assumes no dependence."""
        p, z = self.right / self.n, _Z
        scale = 1 + z * z / self.n
        middle = (p + z * z / (2 * self.n)) / scale
        half = z * math.sqrt(p * (1 - p) / self.n + z * z / (4 * self.n * self.n)) / scale
        low, high = max(0.0, middle - half), min(1.0, middle + half)
        return f"{p:.1%} (95 % interval {low:.1%} to {high:.1%}, {self.n:,} rows)"
