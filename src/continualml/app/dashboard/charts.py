"""Charts that can be read in light and dark, and without telling colours apart."""

from datetime import datetime
from typing import Any, Final

import altair as alt
import pandas as pd
import streamlit as st

# Okabe and Ito's colours, those that stand out from white and from black; each with a dash too.
COLOURS: Final = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"]
DASHES: Final = [[1, 0], [6, 3], [2, 2], [10, 4, 2, 4], [12, 3], [4, 1]]
MAIN, OTHER, LIMIT, QUIET = COLOURS[0], COLOURS[1], COLOURS[4], "#8A8A8A"
MOST_SERIES: Final = len(COLOURS)
_HEIGHT: Final = 300
Drawn = alt.LayerChart | alt.FacetChart


_POWERS: Final = alt.Axis(values=[1e-4, 1e-3, 1e-2, 0.1, 1, 10], format="~%")
_MINUTES, _DAYS = 600, 172_800


def show(chart: Any, *, height: int = _HEIGHT) -> None:
    """Draw a chart in the width of its place."""
    st.altair_chart(chart.properties(height=height), width="stretch", theme="streamlit")


def band(
    rows: list[dict[str, Any]], *, x: str, title: str | None, name: str, level: str | None = None
) -> Drawn:
    """Draw a mean with its interval, and a dashed level beside it.

    Parameters
    ----------
    rows
        Each with the field of ``x`` ("at:T"), ``mean``, ``low``, ``high``, and ``level`` if one
        is named.
    """
    drawn = alt.Chart(pd.DataFrame(rows))
    y = alt.Y("mean:Q", title=name, scale=alt.Scale(zero=False))
    told = [_told(x), *(alt.Tooltip(f"{n}:Q", format=".4f") for n in ("mean", "low", "high"))]
    along = alt.X(x, title=title, axis=_dates(rows) if x.endswith(":T") else alt.Axis())
    layers = [
        drawn.mark_area(opacity=0.25, color=MAIN).encode(
            x=along, y=alt.Y("low:Q", title=name), y2="high:Q"
        ),
        drawn.mark_line(color=MAIN, strokeWidth=2.5, point=len(rows) < 3).encode(  # noqa: PLR2004  one point is no line
            x=along, y=y, tooltip=told
        ),
    ]
    if level is not None:
        layers += [
            drawn.mark_line(
                color=LIMIT, strokeDash=[6, 4], strokeWidth=2, interpolate="step-after"
            ).encode(x=along, y="level:Q"),
            drawn.transform_window(last="row_number()")
            .transform_joinaggregate(most="max(last)")
            .transform_filter("datum.last == datum.most")
            .mark_text(align="right", dy=-9, color=LIMIT, fontWeight="bold", text=level)
            .encode(x=along, y="level:Q"),
        ]
    return alt.layer(*layers)


def shares(rows: list[dict[str, Any]], *, threshold: str, marks: list[dict[str, Any]]) -> Drawn:
    """Draw evidence as a share of its threshold over time, on a logarithmic scale.

    Parameters
    ----------
    rows
        Each with ``at``, ``detector`` and ``share``.
    marks
        Alarms, each with ``at``, ``began`` (or None) and ``what``.
    """
    names = list(dict.fromkeys(r["detector"] for r in rows))
    low = 1e-4
    drawn = alt.Chart(pd.DataFrame([r | {"drawn": max(r["share"], low)} for r in rows]))
    scale = alt.Scale(type="log", domain=[low, 10], clamp=True)
    legend = alt.Legend(orient="bottom", columns=3, title=None)
    lines = drawn.mark_line(strokeWidth=2, interpolate="step-after").encode(
        x=alt.X("at:T", title=None, axis=_dates(rows)),
        y=alt.Y("drawn:Q", scale=scale, title="share of the threshold", axis=_POWERS),
        color=alt.Color("detector:N", scale=alt.Scale(domain=names, range=COLOURS), legend=legend),
        strokeDash=alt.StrokeDash(
            "detector:N", scale=alt.Scale(domain=names, range=DASHES), legend=legend
        ),
        tooltip=[_told("at:T"), "detector:N", alt.Tooltip("share:Q", format=".3g"), "rows:Q"],
    )
    at_one = pd.DataFrame([{"one": 1.0, "text": threshold, "at": min(r["at"] for r in rows)}])
    rule = alt.Chart(at_one).mark_rule(color=LIMIT, strokeDash=[6, 4], strokeWidth=2)
    text = alt.Chart(at_one).mark_text(align="left", dx=4, dy=8, color=LIMIT, fontWeight="bold")
    layers = [
        lines,
        rule.encode(y="one:Q"),
        text.encode(x="at:T", y="one:Q", text="text:N"),
    ]
    if marks:
        said = alt.Chart(pd.DataFrame([{**m, "y": 4.0} for m in marks]))
        layers += [
            said.transform_filter("isValid(datum.began)")
            .mark_rule(color=LIMIT, strokeWidth=3, opacity=0.5)
            .encode(x="began:T", x2="at:T", y="y:Q"),
            said.mark_point(shape="diamond", filled=True, size=110, color=LIMIT, opacity=1).encode(
                x="at:T", y="y:Q", tooltip=[_told("at:T"), _told("began:T"), "what:N"]
            ),
        ]
    return alt.layer(*layers)


