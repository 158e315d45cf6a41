"""Logging in and out; what is kept is a session that the API signed, and only in this process."""

from typing import Any, Final

import httpx
import streamlit as st

from continualml.app.dashboard import single
from continualml.app.dashboard.asking import ENDED, SESSION, RefusedError, post, said_plainly
from continualml.app.dashboard.words import moment

_GOES_ON: Final = "goes_on"


def is_in() -> bool:
    """Say whether somebody is logged in."""
    return SESSION in st.session_state


@said_plainly
def form() -> None:
    """Ask for the password or a token."""
    _, middle, _ = st.columns([1, 2, 1])
    with middle:
        st.title("Continual ML")
        st.write("Log in to see what the loop does and why.")
        if st.session_state.pop(ENDED, False):
            st.info("Your session has ended. Log in again.", icon=":material/schedule:")
        if why := st.session_state.pop(_GOES_ON, None):
            st.warning(
                f"You are logged out here, but the API could not end the session ({why}); it ends "
                "by itself after eight hours.",
                icon=":material/warning:",
            )
        if single.is_offered():
            single.offer()
        with st.form("login", border=True):
            secret = st.text_input("Password or API token", type="password", max_chars=500)
            asked = st.form_submit_button("Log in", type="primary", width="stretch")
        st.caption(
            "The admin token is in the file `admin.token` of the data directory (`.continual/` "
            "unless set). `continual token create NAME --scope read` makes one that may only read. "
            "A password works once `DASHBOARD_PASSWORD` or `DASHBOARD_PASSWORD_FILE` is set for "
            "the API; there is no default one."
        )
        if asked and not secret:
            st.warning("Type the password or a token first.", icon=":material/keyboard:")
        elif asked:
            with st.spinner("Checking…"):
                session: dict[str, Any] = post("/login", {"secret": secret.strip(), **_source()})
            st.session_state[SESSION] = session
            st.rerun()


def leave() -> None:
    """Offer to log out, and say how long the session lasts."""
    if st.button("Log out", icon=":material/logout:", width="stretch"):
        on = _ended()
        st.session_state.clear()
        if on:
            st.session_state[_GOES_ON] = on
        if single.is_known():
            single.leave()
        else:
            st.rerun()
    st.caption(f"Logged in until {moment(st.session_state[SESSION]['ends_at'])}")


def _ended() -> str | None:
    """End the session at the API; return why it goes on there, if it does."""
    try:
        post("/logout", {})
    except httpx.TransportError as error:
        return type(error).__name__
    except RefusedError as error:
        return None if error.status == httpx.codes.UNAUTHORIZED else str(error)
    return None


def _source() -> dict[str, str]:
    address = st.context.ip_address
    return {"source": address} if isinstance(address, str) else {}
