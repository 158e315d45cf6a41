"""Verbs with which a person decides: promote, roll back, accept what looks like a fault."""

import os
import socket
from typing import Annotated

import typer

from continualml import settings as configuration
from continualml.cli.options import Config, Data, ModelName, model_named
from continualml.settings import Project

Because = Annotated[str, typer.Option("--because", help="The reason; the ledger keeps it.")]


def promote(
    version: Annotated[int, typer.Argument(min=1, help="The version that shall answer.")],
    because: Because,
    config: Config = None,
    data: Data = None,
    model: ModelName = None,
) -> None:
    """Let a version answer now, without proof; the ledger says that it was by hand."""
    project = configuration.load(config, data=data)
    _command(project, model_named(project, model), version, because)


def rollback(
    because: Because, config: Config = None, data: Data = None, model: ModelName = None
) -> None:
    """Let the last proven version answer again, or else the champion before it."""
    project = configuration.load(config, data=data)
    _command(project, model_named(project, model), None, because)


def accept(
    because: Because, config: Config = None, data: Data = None, model: ModelName = None
) -> None:
    """Say that the incident that is open is no fault: learn from its rows from now on."""
    from continualml.loop import command  # noqa: PLC0415  only for these verbs
    from continualml.store.engine import open_store  # noqa: PLC0415  only for these verbs

    project = configuration.load(config, data=data)
    name, store = model_named(project, model), open_store(project.settings.database_url)
    entry = command.accept(store, name, said=because, by=by_whom())
    incident = entry.decision.basis["incident"]["name"]
    typer.echo(f"{name}: the {incident} is how things are; decision {entry.n} says so")


def _command(project: Project, name: str, version: int | None, because: str) -> None:
    from continualml.app.place import place_of  # noqa: PLC0415  only for these verbs
    from continualml.loop.command import command  # noqa: PLC0415  only for these verbs
    from continualml.store.engine import open_store  # noqa: PLC0415  only for these verbs

    said = project.settings
    entry = command(
        open_store(said.database_url),
        place_of(said),
        name,
        version=version,
        said=because,
        by=by_whom(),
    )
    before = entry.decision.basis["from"]
    typer.echo(
        f"{name}: version {entry.decision.version} answers in place of {before}; "
        f"decision {entry.n} says so"
    )


def by_whom() -> str:
    """Name who types: user and machine."""
    user = os.environ.get("USER") or f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
