"""Errors become RFC 9457 problem documents; the only place that knows HTTP status."""

import http
from collections.abc import Sequence

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from continualml.errors import InputError, came
from continualml.records import Json
from continualml.store.engine import CommitUnknownError, StoreUnavailableError

MEDIA_TYPE = "application/problem+json"
INTERNAL = "internal"
_LONGEST = 200


class ProblemError(Exception):
    """A request that is answered with a problem document.

    Parameters
    ----------
    kind
        Names the problem for programs; the tail of the document's ``type``.
    parts
        Further members of the document, such as ``remedy`` and ``where``.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        **parts: object,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = headers or {}
        self.parts = parts


SCHEMA: Json = {
    "type": "object",
    "description": "What went wrong, as a problem document (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "Names the problem for programs."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "This occurrence, in a sentence."},
        "where": {"type": "string", "description": "The field, as the sender would write it."},
        "expected": {"type": "string"},
        "got": {"type": "string", "description": "What came, shortened."},
        "remedy": {"type": "string", "description": "What to do about it."},
        "observation_ids": {
            "type": "array",
            "items": {"type": "string"},
            "description": "The rows of which it is not known whether they were recorded.",
        },
    },
}
EXAMPLE: Json = {
    "type": "urn:continualml:problem:invalid-input",
    "title": "Unprocessable Content",
    "status": 422,
    "detail": "instances[3].features.age: expected a number, got 'forty' (a string)",
    "where": "instances[3].features.age",
    "expected": "a number",
    "got": "'forty' (a string)",
}


def answer(problem: ProblemError, path: str = "") -> Response:
    """Write the document of a problem, with the members that the clients of ``path`` look for."""
    title = http.HTTPStatus(problem.status).phrase
    body = {
        "type": f"urn:continualml:problem:{problem.kind}",
        "title": title,
        "status": problem.status,
        "detail": problem.detail,
        **{name: part for name, part in problem.parts.items() if part is not None},
        **_of_others(problem, path),
    }
    return Response(
        msgspec.json.encode(body), problem.status, headers=problem.headers, media_type=MEDIA_TYPE
    )


def _of_others(problem: ProblemError, path: str) -> Json:
    """Say it also as other protocols do: the Open Inference Protocol, and MLflow's scoring."""
    if path == "/v2" or path.startswith("/v2/"):
        return {"error": problem.detail}
    if path.endswith("/invocations"):
        internal = problem.status >= http.HTTPStatus.INTERNAL_SERVER_ERROR
        code = "INTERNAL_ERROR" if internal else "BAD_REQUEST"
        return {"error_code": code, "message": problem.detail}
    return {}


def of(error: Exception) -> ProblemError:
    """Say which problem an error is to the client; one that nobody awaited tells nothing."""
    match error:
        case ProblemError():
            problem = error
        case InputError():
            problem = _of_input(error)
        case RequestValidationError():
            problem = _of_validation(error)
        case CommitUnknownError():
            problem = unknown()
        case StoreUnavailableError():
            problem = ProblemError(
                503,
                "store-unavailable",
                "nothing of this request was recorded, because the log cannot be written now",
                headers={"Retry-After": "1"},
                remedy="send it again; if it lasts, see /health and the server's disk",
            )
        case ClientDisconnect():
            problem = ProblemError(400, "disconnected", "the request ended before its body did")
        case HTTPException():
            kind = http.HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
            headers = dict(error.headers or {})
            problem = ProblemError(error.status_code, kind, error.detail, headers=headers)
        case _:
            problem = ProblemError(
                500, INTERNAL, "the server made a mistake; its log has the traceback"
            )
    return problem


def unknown(ids: Sequence[str] | None = None) -> ProblemError:
    """Say that nobody knows whether a request was recorded, and how to find out.

    Parameters
    ----------
    ids
        Those of its rows, if the request has rows.
    """
    return ProblemError(
        503,
        "outcome-unknown",
        "the log did not say in time whether this request was recorded",
        headers={"Retry-After": "1"},
        remedy="send it again, rows with these observation_ids: what was recorded is answered as "
        "it was, what was not is recorded then",
        observation_ids=ids,
    )


def _of_input(error: InputError) -> ProblemError:
    where, got = _short(error.where), _short(came(error.got))
    detail = f"{where}: expected {error.expected}, got {got}"
    return ProblemError(
        422,
        "invalid-input",
        detail if error.remedy is None else f"{detail}; {error.remedy}",
        where=where,
        expected=error.expected,
        got=got,
        remedy=error.remedy,
    )


def _of_validation(error: RequestValidationError) -> ProblemError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    got = _short(repr(first.get("input")))
    return ProblemError(422, "invalid-input", f"{where}: {first['msg']}", where=where, got=got)


def install(app: FastAPI) -> None:
    """Answer every error of the application with a problem document."""

    # Async, because a plain function would be sent to a thread.
    async def handle(request: Request, error: Exception) -> Response:
        return answer(of(error), request.url.path)

    for kind in (
        ProblemError,
        InputError,
        StoreUnavailableError,
        RequestValidationError,
        ClientDisconnect,
        HTTPException,
        Exception,
    ):
        app.add_exception_handler(kind, handle)


def _short(text: str) -> str:
    # Lone surrogates would not survive the way out as UTF-8.
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
