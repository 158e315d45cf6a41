"""Another policy over one's own log: what would have happened."""

import time
from typing import Any, Final

import streamlit as st

from continualml.app.dashboard import jobs
from continualml.app.dashboard.asking import get, said_plainly
from continualml.app.dashboard.charts import bars, show
from continualml.app.dashboard.words import named, span

_CHANCE, _ROWS = "a chance", "a rate"
_LIMITS: Final = (
    "The loop is assumed to turn after every label, and fits to take no time. Labels that depend "
    "on the model's own answers make every backtest wrong. A policy that was chosen because it did "
    "well here will do less well elsewhere."
)


@said_plainly
def page() -> None:
    """Show a form of the policy, and what came of the last one."""
    name = st.session_state["model"]
    st.title(f"{name}: backtest")
    st.write(
        "Change a number of the policy and run it over the recorded log, in memory: nothing that "
        "serves is touched. It runs at the lowest priority, one job at a time."
    )
    policy = _policy(name)
    with st.form("policy", border=True):
        changed = _form(policy)
        asked = st.form_submit_button("Run it", type="primary", icon=":material/play_arrow:")
    if asked:
        if changed:
            st.session_state["changed"] = changed
            jobs.begin("backtest", changed)
        else:
            st.warning("Change at least one number first.", icon=":material/edit:")
    _result()
    st.caption(_LIMITS)


def _policy(name: str) -> dict[str, Any]:
    """Read the policy in force from the decision that declared it."""
    found = get("/decisions", model=name, kind=["first", "policy"], limit=1)["decisions"]
    declared: dict[str, Any] = found[0]["basis"].get("model", {}).get("policy", {}) if found else {}
    return declared


def _form(policy: dict[str, Any]) -> dict[str, Any]:
    """Return what differs from the policy in force."""
    one, two, three = st.columns(3)
    retrain = one.selectbox(
        "Retrain",
        ["standing", "on_alarm"],
        index=int(policy.get("retrain") == "on_alarm"),
        help="standing: challengers always run beside. on_alarm: learn only after an alarm.",
    )
    threshold = two.number_input(
        "Lowest accuracy (threshold)",
        min_value=0.01,
        max_value=0.99,
        value=policy.get("threshold"),
        help="Empty: what the champion's held-back rows promise.",
        placeholder="none",
    )
    tolerance = three.number_input(
        "Tolerance", min_value=0.0, max_value=0.99, value=policy.get("tolerance", 0.02), step=0.01
    )
    alarms = one.number_input(
        "One false alarm in … rows",
        min_value=1,
        value=policy.get("false_alarms", 10_000),
        step=1_000,
    )
    there = policy.get("false_promotions")
    held = one.selectbox(
        "False promotions are held to",
        [_CHANCE, _ROWS],
        index=int(there is not None),
        help="That a champion is replaced by what is not better: a chance that it ever happens, "
        "or the rows, at least, that are expected to pass until it does.",
    )
    chance = two.number_input(
        "Chance of any false promotion",
        min_value=0.000001,
        max_value=0.999999,
        value=policy.get("false_promotion_chance", 0.05),
        step=0.01,
        format="%g",
    )
    rows = three.number_input(
        "One false promotion in … rows", min_value=1, value=there or 10_000, step=1_000
    )
    cooldown = three.number_input(
        "Cooldown, in rows", min_value=0, value=policy.get("cooldown", 0), step=100
    )
    said = {
        "retrain": retrain,
        "threshold": threshold,
        "tolerance": tolerance,
        "false_alarms": alarms,
        "false_promotions": chance if held == _CHANCE else rows,
        "cooldown": cooldown,
    }
    # What the file calls by one name, a chance or rows, are two fields of a declared policy.
    force = policy | {
        "false_promotions": policy.get("false_promotion_chance", 0.05) if there is None else there
    }
    return {k: v for k, v in said.items() if v is not None and v != force.get(k)}


@st.fragment(run_every="3s")
@said_plainly
def _result() -> None:
    job = jobs.known("backtest")
    if job is None:
        st.info("What would have happened comes here.", icon=":material/history:")
    elif job["state"] == "running":
        st.info(
            f"Running for {span(time.monotonic() - job['began'])}. It trains anew what would have "
            "been trained, so it takes minutes on a long log. You may look elsewhere meanwhile.",
            icon=":material/hourglass_top:",
        )
    elif job["state"] == "failed":
        st.error(f"The backtest gave no result: {job['because']}", icon=":material/error:")
    else:
        _table(job["result"], job["seconds"])


def _table(result: list[dict[str, Any]], seconds: float) -> None:
    st.subheader("What would have happened")
    names = ["policy in force", *(r["policy"] for r in result[1:-1]), result[-1]["policy"]]
    rows = [r | {"policy": n} for r, n in zip(result, names, strict=True)]
    drawn = [r for r in rows if r.get("accuracy") is not None]
    show(
        bars(
            [
                {
                    "name": r["policy"],
                    "more": r["accuracy"] - drawn[0]["accuracy"],
                    "text": f"{r['accuracy']:.4f} ({r['accuracy'] - drawn[0]['accuracy']:+.4f})",
                }
                for r in drawn
            ],
            value="more",
            title="accuracy, more or less than under the policy in force",
            text="text",
        ),
        height=60 + 40 * len(drawn),
    )
    st.dataframe(
        [{named(k): v for k, v in r.items()} for r in rows], hide_index=True, width="stretch"
    )
    st.caption(f"It took {span(seconds)}.")
