"""Jobs that were started here, and how they stand."""

import time
from typing import Any

import streamlit as st

from continualml.app.dashboard.asking import get, post


def begin(kind: str, policy: dict[str, Any] | None = None) -> None:
    """Ask the API for a job of a kind; the page remembers it."""
    name = st.session_state["model"]
    told = post(f"/models/{name}/jobs", {"kind": kind, "policy": policy or {}})
    st.session_state[_key(kind)] = {**told, "began": time.monotonic()}


def known(kind: str) -> dict[str, Any] | None:
    """Tell how the job of this kind stands that was begun last; None without one."""
    job: dict[str, Any] | None = st.session_state.get(_key(kind))
    if job is not None and job["state"] == "running":
        job |= get(f"/jobs/{job['job']}")
    return job


def _key(kind: str) -> str:
    return f"job:{kind}:{st.session_state['model']}"
