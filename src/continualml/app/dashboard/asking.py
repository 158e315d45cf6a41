"""Asking the API: with the session of who looks, and with answers for people where it fails."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec

import httpx
import streamlit as st

P = ParamSpec("P")
SESSION: Final = "session"
ENDED: Final = "ended"
_URL: Final = os.environ.get("CONTINUAL_API_URL", "http://127.0.0.1:8000")
# Looking is never urgent; a page that hangs is worse than one that says so.
_PATIENCE_S: Final = 30.0


class RefusedError(Exception):
    """The API answered with a problem document."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(problem.get("detail", f"HTTP {status}"))
        self.status = status
        self.remedy = problem.get("remedy")
        self.where = problem.get("where")


@st.cache_resource(show_spinner=False)
def _client() -> httpx.Client:
    # The server closes idle connections after 5 s: they are given up before.
    limits = httpx.Limits(keepalive_expiry=2.0)
    return httpx.Client(base_url=_URL, timeout=_PATIENCE_S, trust_env=False, limits=limits)


def get(path: str, **query: Any) -> Any:
    """Read from the API.

    Raises
    ------
    RefusedError
        If it does not give what was asked for.
    httpx.TransportError
        If it does not answer.
    """
    known = {name: value for name, value in query.items() if value is not None}
    return _told(_client().get(path, params=known, headers=_bearer()))


def post(path: str, body: dict[str, Any]) -> Any:
    """Ask the API for something; raises as ``get``."""
    return _told(_client().post(path, json=body, headers=_bearer()))


def health() -> dict[str, Any]:
    """Read the state of every component, also while the whole is down."""
    answer = _client().get("/health", headers=_bearer())
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and "components" in answer.text:
        down: dict[str, Any] = answer.json()
        return down
    told: dict[str, Any] = _told(answer)
    return told


def said_plainly(page: Callable[P, None]) -> Callable[P, None]:
    """Show a page, or say in its place why it cannot be shown and what to do."""

    @wraps(page)
    def shown(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            page(*args, **kwargs)
        except httpx.TransportError as error:
            st.error(
                f"**The API does not answer** ({type(error).__name__} at {_URL}).\n\n"
                "Start it with `continual up`, or `continual serve`. If it runs elsewhere, name it "
                "with `CONTINUAL_API_URL`. This page looks again by itself.",
                icon=":material/cloud_off:",
            )
        except RefusedError as error:
            if error.status == httpx.codes.UNAUTHORIZED and SESSION in st.session_state:
                del st.session_state[SESSION]
                st.session_state[ENDED] = True
                st.rerun()
            remedy = f"\n\n{error.remedy[:1].upper()}{error.remedy[1:]}." if error.remedy else ""
            st.error(f"**The API refused this:** {error}.{remedy}", icon=":material/error:")

    return shown


def _bearer() -> dict[str, str]:
    session = st.session_state.get(SESSION)
    return {"Authorization": f"Bearer {session['token']}"} if session else {}


def _told(answer: httpx.Response) -> Any:
    if answer.is_success:
        return answer.json()
    try:
        problem = answer.json()
    except ValueError:  # not ours: a proxy's page
        problem = {"detail": f"{answer.status_code} {answer.reason_phrase} from {_URL}"}
    raise RefusedError(answer.status_code, problem)
