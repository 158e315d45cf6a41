"""Logging in at an OpenID provider; who may is decided by the API, from the provider's own token.

Streamlit does the rounds with the provider and keeps the identity token in a signed cookie that no
script of a page can read; here it is only handed on.
"""

import os
from typing import Any, Final

import httpx
import streamlit as st

from continualml.app.dashboard.asking import SESSION, RefusedError, post
from continualml.app.dashboard.provider import NAME, URL, description

_REFUSED: Final = "refused"
_PATIENCE_S: Final = 5.0


def is_offered() -> bool:
    """Say whether a provider is set."""
    return URL in os.environ


def is_known() -> bool:
    """Say whether the provider knows who looks."""
    return is_offered() and st.user.is_logged_in


def offer() -> None:
    """Let somebody in whom the provider knows, or offer to go there."""
    name = os.environ[NAME]
    if is_known():
        _enter(name)
    if _REFUSED in st.session_state:
        st.error(st.session_state[_REFUSED], icon=":material/block:")
        if st.button("Log in as somebody else", icon=":material/logout:", width="stretch"):
            leave()
    elif st.button(f"Log in with {name}", icon=":material/login:", width="stretch"):
        if _answers(os.environ[URL]):
            st.login()
        else:
            _say_down(name)


def leave() -> None:
    """Forget who looks; where the provider can end its own session, the browser goes there."""
    st.logout()
    st.stop()


def _enter(name: str) -> None:
    """Exchange the identity token for a session, or say why there is none."""
    if _REFUSED in st.session_state:
        return
    try:
        session: dict[str, Any] = post("/login/oidc", {"id_token": st.user.tokens["id"]})
    except RefusedError as error:
        if error.status == httpx.codes.UNAUTHORIZED:
            st.info(f"Your login at {name} is over. Log in again.", icon=":material/schedule:")
        elif error.status == httpx.codes.SERVICE_UNAVAILABLE:
            _say_down(name)
        else:
            remedy = f" {error.remedy[:1].upper()}{error.remedy[1:]}." if error.remedy else ""
            st.session_state[_REFUSED] = f"**You are not let in:** {error}.{remedy}"
    else:
        st.session_state[SESSION] = session
        st.rerun()


def _say_down(name: str) -> None:
    st.error(
        f"**{name} does not answer.** Try again later; the password and tokens work meanwhile.",
        icon=":material/cloud_off:",
    )


def _answers(url: str) -> bool:
    try:
        return httpx.get(description(url), timeout=_PATIENCE_S).is_success
    except httpx.TransportError:
        return False
