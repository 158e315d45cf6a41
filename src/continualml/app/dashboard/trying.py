"""A row of one's own: what would be answered, and which feature makes the difference."""

from typing import Any

import streamlit as st

from continualml.app.dashboard.asking import get, post, said_plainly
from continualml.app.dashboard.charts import bars, show
from continualml.app.dashboard.words import number


@said_plainly
def page() -> None:
    """Show a form made from the schema, and the answer to what was typed."""
    name = st.session_state["model"]
    st.title(f"{name}: try it")
    st.write(
        "The champion answers, and nothing is logged: rows that are only tried must not change "
        "what the loop learns from."
    )
    model = get(f"/models/{name}")
    if model["champion"] is None:
        st.info("There is no champion yet that could answer.", icon=":material/hourglass_empty:")
        return
    columns = {c["name"]: c for c in get(f"/models/{name}/distributions")["columns"]}
    with st.form("try", border=True):
        places = st.columns(3)
        given = {
            f["name"]: _field(places[i % 3], f, columns.get(f["name"]))
            for i, f in enumerate(model["features"])
        }
        asked = st.form_submit_button("Predict", type="primary", icon=":material/play_arrow:")
    st.caption("An empty field is a missing value.")
    if asked:
        _answer(post(f"/models/{name}/try", {"features": given}))


def _field(place: Any, feature: dict[str, Any], column: dict[str, Any] | None) -> Any:
    label = feature["name"] + ("" if feature["nullable"] else " (needed)")
    if feature["kind"] == "numeric":
        return place.number_input(label, value=_middle(column), format="%.6g")
    known = [c["name"] for c in (column or {"cells": []})["cells"]]
    known = [n for n in known if n not in {"missing", "rare ones", "unseen ones"}]
    return place.selectbox(label, known, index=0 if known else None, accept_new_options=True)


def _middle(column: dict[str, Any] | None) -> float | None:
    """Begin with a value that occurs: the lower end of the cell in the middle."""
    inside = [c["name"] for c in (column or {"cells": []})["cells"] if " to " in c["name"]]
    return float(inside[len(inside) // 2].split(" to ")[0]) if inside else None


def _answer(told: dict[str, Any]) -> None:
    answer = told["answer"]
    chances = answer.get("probabilities")
    what = answer["prediction"] if chances else number(answer["prediction"])
    st.subheader(f"Version {told['version']} would answer: {what}")
    if chances:
        rows = [{"name": c, "chance": p, "text": f"{p:.1%}"} for c, p in chances.items()]
        show(
            bars(rows, value="chance", title="probability", text="text"),
            height=60 + 34 * len(rows),
        )
    if not told["effects"]:
        return
    of = f"the probability of {what}" if chances else "the value"
    st.markdown(
        f"**What makes the difference:** how much {of} would change if a feature had a typical "
        "value instead (the middle one at the last proof). Effects do not add up."
    )
    rows = [
        {
            "name": f"{e['feature']} = {_written(e['value'])} (typical {_written(e['typical'])})",
            "effect": e["effect"],
            "text": f"{e['effect']:+.2%}" if chances else f"{e['effect']:+.3g}",
        }
        for e in told["effects"]
    ]
    show(
        bars(rows, value="effect", title=f"raises (+) or lowers (-) {of}", text="text"),
        height=60 + 34 * len(rows),
    )


def _written(value: Any) -> str:
    if value is None:
        return "missing"
    return value if isinstance(value, str) else number(value)
