"""Turning the pages of a list that grows: the newest first."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator


def turn(key: str, newest: DeltaGenerator, older: DeltaGenerator, following: int | None) -> None:
    """Offer the newest page and an older one.

    Parameters
    ----------
    key
        Of the session: before which entry the page that is shown begins; absent for the newest.
    newest, older
        Where the buttons stand.
    following
        Before which entry the older page begins; None where there is none.
    """
    if key in st.session_state and newest.button("Newest", icon=":material/first_page:"):
        del st.session_state[key]
        st.rerun()
    if following and older.button("Older", icon=":material/chevron_right:"):
        st.session_state[key] = following
        st.rerun()
