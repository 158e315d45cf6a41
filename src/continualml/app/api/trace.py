"""The trace of a request, as W3C Trace Context writes it in the header ``traceparent``."""

import re

from starlette.types import Scope

_NAME = b"traceparent"
# version, trace-id, parent-id, flags; a version after 00 may say more behind a hyphen.
_SHAPE = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_NOBODY, _NOTHING = b"0" * 16, b"0" * 32


def of(scope: Scope) -> str | None:
    """Return the trace-id of a request, 32 hexadecimal digits; None without a valid one.

    A header that is not as https://www.w3.org/TR/trace-context/ wants it (version
    ff, an id of zeros, capital letters, sent twice) is passed over, as it says there.
    None is made up: nobody would know it, and the observation_id names a request already.
    """
    found: bytes | None = None
    for name, value in scope["headers"]:
        if name == _NAME:
            if found is not None:
                return None
            found = value
    return None if found is None else _read(found)


def _read(header: bytes) -> str | None:
    shape = _SHAPE.fullmatch(header.strip(b" \t"))
    if shape is None:
        return None
    version, trace, parent, more = shape.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    return None if trace == _NOTHING or parent == _NOBODY else trace.decode()
