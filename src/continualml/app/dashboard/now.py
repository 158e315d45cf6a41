"""How it is now: who answers, how well, whether all of it runs, and what was decided last."""

from typing import Any, Final

import streamlit as st

from continualml.app.dashboard.asking import get, health, said_plainly
from continualml.app.dashboard.charts import band, show
from continualml.app.dashboard.words import STATES, moment, named, number, sign, span

_TELLING: Final = ["first", "promote", "rollback", "alarm", "recover", "policy"]

_PLAIN: Final[dict[str, Any]] = {"delta_color": "off", "delta_arrow": "off", "border": True}


def page() -> None:
    """Show the page; its parts look again by themselves."""
    st.title(f"{st.session_state['model']}: now")
    _state()
    _performance()
    _last()


@st.fragment(run_every="5s")
@said_plainly
def _state() -> None:
    model = get(f"/models/{st.session_state['model']}")
    state = health()
    loop = model["loop"]
    one, two, three, four = st.columns(4)
    follows = f"follows {loop['follows']}" if loop and loop["follows"] else "stands still"
    champion = str(model["champion"]) if model["champion"] else "none yet"
    one.metric("Champion: version", champion, follows if loop else None, **_PLAIN)
    icon, word = STATES[state["status"]]
    two.metric("Health", f"{icon} {word}", _looked(state), **_PLAIN)
    three.metric("Next check", *_next(model, state), **_PLAIN)
    four.metric(
        "Labelled rows not read yet",
        number(model["waiting_rows"]),
        f"{number(loop['rows'])} read so far" if loop else None,
        **_PLAIN,
        help="A block of labels is read as soon as it is complete.",
    )
    if loop is None:
        st.info(
            "There is no champion yet. `continual train data.csv` makes the first one, or the loop "
            "does once 400 labelled rows are there.",
            icon=":material/info:",
        )
    elif incident := loop["evidence"].get("incident"):
        st.warning(
            f"**{incident}**: nothing is learnt and nothing is promoted until it has healed. The "
            "page Decisions says since when, and why.",
            icon=":material/report:",
        )
    _components(state)


def _looked(state: dict[str, Any]) -> str:
    bad = [n for n, p in state["components"].items() if p["status"] != "ok"]
    return ", ".join(bad) if bad else f"all {len(state['components'])} components"


def _next(model: dict[str, Any], state: dict[str, Any]) -> tuple[str, str]:
    age_s = state["components"].get("loop", {}).get("scheduled_turn_age_s")
    if age_s is None:
        return "-", "no schedule; the timer looks"
    left_s = model["check_interval_s"] - age_s
    every = f"every {span(model['check_interval_s'])}"
    if left_s >= 0:
        return f"in {span(left_s)}", every
    late = left_s < -model["check_interval_s"]  # a run takes a moment itself
    return ("overdue", f"for {span(-left_s)}") if late else ("due now", every)


def _components(state: dict[str, Any]) -> None:
    parts = state["components"]
    for name, part in parts.items():
        if part["status"] != "ok":
            icon, word = STATES[part["status"]]
            because = part.get("because") or part.get("failures") or ""
            st.warning(f"**{name}** is {word}. {because}", icon=icon)
    with st.expander("Components", icon=":material/lan:"):
        for name, part in parts.items():
            icon, word = STATES[part["status"]]
            because = f": {part['because']}" if part.get("because") else ""
            st.markdown(f"{icon} **{name}** {word}{because}")
        st.caption(f"Looked at {moment(state['looked_at'])}")


@st.fragment(run_every="10s")
@said_plainly
def _performance() -> None:
    told = get(f"/models/{st.session_state['model']}/performance/rolling")
    st.subheader("Performance")
    stretches = told["stretches"]
    if not stretches:
        st.info(
            "No answered row has its label yet. Send rows to `/predict`, and their truth to "
            "`/labels` when it comes.",
            icon=":material/hourglass_empty:",
        )
        return
    names = list(stretches[-1]["metrics"])
    metric = (
        st.segmented_control(
            "Measure",
            names,
            default=names[-1],
            format_func=named,
            key="measure",
            label_visibility="collapsed",
        )
        or names[-1]
    )
    last = stretches[-1]["metrics"][metric]
    better = "at least" if metric == "accuracy" else "at most"
    promised = (
        f"promised: {better} **{number(last['promised'])}**"
        if last["promised"] is not None
        else "nothing is promised in this measure"
    )
    between = (
        f" (95 % interval {number(last['low'])} to {number(last['high'])})"
        if last["low"] is not None
        else ""
    )
    st.markdown(
        f"{named(metric)} of the newest {stretches[-1]['rows']:,} labelled rows: "
        f"**{number(last['mean'])}**{between}; {promised}."
    )
    rows = [
        {
            "at": s["last_at"],
            "rows": s["rows"],
            "versions": f"{s['versions'][0]} to {s['versions'][-1]}" if s["versions"] else "-",
            "level": s["metrics"][metric]["promised"],
            **{k: s["metrics"][metric][k] for k in ("mean", "low", "high")},
        }
        for s in stretches
    ]
    level = "promised" if any(r["level"] is not None for r in rows) else None
    show(band(rows, x="at:T", title=None, name=named(metric), level=level))
    st.caption(
        f"Each point is the mean of the {stretches[-1]['rows']:,} rows before it; the band is its "
        f"95 % interval, from how much blocks of {told['block']} rows differ."
    )


@st.fragment(run_every="10s")
@said_plainly
def _last() -> None:
    st.subheader("Decided last")
    told = get("/decisions", model=st.session_state["model"], kind=_TELLING, limit=6)
    if not told["decisions"]:
        st.caption("Nothing yet.")
    for d in told["decisions"]:
        st.markdown(f"**{sign(d['kind'])}** · {moment(d['recorded_at'])} · {d['because']}")
