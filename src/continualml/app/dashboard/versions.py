"""Who is on trial, how every version came about, and two of them compared."""

from typing import Any, Final

import streamlit as st

from continualml.app.dashboard.asking import get, said_plainly
from continualml.app.dashboard.charts import band, bars, show
from continualml.app.dashboard.turning import turn
from continualml.app.dashboard.words import moment, named, number

_PAGE: Final = 50


def page() -> None:
    """Show the page; the trial looks again by itself."""
    st.title(f"{st.session_state['model']}: versions")
    trial, history, compare = st.tabs(["Trial in progress", "History", "Compare two"])
    with trial:
        _trial()
    with history:
        _history()
    with compare:
        _compare()


@st.fragment(run_every="15s")
@said_plainly
def _trial() -> None:
    told = get(f"/models/{st.session_state['model']}/trials")
    trials = told["trials"]
    if not trials:
        st.info(
            "Nobody is on trial. Challengers come with the first refits after a champion was "
            "installed.",
            icon=":material/hourglass_empty:",
        )
        return
    st.markdown(
        f"Champion: **version {told['champion']}**. A challenger is promoted when its evidence "
        f"reaches **{number(trials[0]['level']['threshold'])}**; the strongest is at "
        f"**{number(trials[0]['level']['evidence'])}** ({trials[0]['place']})."
    )
    show(
        bars(
            [
                {
                    "name": f"{t['place']} (version {t['version']})",
                    "share": t["level"]["evidence"] / t["level"]["threshold"],
                    "text": f"{t['level']['evidence'] / t['level']['threshold']:.1%}",
                }
                for t in trials
            ],
            value="share",
            title="evidence as a share of the threshold; at 1 it is promoted",
            text="text",
            at=1.0,
        ),
        height=60 + 30 * len(trials),
    )
    places = [t["place"] for t in trials]
    place = st.selectbox("Challenger", places, key="challenger")
    one = trials[places.index(place)]
    st.markdown(
        f"**{named(told['metric'])} loss of the champion minus that of {place}**, on the same "
        f"{one['rows']:,} rows. Above 0 the challenger is better."
    )
    _difference(one["steps"])
    st.caption(
        "The band is a 95 % confidence sequence: it may be looked at at any time. It is "
        "approximate and for orientation; what is decided rests on the evidence above."
    )


def _difference(steps: list[dict[str, Any]]) -> None:
    # Until the interval is known, means of few blocks say nothing.
    rows = [s | {"level": 0.0} for s in steps if s["low"] is not None]
    if len(rows) < 2:  # noqa: PLR2004  one point is no line
        st.info(
            "Too few rows for an interval yet: eight whole blocks on which both answered.",
            icon=":material/hourglass_empty:",
        )
        return
    show(
        band(rows, x="rows:Q", title="labelled rows", name="mean difference", level="no difference")
    )


@said_plainly
def _history() -> None:
    name = st.session_state["model"]
    before = st.session_state.get("versions_before")
    told = get(f"/models/{name}/versions", limit=_PAGE, before=before)
    aliases: dict[int, list[str]] = {}
    for alias, version in told["pointers"].items():
        aliases.setdefault(version, []).append(alias)
    if not told["versions"]:
        st.info("There is no version yet.", icon=":material/hourglass_empty:")
        return
    st.dataframe(
        [
            {
                "version": v["version"],
                "is": ", ".join(sorted(aliases.get(v["version"], []))) or "-",
                "strategy": v["strategy"],
                "made": moment(v["recorded_at"]),
                "trained on rows": v["trained_rows"],
                **{
                    named(m.removeprefix("hold_")) + " held back": round(x, 4)
                    for m, x in v["losses"].items()
                },
                "SHA-256": v["sha256"][:12],
            }
            for v in told["versions"]
        ],
        hide_index=True,
        width="stretch",
        height=500,
        column_config={"is": st.column_config.TextColumn(width="medium")},
    )
    newer, older = st.columns(2)
    turn("versions_before", newer, older, told["next_before"])


@said_plainly
def _compare() -> None:
    name = st.session_state["model"]
    pointed = get(f"/models/{name}/versions", limit=1)["pointers"]
    champion = pointed.get("champion")
    if champion is None:
        st.info("There is no champion to compare with yet.", icon=":material/hourglass_empty:")
        return
    one, two = st.columns(2)
    first = one.number_input("First version", min_value=1, value=champion, step=1)
    other = pointed.get("challenger") or pointed.get("anchor") or champion
    second = two.number_input("Second version", min_value=1, value=other, step=1)
    told = get(f"/models/{name}/compare", first=int(first), second=int(second))
    st.dataframe(
        [
            {
                "version": told[who]["version"],
                "strategy": told[who]["strategy"],
                "made": moment(told[who]["recorded_at"]),
                "trained on rows": told[who]["trained_rows"],
                **{named(m): round(x, 4) for m, x in told[who]["losses"].items()},
            }
            for who in ("first", "second")
        ],
        hide_index=True,
        width="stretch",
    )
    if not told["rows"]:
        st.info(
            "No row lately that both answered and neither was trained on. Versions are scored only "
            "while they answer, challenge or are kept as a way back.",
            icon=":material/info:",
        )
        return
    st.markdown(
        f"**{named(told['metric'])} loss of version {int(first)} minus that of version "
        f"{int(second)}** on {told['rows']:,} rows that both answered and neither was trained on. "
        f"Above 0, version {int(second)} is better."
    )
    _difference(told["steps"])
