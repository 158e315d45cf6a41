"""Each detector against its threshold over time, and what it alarmed about."""

from typing import Any, Final

import streamlit as st

from continualml.app.dashboard.asking import get, said_plainly
from continualml.app.dashboard.charts import MOST_SERIES, shares, show
from continualml.app.dashboard.words import moment

_SPANS: Final = {"newest 100": 100, "newest 300": 300, "newest 1,000": 1_000}


def page() -> None:
    """Show the page; it looks again by itself."""
    st.title(f"{st.session_state['model']}: evidence")
    st.write(
        "Evidence grows with labelled rows, never with the clock. At its threshold a detector "
        "alarms; the budget for false alarms holds for all of them together, however often one "
        "looks."
    )
    st.segmented_control("Decisions shown", list(_SPANS), default="newest 300", key="span")
    _evidence()


@st.fragment(run_every="10s")
@said_plainly
def _evidence() -> None:
    limit = _SPANS[st.session_state["span"] or "newest 300"]
    points = get(f"/models/{st.session_state['model']}/evidence", limit=limit)["points"][::-1]
    if not points:
        st.info(
            "No evidence yet: it begins with the first labelled rows after the first champion.",
            icon=":material/hourglass_empty:",
        )
        return
    alarms = [p for p in points if p["kind"] == "alarm"]
    _now(points[-1])
    st.subheader("Is the loss above what was promised? Do labels come, and rows that fit?")
    own = [
        _row(p, "loss", p["loss"]["evidence"] / p["loss"]["threshold"]) for p in points if p["loss"]
    ]
    own += [_row(p, "delay of labels", p["delay"]) for p in points if p["delay"] is not None]
    own += [_row(p, "refused rows", p["refused"]) for p in points if p["refused"] is not None]
    mine = [a for a in alarms if a["alarm"]["family"] in {"loss", "delay", "refusals"}]
    if own:
        show(shares(own, threshold="alarm", marks=_marks(mine)))
    st.subheader("Has a feature, an answer or a label moved?")
    last: dict[str, float] = next((p["columns"] for p in reversed(points) if p["columns"]), {})
    names = sorted({n for p in points for n in p["columns"]})
    strongest = sorted(names, key=lambda n: -last.get(n, 0.0))[:4]
    chosen = st.multiselect(
        "Columns", names, default=strongest, max_selections=MOST_SERIES, key="columns"
    )
    rows = [_row(p, n, p["columns"][n]) for n in chosen for p in points if n in p["columns"]]
    if rows:
        theirs = [a for a in alarms if a["alarm"]["family"] in {"data", "labels"}]
        show(shares(rows, threshold="alarm, if all columns together", marks=_marks(theirs)))
    _alarms(alarms)


def _row(point: dict[str, Any], detector: str, share: float) -> dict[str, Any]:
    return {
        "at": point["recorded_at"],
        "rows": point["rows"],
        "detector": detector,
        "share": share,
    }


def _now(point: dict[str, Any]) -> None:
    """Say of the newest point how far each family is from its threshold."""
    loss, columns = point["loss"], sum(point["columns"].values())
    one, two, three, four = st.columns(4)
    if loss:
        share = f"{loss['evidence'] / loss['threshold']:.1%}"
        one.metric("Loss: share of its threshold", share, border=True)
    two.metric("Columns and labels: share of theirs", f"{columns:.1%}", border=True)
    delay = "not known yet" if point["delay"] is None else f"{point['delay']:.1%}"
    three.metric("Delay of labels: share of its own", delay, border=True)
    refused = "not known yet" if point["refused"] is None else f"{point['refused']:.1%}"
    four.metric("Refused rows: share of theirs", refused, border=True)


def _marks(alarms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "at": a["recorded_at"],
            "began": (a["alarm"]["began"] or {}).get("at"),
            "what": a["alarm"]["diagnosis"],
        }
        for a in alarms
    ]


def _alarms(alarms: list[dict[str, Any]]) -> None:
    st.subheader("Alarms")
    if not alarms:
        st.caption("None in this span.")
        return
    st.dataframe(
        [
            {
                "alarm": f"◆ {a['alarm']['diagnosis']}",
                "said at": moment(a["recorded_at"]),
                "began about": moment((a["alarm"]["began"] or {}).get("at")),
                "from observation": (a["alarm"]["began"] or {}).get("observation_id", "-"),
                "after rows": a["rows"],
                "decision": a["n"],
                "why": a["because"],
            }
            for a in reversed(alarms)
        ],
        hide_index=True,
        width="stretch",
    )
    st.caption("The bar before a diamond reaches back to where the change is estimated to begin.")
