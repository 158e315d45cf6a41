"""Numbers and instants as people read them, in the zone of who looks."""

from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

# A word and a sign for each kind of decision: nothing is told by colour alone.
SIGNS: Final = {
    "first": ("●", "first champion"),
    "promote": ("▲", "promoted"),
    "follow": ("△", "refit taken over"),
    "rollback": ("▼", "taken back"),
    "alarm": ("◆", "alarm"),
    "recover": ("✔", "recovered"),
    "policy": ("✎", "policy changed"),
    "refuse": ("✕", "refit refused"),
    "accept": ("○", "refit kept"),
    "keep": ("·", "nothing changed"),
    "build": ("⚙", "software changed"),
    "collect": ("⌫", "old rows and files deleted"),
}
STATES: Final = {
    "ok": (":material/check_circle:", "ok"),
    "degraded": (":material/warning:", "degraded"),
    "down": (":material/cancel:", "down"),
}
_STEPS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def zone() -> ZoneInfo:
    """Return the viewer's zone, UTC where the browser does not say."""
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def moment(at: str | float | None) -> str:
    """Write an instant (ISO 8601, or seconds since 1970) in the viewer's zone."""
    if at is None:
        return "-"
    there = datetime.fromtimestamp(at, UTC) if isinstance(at, float) else datetime.fromisoformat(at)
    return f"{there.astimezone(zone()):%Y-%m-%d %H:%M:%S %Z}"


def span(seconds: float | None) -> str:
    """Write a length of time with two units at most."""
    if seconds is None:
        return "-"
    if seconds < 10:  # noqa: PLR2004  below that, tenths say something
        return f"{seconds:.1f} s"
    parts, left = [], round(seconds)
    for name, size in _STEPS:
        n, left = divmod(left, size)
        if n:
            parts.append(f"{n} {name}")
    return " ".join(parts[:2]) or "0 s"


def number(value: Any) -> str:
    """Write a number with as many digits as say something."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"  # noqa: PLR2004  digits


def named(metric: str) -> str:
    """Write a metric's name."""
    return metric.replace("_", " ").capitalize()


def sign(kind: str) -> str:
    """Write a kind of decision as a sign and words."""
    mark, words = SIGNS.get(kind, ("·", kind))
    return f"{mark} {words}"