def cells(rows: list[dict[str, Any]], *, title: str) -> Drawn:
    """Draw the shares of a column's cells: bars for the reference, a tick for now."""
    drawn = alt.Chart(pd.DataFrame(rows), title=alt.Title(title, anchor="start"))
    y = alt.Y("cell:N", sort=None, title=None, axis=alt.Axis(labelLimit=150))
    what = alt.Color(
        "what:N",
        scale=alt.Scale(domain=["reference", "now"], range=[QUIET, OTHER]),
        legend=alt.Legend(orient="bottom", title=None),
    )
    told = ["cell:N", "what:N", alt.Tooltip("share:Q", format=".1%")]
    x = alt.X("share:Q", title=None, axis=alt.Axis(format="%", tickCount=4))
    of = alt.datum.what
    return alt.layer(
        drawn.transform_filter(of == "reference")
        .mark_bar(opacity=0.45)
        .encode(y=y, x=x, color=what, tooltip=told),
        drawn.transform_filter(of == "now")
        .mark_tick(thickness=4, size=16, opacity=1)
        .encode(y=y, x=x, color=what, tooltip=told),
    )


def bars(
    rows: list[dict[str, Any]], *, value: str, title: str, text: str, at: float | None = None
) -> Drawn:
    """Draw one bar for each ``name``, with what it amounts to written beside it.

    Parameters
    ----------
    at
        Where a dashed rule stands, such as a threshold.
    """
    drawn = alt.Chart(pd.DataFrame([r | {"end": max(r[value], 0.0)} for r in rows]))
    y = alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=200))
    x = alt.X(f"{value}:Q", title=title, axis=alt.Axis(tickCount=6))
    colour = alt.condition(alt.datum[value] < 0, alt.value(OTHER), alt.value(MAIN))
    layers = [
        drawn.mark_bar(height={"band": 0.6}).encode(y=y, x=x, color=colour),
        drawn.mark_text(align="left", dx=6, color=QUIET).encode(
            y=y, x=alt.X("end:Q"), text=f"{text}:N"
        ),
    ]
    if at is not None:
        layers.append(
            alt.Chart(pd.DataFrame([{"at": at}]))
            .mark_rule(color=LIMIT, strokeDash=[6, 4], strokeWidth=2)
            .encode(x="at:Q")
        )
    return alt.layer(*layers)


def _dates(rows: list[dict[str, Any]]) -> alt.Axis:
    """Write instants with as many parts as the span needs, 24 hours a day."""
    at = [datetime.fromisoformat(r["at"]) for r in rows if r["at"]]
    span_s = (max(at) - min(at)).total_seconds() if at else 0.0
    form = "%H:%M:%S" if span_s < _MINUTES else "%H:%M" if span_s < _DAYS else "%b %d"
    return alt.Axis(format=form, tickCount=8, labelOverlap=True)


def _told(field: str) -> alt.Tooltip:
    return (
        alt.Tooltip(field, format="%Y-%m-%d %H:%M:%S")
        if field.endswith(":T")
        else alt.Tooltip(field)
    )
