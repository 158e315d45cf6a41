"""Keeps an address that is a secret out of what httpx writes about each of its requests."""

import logging
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Without:
    path: str

    def filter(self, record: logging.LogRecord) -> bool:
        return self.path not in record.getMessage()


def about(path: str) -> None:
    """Let httpx write nothing in which this path stands; it writes whole addresses, at INFO."""
    there = logging.getLogger("httpx")
    if _Without(path) not in there.filters:
        there.addFilter(_Without(path))
