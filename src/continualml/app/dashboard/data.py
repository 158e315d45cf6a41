"""What columns looked like at the proof, what they look like now, and how late labels are."""

from typing import Any, Final

import altair as alt
import pandas as pd
import streamlit as st

from continualml.app.dashboard.asking import get, said_plainly
from continualml.app.dashboard.charts import MAIN, cells, show
from continualml.app.dashboard.words import number, span

_BESIDE: Final = 3
_MOST_SHOWN: Final = 12


def page() -> None:
    """Show the page; it looks again by itself."""
    st.title(f"{st.session_state['model']}: data")
    _columns()
    _lag()


@st.fragment(run_every="15s")
@said_plainly
def _columns() -> None:
    told = get(f"/models/{st.session_state['model']}/distributions")
    st.subheader("Columns, at the proof and now")
    if not told["columns"]:
        st.info(
            "There is no reference yet: it is taken from the rows around the last proof.",
            icon=":material/hourglass_empty:",
        )
        return
    st.markdown(
        f"Bars: the **{told['reference_rows']:,}** rows of the reference, at the proof of version "
        f"{told['version']}. Marks: the newest **{told['rows']:,}** rows. The columns with most "
        "evidence of a move come first."
    )
    ordered = sorted(told["columns"], key=lambda c: -(c["level"] or 0.0))
    for start in range(0, min(len(ordered), _MOST_SHOWN), _BESIDE):
        places = st.columns(_BESIDE)
        for place, column in zip(places, ordered[start : start + _BESIDE], strict=False):
            with place:
                _column(column)
    if len(ordered) > _MOST_SHOWN:
        st.caption(f"{len(ordered) - _MOST_SHOWN} more, which have moved less, are not shown.")


def _column(column: dict[str, Any]) -> None:
    level = "no evidence yet" if column["level"] is None else f"{column['level']:.2%} of threshold"
    rows = [
        {"cell": c["name"], "what": what, "share": c[what]}
        for c in column["cells"]
        for what in ("reference", "now")
        if c[what] is not None
    ]
    show(cells(rows, title=f"{column['name']}: {level}"), height=260)


@st.fragment(run_every="15s")
@said_plainly
def _lag() -> None:
    told = get(f"/models/{st.session_state['model']}/label-lag")
    st.subheader("How late labels come")
    if told["silent"]:
        st.warning("No label comes any more.", icon=":material/report:")
    if not told["labels"]:
        st.info(
            "Not one answered row has a label yet. Send it to `/labels`.",
            icon=":material/hourglass_empty:",
        )
        return
    seconds, rows, waiting = told["seconds"], told["observations"], told["waiting"]
    one, two, three = st.columns(3)
    one.metric("Half of them within", span(seconds["0.5"]), border=True)
    two.metric("Nine of ten within", span(seconds["0.9"]), border=True)
    oldest = f"the oldest for {span(waiting['oldest_s'])}" if waiting["rows"] else None
    three.metric(
        "Rows without a label",
        f"{number(waiting['rows'])} of {number(waiting['of'])}",
        oldest,
        delta_color="off",
        delta_arrow="off",
        border=True,
    )
    if rows:
        st.markdown(
            f"Counted in rows, half come within **{rows['0.5']:.0f}** further observations, nine "
            f"of ten within **{rows['0.9']:.0f}**."
        )
    bins = pd.DataFrame(
        [b | {"text": f"{span(b['from_s'])} to {span(b['to_s'])}"} for b in told["bins"]]
    )
    show(
        alt.Chart(bins)
        .mark_bar(color=MAIN)
        .encode(
            x=alt.X("from_s:Q", title="seconds until the label", bin=alt.Bin(binned=True)),
            x2="to_s:Q",
            y=alt.Y("labels:Q", title="labels"),
            tooltip=["text:N", "labels:Q"],
        ),
        height=220,
    )
    st.caption(f"The newest {told['labels']:,} labels.")
