"""The table of a run, for people."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

_HEAD = """\
# What faults cost

    python -m benchmarks.chaos       # or: make chaos

A `continual up` with everything it starts, under load: some 45 requests for one row and one for 80
rows a second, each row labelled half a second later, labels shuffled and a tenth of them twice.
A case is four seconds of load, the fault, and load until all is as before: the components are well
and the loop has read 50 labels that came since. A client sends what was not answered again, under
the same ids. After each case the log is held against what was acknowledged, the ledger's chain is
checked and every decision replayed.

- **lost, doubled**: acknowledged rows and labels that are not in the log, or twice.
- **errors**: share of requests from the fault until all is well that had no answer (within 5 s).
- **answers after**: seconds from the fault to the last request that failed and the first after it.
- **well after**: seconds from the fault until all is as before; the fault itself is part of it.
  For a corrupt page: until somebody says it. What was on it is lost; a backup has it.
"""
_COLUMNS = (
    *("fault", "rows", "labels", "lost", "doubled", "p99 ms before", "while", "errors"),
    *("answers after s", "well after s", "ledger", "replay", "held"),
)


def machine() -> dict[str, Any]:
    """Say where and when this was."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "load": round(os.getloadavg()[2], 1),
        "versions": {n: version(n) for n in ("prefect", "mlflow", "sqlalchemy", "uvicorn")},
    }


def table(told: dict[str, Any]) -> str:
    """Write the page of a run."""
    about = (
        f"{told['at']}, {told['machine']}, load {told['load']} over the last 15 minutes, "
        f"{told['took_s']} s altogether; a case that was not run then has its figures of before "
        "(`at` in results.json)."
    )
    lines = [
        _HEAD,
        about,
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|{' --- |' * len(_COLUMNS)}",
        *(_row(one) for one in told["cases"]),
    ]
    for one in told["cases"]:
        if one["because"]:
            lines += ["", f"**{one['case']}**: {one['because'][:600]}"]
    for name, because in told["left_out"].items():
        lines += ["", f"Left out: {name}: {because}."]
    return "\n".join(lines) + "\n"


def _row(one: dict[str, Any]) -> str:
    def said(value: float | None) -> str:
        return "" if value is None else f"{value:g}"

    cells = [
        one["case"],
        f"{one['acknowledged']:,}",
        f"{one['labels']:,}",
        str(one["lost"] + one["labels_lost"]),
        str(one["doubled"]),
        said(one["p99_before_ms"]),
        said(one["p99_while_ms"]),
        f"{one['errors_while']:.1%}",
        said(one["answers_again_s"]),
        said(one["well_again_s"]),
        {True: "verifies", False: "**broken**", None: ""}[one["verified"]],
        {True: "equal", False: "**differs**", None: ""}[one["replayed"]],
        "yes" if one["held"] else "**no**",
    ]
    return f"| {' | '.join(cells)} |"
