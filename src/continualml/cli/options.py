"""Options that many verbs take, and how they are understood."""

from pathlib import Path
from typing import Annotated

import typer

from continualml.errors import InputError
from continualml.settings import Project

Config = Annotated[Path | None, typer.Option("--config", "-c", help="continual.toml to read.")]
Data = Annotated[Path | None, typer.Option("--data", help="Directory of log and artifacts.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ModelName = Annotated[str | None, typer.Option("--model", "-m", help="Default: the first one.")]
DashboardPort = Annotated[int | None, typer.Option("--port", help="Port of the dashboard.")]
Port = Annotated[int | None, typer.Option(help="Port of the API.")]
Workers = Annotated[int | None, typer.Option(help="Processes that serve the API.")]


def model_named(project: Project, name: str | None) -> str:
    """Take the model that was asked for, or the default one.

    Raises
    ------
    InputError
        If there is no such model.
    """
    chosen = name or project.default
    if chosen not in project.models:
        raise InputError("model", expected=f"one of {sorted(project.models)}", got=chosen)
    return chosen


def listed(project: Project) -> list[str]:
    """Name the models that a list shows: the declared ones, and others that have rows."""
    from continualml.store import log  # noqa: PLC0415  only when needed
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only when needed

    with read(open_store(project.settings.database_url)) as conn:
        return project.shown(log.observed(conn, project.models))
