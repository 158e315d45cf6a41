"""Whether this machine is fit to run: ports, disk, permissions, versions, clock."""

import os
import shutil
import socket
import sys
from typing import TYPE_CHECKING, Any

import typer

from continualml import settings as configuration
from continualml.cli.exits import FAILED
from continualml.cli.options import AsJson, Config, Data
from continualml.cli.printing import print_rows
from continualml.settings import Project

if TYPE_CHECKING:
    from continualml.store.artifacts import Remote

_LEAST_DISK_MB = 500


def doctor(config: Config = None, data: Data = None, as_json: AsJson = False) -> None:
    """Check ports, disk, versions, clock, permissions; say remedies; exit code 1 if one fails."""
    project = configuration.load(config, data=data)
    told = _checks(project)
    print_rows(told, as_json=as_json)
    if not all(t["ok"] for t in told):
        raise typer.Exit(FAILED)


def _checks(project: Project) -> list[dict[str, Any]]:
    from importlib.util import find_spec  # noqa: PLC0415  only for this verb

    from continualml.app import tree  # noqa: PLC0415  only for this verb
    from continualml.app.place import place_of  # noqa: PLC0415  only for this verb
    from continualml.store.artifacts import Remote  # noqa: PLC0415  only for this verb

    said, told = project.settings, list[dict[str, Any]]()

    def check(name: str, *, ok: bool, found: str, remedy: str) -> None:
        told.append({"check": name, "ok": ok, "found": found, "remedy": "" if ok else remedy})

    pid = tree.holder(said.data)
    check("running", ok=True, found=f"pid {pid}" if pid else "not running here", remedy="")
    ours = tree.ports(pid) if pid else set[int]()
    for name in ("port", "dashboard_port", "prefect_port", "mlflow_port"):
        port = getattr(said, name)
        with socket.socket() as probe:
            free = probe.connect_ex((said.host, port)) != 0
        how = "free" if free else "its own" if port in ours else "taken"
        check(
            name,
            ok=free or pid is not None,  # what runs has taken the next free one
            found=f"{port} {how}",
            remedy=f"set CONTINUAL_{name.upper()}, or let up take the next free one",
        )
    there = said.data if said.data.exists() else said.data.absolute().parent
    free_mb = shutil.disk_usage(there).free >> 20
    check(
        "disk",
        ok=free_mb >= _LEAST_DISK_MB,
        found=f"{free_mb} MB free",
        remedy=f"free {_LEAST_DISK_MB} MB beside {said.data}",
    )
    check(
        "writable",
        ok=os.access(there, os.W_OK),
        found=str(there),
        remedy="give this user the right to write there, or set CONTINUAL_DATA",
    )
    for name, path, mode in (
        ("data directory", said.data, "700"),
        ("admin token", said.admin_token, "600"),
        ("page login", said.page_login, "600"),
    ):
        closed = not path.exists() or not path.stat().st_mode & 0o077
        check(name, ok=closed, found=str(path), remedy=f"chmod {mode} {path}")
    check(
        "python",
        ok=sys.version_info >= (3, 11),
        found=sys.version.split()[0],
        remedy="install Python 3.11 or newer",
    )
    extras = {
        "learn": "sklearn",
        "prefect": "prefect",
        "mlflow": "mlflow",
        "dashboard": "streamlit",
        "example": "matplotlib",
    }
    missing = [extra for extra, module in extras.items() if find_spec(module) is None]
    check(
        "extras",
        ok="learn" not in missing,
        found=f"missing: {', '.join(missing)}" if missing else "all",
        remedy="uv sync --extra learn: without it nothing is trained",
    )
    if isinstance(place := place_of(said), Remote):
        told.append(_bucket(place))
    told.append(_clock(project))
    return told


def _bucket(place: "Remote") -> dict[str, Any]:
    from continualml.errors import UnreachableError  # noqa: PLC0415  only for this verb

    try:
        place.bucket.look()
    except UnreachableError as error:
        remedy = "see AWS_ENDPOINT_URL, the bucket's name, and what its key may do"
        return {"check": "bucket", "ok": False, "found": str(error), "remedy": remedy}
    return {"check": "bucket", "ok": True, "found": place.url, "remedy": ""}


def _clock(project: Project) -> dict[str, Any]:
    """Compare this clock with the last entry of the ledger: it must not lie in the future."""
    from datetime import UTC, datetime  # noqa: PLC0415  only for this verb

    from continualml.store import ledger  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    now = datetime.now(UTC)
    with read(open_store(project.settings.database_url)) as conn:
        last = ledger.entries(conn, limit=1)
    ok = not last or datetime.fromisoformat(last[0].recorded_at) <= now
    remedy = "" if ok else "the clock was set back: let it be kept by NTP"
    return {
        "check": "clock",
        "ok": ok,
        "found": now.isoformat(timespec="seconds"),
        "remedy": remedy,
    }
