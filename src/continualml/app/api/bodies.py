"""What clients send: read with a limit, decoded strictly, named in errors as they wrote it."""

import re
from typing import Annotated, NamedTuple, TypeVar

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from continualml.app.api.problems import ProblemError
from continualml.errors import InputError, Said

# Printable: PostgreSQL refuses NUL in a text, and people read these in logs.
ObservationId = Annotated[
    str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
]


class Instance(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One row; the same id with the same features gives the recorded answer again."""

    features: dict[str, object]
    observation_id: ObservationId | None = None


class PredictBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Either ``features`` (one row, with its optional id) or ``instances`` (many)."""

    features: dict[str, object] | None = None
    observation_id: ObservationId | None = None
    instances: list[Instance] | None = None


class Asked(NamedTuple):
    """Rows that shall be predicted, and their ids, None where the client named none."""

    instances: list[dict[str, object]]
    ids: list[str | None]
    single: bool


class LabelItem(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The truth for one observation; a correction comes with a higher revision."""

    observation_id: ObservationId
    label: str | bool | int | float
    revision: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0


class LabelsBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Labels of one model; the default model where none is named."""

    labels: list[LabelItem]
    model: str | None = None


class GenerateBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How many labelled rows of the built-in linear problem, and which."""

    n: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 0
    noise: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 0.1
    drift: Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)] = 0.0
    model: str | None = None


_PREDICT = msgspec.json.Decoder(PredictBody)
_LABELS = msgspec.json.Decoder(LabelsBody)
_GENERATE = msgspec.json.Decoder(GenerateBody)
_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_AT_BYTE = re.compile(r"\(byte (\d+)\)")
_NO_JSON = re.compile(rb"NaN|Infinity")  # as Python's and JavaScript's libraries write them

# What msgspec raises over bytes that are no JSON, or too deep; of a wrong type it is the first too.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

T = TypeVar("T")


async def receive_body(scope: Scope, receive: Receive, most_bytes: int) -> bytes:
    """Collect the body, and stop reading as soon as it is too large, said or unsaid.

    Raises
    ------
    ProblemError
        413 if it is larger than ``most_bytes``.
    ClientDisconnect
        If the client went away.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > most_bytes:
            raise _too_large(most_bytes)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) > most_bytes:
            raise _too_large(most_bytes)
        return body
    parts = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts += message.get("body", b"")
        if len(parts) > most_bytes:
            raise _too_large(most_bytes)
        if not message.get("more_body"):
            return bytes(parts)
        message = await receive()


def predict(body: bytes, most_rows: int) -> Asked:
    """Read what shall be predicted; at least one row.

    Raises
    ------
    ProblemError
        400 if it is no JSON, 413 if there are more than ``most_rows`` rows.
    InputError
        If it does not have the form of a prediction request.
    """
    asked = decode(_PREDICT, body)
    if asked.features is not None and asked.instances is None:
        return Asked([asked.features], [asked.observation_id], single=True)
    if asked.instances is None or asked.features is not None:
        both = asked.instances is not None
        raise InputError(
            "body",
            expected="either `features` (one row) or `instances` (many)",
            got=Said("both" if both else "neither"),
        )
    if asked.observation_id is not None:
        raise InputError(
            "observation_id",
            expected="an id inside each of the instances",
            got=asked.observation_id,
        )
    check_rows(len(asked.instances), most_rows, "instances")
    rows, ids = [i.features for i in asked.instances], [i.observation_id for i in asked.instances]
    return Asked(rows, ids, single=False)


def labels(body: bytes, most_rows: int) -> LabelsBody:
    """Read labels; at least one.

    Raises
    ------
    ProblemError
        400 if it is no JSON, 413 if there are more than ``most_rows``.
    InputError
        If it does not have the form of labels.
    """
    asked = decode(_LABELS, body)
    check_rows(len(asked.labels), most_rows, "labels")
    return asked


def generate(body: bytes) -> GenerateBody:
    """Read what to generate; an empty body means the defaults.

    Raises
    ------
    ProblemError
        400 if it is no JSON.
    InputError
        If a value lies outside its range.
    """
    return decode(_GENERATE, body) if body.strip() else GenerateBody()


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a body strictly; see ``predict`` for what it raises."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        found = _PATH.match(str(error))
        path = (found["path"] if found else None) or "$"
        where = path.removeprefix("$").removeprefix(".").replace("[...]", ".*") or "body"
        what = found["what"] if found else str(error)
        raise ProblemError(422, "invalid-input", f"{where}: {what}", where=where) from None
    except UNREADABLE as error:
        raise unreadable(body, error) from None


def unreadable(body: bytes, error: Exception) -> ProblemError:
    """Say why a body is no JSON, as whichever reader said it."""
    what = f"the body is not JSON that can be read: {error}"
    if (at := _AT_BYTE.search(str(error))) and (word := _NO_JSON.match(body, int(at[1]))):
        what = f"{word[0].decode()} is not JSON; send null"
    return ProblemError(400, "malformed-json", what)


def check_rows(n: int, most: int, where: str) -> None:
    """Refuse no row, and more rows than permitted."""
    if n == 0:
        raise InputError(where, expected="one or more", got=[])
    if n > most:
        raise ProblemError(
            413,
            "too-many-rows",
            f"{where}: expected at most {most} rows, got {n}",
            where=where,
            remedy="send them in several requests; the limit is the setting max_rows",
        )


def _too_large(most_bytes: int) -> ProblemError:
    return ProblemError(
        413,
        "too-large",
        f"the body is larger than {most_bytes} bytes",
        headers={"Connection": "close"},
        remedy="send it in several requests; the limit is the setting max_body_bytes",
    )
