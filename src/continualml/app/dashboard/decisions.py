"""The ledger: what was decided, why, and whether the log still leads to it."""

import time
from typing import Any, Final

import streamlit as st

from continualml.app.dashboard import jobs
from continualml.app.dashboard.asking import get, said_plainly
from continualml.app.dashboard.turning import turn
from continualml.app.dashboard.words import SIGNS, moment, number, sign, span

_PAGE: Final = 50
_MOST: Final = 50  # differences that a replay names
_TELLING: Final = ["first", "promote", "rollback", "alarm", "recover", "policy"]


def page() -> None:
    """Show the page."""
    st.title(f"{st.session_state['model']}: decisions")
    _replay()
    _ledger()


@said_plainly
def _ledger() -> None:
    kinds = st.pills(
        "Kinds",
        list(SIGNS),
        default=_TELLING,
        selection_mode="multi",
        format_func=sign,
        key="kinds",
    )
    before = st.session_state.get("decisions_before")
    told = get(
        "/decisions",
        model=st.session_state["model"],
        kind=kinds or None,
        before=before,
        limit=_PAGE,
    )
    found = told["decisions"]
    if not found:
        st.info("No decision of these kinds.", icon=":material/inbox:")
        return
    chosen = st.dataframe(
        [
            {
                "n": d["n"],
                "decided": sign(d["kind"]),
                "when": moment(d["recorded_at"]),
                "after rows": d["rows"],
                "version": d["version"],
                "why": d["because"],
            }
            for d in found
        ],
        hide_index=True,
        width="stretch",
        height=400,
        on_select="rerun",
        selection_mode="single-row",
        key="ledger",
    )
    first, older, _ = st.columns([1, 1, 4])
    turn("decisions_before", first, older, told["next_before"])
    rows = chosen["selection"]["rows"]
    if rows and rows[0] < len(found):
        _why(found[rows[0]])
    else:
        st.caption("Choose a row at its left edge to see what it was decided from.")


def _why(d: dict[str, Any]) -> None:
    st.subheader(f"Decision {d['n']}: {sign(d['kind'])}")
    st.write(d["because"][:1].upper() + d["because"][1:] + ".")
    basis = d["basis"]
    if began := d.get("began"):
        st.markdown(
            f"Began about {moment(began['at'])}, with observation `{began['observation_id']}`."
        )
    if loss := basis.get("loss"):
        st.markdown(
            f"Loss: evidence {number(loss['evidence'])} of {number(loss['threshold'])}. Promised: "
            + ", ".join(f"{m} {number(x)}" for m, x in basis.get("promised", {}).items())
        )
    if gate := basis.get("gate"):
        st.dataframe(
            [
                {
                    "challenger": n,
                    "version": g["version"],
                    "evidence": round(g["evidence"], 2),
                    "threshold": g["threshold"],
                }
                for n, g in gate.items()
            ],
            hide_index=True,
        )
    source = basis.get("decided_from", {})
    st.caption(
        f"Decided from outcome {source.get('outcome')} of the log, policy "
        f"`{str(source.get('policy'))[:12]}`, code {source.get('code')}, seed "
        f"{source.get('seed')}. Chain hash `{d['hash'][:16]}…` after `{d['previous_hash'][:16]}…`."
    )
    with st.expander("Everything it was decided from, as JSON", icon=":material/data_object:"):
        st.json(basis)


@said_plainly
def _replay() -> None:
    st.write("Every decision follows from the log alone. A replay recomputes all of them.")
    if st.button("Replay", icon=":material/replay:", key="replay"):
        jobs.begin("replay")
    _replayed()


@st.fragment(run_every="2s")
@said_plainly
def _replayed() -> None:
    job = jobs.known("replay")
    if job is None:
        return
    if job["state"] == "running":
        st.info(
            f"Recomputing for {span(time.monotonic() - job['began'])}. You may look elsewhere "
            "meanwhile.",
            icon=":material/hourglass_top:",
        )
    elif job["state"] == "failed":
        st.error(f"The replay gave no result: {job['because']}", icon=":material/error:")
    else:
        for one in job["result"]:
            _result(one, job["seconds"])


def _result(one: dict[str, Any], seconds: float) -> None:
    different = one["differences"]
    said = (
        f"**{one['model']}**: {one['outcomes']:,} outcomes refolded in {span(seconds)}; "
        f"{one['equal']:,} decisions came out the same, bit for bit, and {one['close']:,} within "
        "1e-9, on another machine."
    )
    if different:
        first = (
            "The first ones of those that differ:" if len(different) >= _MOST else "These differ:"
        )
        st.error(f"{said} **{first}**", icon=":material/difference:")
        st.dataframe(different, hide_index=True, width="stretch")
    else:
        st.success(f"{said} None differs.", icon=":material/verified:")
