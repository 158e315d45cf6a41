"""What is sent and how its answer is read, and when to try again; nothing here sends."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

import httpx
import msgspec

Value = float | int | str | None
_FIRST_S = 0.1
_LONGEST_S = 10.0
_PASSES = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}

T = TypeVar("T")


class UnavailableError(RuntimeError):
    """The API could not be reached, or could not record anything, for as long as was tried.

    Whether the last try was recorded is not known. Sending the same rows under the same ids again
    does no harm.
    """


class RefusedError(ValueError):
    """The API refused the request: trying again does not heal it.

    Parameters
    ----------
    status
        Of HTTP.
    problem
        The problem document (RFC 9457): ``detail``, and often ``where`` and ``remedy``.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = problem
        remedy = f"; {problem['remedy']}" if problem.get("remedy") else ""
        super().__init__(f"{status}: {problem.get('detail', 'no problem document')}{remedy}")


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What a version answered for one row: the likeliest class with all probabilities, or a value.

    ``version`` is None while it is read; the client fills it in.
    """

    observation_id: str
    prediction: str | float
    probabilities: dict[str, float] | None = None
    version: int | None = None


class LabelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one label, and why if it was rejected."""

    observation_id: str
    revision: int
    verdict: Literal["accepted", "duplicate", "superseded", "pending", "rejected"]
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The label of one observation; a correction comes with a higher revision."""

    observation_id: str
    label: str | bool | float
    revision: int = 0


class _Answers(msgspec.Struct):
    predictions: list[Prediction]
    version: int | None = None


class _Verdicts(msgspec.Struct):
    labels: list[LabelAnswer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request, the same at each try, and how its answer is read."""

    method: str
    path: str
    read: Callable[[bytes], T]
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """Worth another try, after so many seconds if the API said when."""

    because: str
    after_s: float | None = None


@dataclass(slots=True)
class Pauses:
    """The seconds before each further try: doubled each time, up to ten, and spread by chance."""

    tries: int
    _next_s: float = field(default=_FIRST_S)

    def __iter__(self) -> Iterator[int]:
        """Count the tries that are left after each one."""
        return iter(range(self.tries - 1, -1, -1))

    def pause_s(self, again: Again) -> float:
        """Tell how long to wait now."""
        wait_s = self._next_s * (0.5 + secrets.randbelow(1000) / 1000)  # not all at one instant
        self._next_s = min(2 * self._next_s, _LONGEST_S)
        return max(wait_s, min(again.after_s or 0.0, _LONGEST_S))


def predictions(
    model: str | None, rows: Sequence[Mapping[str, Value]], ids: Sequence[str | None]
) -> Call[list[Prediction]]:
    """Ask for the answers to some rows; one without an id gets a new one here."""
    named = [
        {"observation_id": given or new_id(), "features": row}
        for row, given in zip(rows, ids, strict=True)
    ]
    return Call(
        method="POST",
        path="/predict" if model is None else f"/models/{quote(model, safe='')}/predict",
        body=msgspec.json.encode({"instances": named}),
        read=_read_predictions,
    )


def labels(model: str | None, truths: Sequence[Truth]) -> Call[list[LabelAnswer]]:
    """Tell the truth for some observations."""
    body: dict[str, Any] = {"labels": truths}
    if model is not None:
        body["model"] = model
    return Call(
        method="POST",
        path="/labels",
        body=msgspec.json.encode(body),
        read=lambda answer: msgspec.json.decode(answer, type=_Verdicts).labels,
    )


def status(model: str | None) -> Call[dict[str, Any]]:
    """Ask for versions, champion, detectors and alarms."""
    return Call(
        method="GET",
        path="/model-status" if model is None else f"/models/{quote(model, safe='')}",
        read=lambda answer: msgspec.json.decode(answer, type=dict[str, Any]),
    )


def outcome(call: Call[T], answer: httpx.Response) -> T | Again:
    """Read an answer, or say that trying again may help.

    Raises
    ------
    RefusedError
        If it will not.
    """
    if answer.is_success:
        return call.read(answer.content)
    try:
        problem = msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.MsgspecError:  # from something in between
        problem = {}
    if answer.status_code not in _PASSES:
        raise RefusedError(answer.status_code, problem)
    said = answer.headers.get("retry-after", "")
    after_s = float(said) if said.isascii() and said.isdigit() else None
    because = problem.get("detail", answer.reason_phrase)
    return Again(f"{answer.status_code}: {because}", after_s)


def new_id() -> str:
    """Make an id that sorts by time: milliseconds first, then 80 bits of chance."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def _read_predictions(answer: bytes) -> list[Prediction]:
    found = msgspec.json.decode(answer, type=_Answers)
    return [
        one if one.version is not None else msgspec.structs.replace(one, version=found.version)
        for one in found.predictions
    ]
