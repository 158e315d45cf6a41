"""The body of a request for people's pages, read with a limit and decoded strictly."""

import re
from typing import Final, TypeVar

import msgspec
from fastapi import Request

from continualml.app.api.bodies import UNREADABLE, receive_body, unreadable
from continualml.errors import InputError, Said

T = TypeVar("T", bound=msgspec.Struct)
_PATH: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)


async def body_of(request: Request, kind: type[T], most_bytes: int) -> T:
    """Read what was sent.

    Raises
    ------
    ProblemError
        400 if it is no JSON, 413 if it is too large.
    InputError
        Names the field that is not of the kind.
    """
    sent = await receive_body(request.scope, request.receive, most_bytes)
    try:
        return msgspec.json.decode(sent, type=kind)
    except msgspec.ValidationError as error:
        found = _PATH.match(str(error))
        what, path = (found["what"], found["path"]) if found else (str(error), None)
        got = Said(what.removeprefix("Expected "))
        raise InputError(path or "body", expected=f"as in {kind.__name__}", got=got) from None
    except UNREADABLE as error:
        raise unreadable(sent, error) from None
