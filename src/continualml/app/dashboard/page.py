"""The pages and who may see them; Streamlit runs this file for each look of each person."""

from pathlib import Path
from typing import Any, Final

import streamlit as st

from continualml.app.dashboard import (
    backtest,
    data,
    decisions,
    evidence,
    login,
    now,
    trying,
    versions,
)
from continualml.app.dashboard.asking import get, said_plainly

_PAGES: Final = (
    (now.page, "Now", "now", ":material/monitor_heart:"),
    (evidence.page, "Evidence", "evidence", ":material/show_chart:"),
    (versions.page, "Versions", "versions", ":material/layers:"),
    (decisions.page, "Decisions", "decisions", ":material/gavel:"),
    (data.page, "Data", "data", ":material/table_chart:"),
    (trying.page, "Try it", "try", ":material/science:"),
    (backtest.page, "Backtest", "backtest", ":material/history:"),
)


def main() -> None:
    """Show the login, or the page that was chosen."""
    # A file of ours: a named icon would be loaded from elsewhere.
    mark = str(Path(__file__).with_name("mark.svg"))
    st.set_page_config(page_title="Continual ML", page_icon=mark, layout="wide")
    if not login.is_in():
        st.navigation(
            [st.Page(login.form, title="Log in", url_path="login")], position="hidden"
        ).run()
        return
    chosen = st.navigation(
        [
            st.Page(page, title=title, url_path=path, icon=icon, default=path == "now")
            for page, title, path, icon in _PAGES
        ]
    )
    with st.sidebar:
        _model()
        login.leave()
    if "model" in st.session_state:
        chosen.run()


@said_plainly
def _model() -> None:
    """Let one model be chosen; with a single one there is nothing to choose."""
    told: dict[str, Any] = get("/models")
    names = [m["model"] for m in told["models"]]
    if not names:
        st.info("No model is declared yet: `continual init --from data.csv --target y`.")
        return
    chosen = st.selectbox(
        "Model", names, index=names.index(told["default"]) if told["default"] in names else 0
    )
    st.session_state["model"] = chosen


main()
