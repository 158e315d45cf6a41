"""What no log may hold: tokens, passwords, addresses that are secrets, wherever they stand."""

import re

HIDDEN = "***"
_SHORTEST = 6
_NAMED = r"[\w-]*(?:passw(?:or)?d|secret|api[_-]?key|token|webhook)[\w-]*"
# Each keeps what tells people which secret it was.
_PATTERNS = tuple(
    (re.compile(pattern, re.IGNORECASE), kept)
    for pattern, kept in (
        # Discord's webhooks, and any stand-in that has their path.
        (r"(/api/(?:v\d+/)?webhooks/)[^\s\"'<>?#\\]+", r"\1***"),
        (r"(//hooks\.slack\.com/\w+/)[^\s\"'<>?#\\]+", r"\1***"),
        (r"(/api/push/)\w+", r"\1***"),  # Uptime Kuma's heartbeats
        (r"(://[^\s/:@\"']*:)[^\s/@]+@", r"\1***@"),
        (r"\b(bearer|basic)(\s+)[\w.~+/=-]{16,}", r"\1\2***"),
        (r"\bct_[\w-]{8,}", "ct_***"),  # our own tokens
        (r"\bcs_[\da-f]{6,}\.[\w.-]{8,}", "cs_***"),  # sessions of people
        (rf"([\"']{_NAMED}[\"']\s*:\s*b?[\"'])[^\"']+", r"\1***"),  # JSON, and what repr writes
        (rf"(\b{_NAMED}=[\"']?)[^\s\"'&,;)]+", r"\1***"),  # query parameters, keyword arguments
    )
)
_known: list[str] = []  # the longest first: one may be a part of another


def hide(*secrets: str) -> None:
    """Hide these from now on, whatever they look like; ones of a few characters are not."""
    there = {*_known, *(s for s in secrets if len(s) >= _SHORTEST)}
    _known[:] = sorted(there, key=len, reverse=True)


def redacted(text: str) -> str:
    """Return the text without what looks like a secret, or is known to be one."""
    for secret in _known:
        text = text.replace(secret, HIDDEN)
    for pattern, kept in _PATTERNS:
        text = pattern.sub(kept, text)
    return text
