"""Verbs that check what was decided: recompute it, and hold hashes against contents."""

import dataclasses
import json
from functools import partial
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from continualml import settings as configuration
from continualml.cli.exits import FAILED
from continualml.cli.options import AsJson, Config, Data, ModelName, model_named
from continualml.cli.printing import print_rows

if TYPE_CHECKING:
    from rich.progress import Progress

    from continualml.loop.replay import Replayed


def replay(
    config: Config = None, data: Data = None, model: ModelName = None, as_json: AsJson = False
) -> None:
    """Recompute every decision from the log; exit code 1 if one differs from the ledger."""
    from continualml.loop.replay import replay as refold  # noqa: PLC0415  only for this verb
    from continualml.store import log  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    told: list[Replayed] = []
    with read(open_store(project.settings.database_url)) as conn, _bar() as bar:
        for name in [model_named(project, model)] if model else log.models(conn):
            task = bar.add_task(name, total=log.n_outcomes(conn, name))
            told.append(refold(conn, name, partial(bar.advance, task)))
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(r) for r in told], indent=2))
    else:
        print_rows([_summary(r) for r in told], as_json=False)
        for one in told:
            if one.differences:
                print_rows([dataclasses.asdict(d) for d in one.differences], as_json=False)
    if any(r.differences for r in told):
        raise typer.Exit(FAILED)


def verify(config: Config = None, data: Data = None, as_json: AsJson = False) -> None:
    """Check the ledger's chain, the outcomes it names and the artifacts; exit code 1 if broken."""
    from continualml.app.place import place_of  # noqa: PLC0415  only for this verb
    from continualml.store import verify as checks  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    with read(open_store(project.settings.database_url)) as conn:
        told = checks.verify(conn, place_of(project.settings))
    print_rows([dataclasses.asdict(c) for c in told], as_json=as_json)
    if any(c.broken for c in told):
        raise typer.Exit(FAILED)


def _bar() -> "Progress":
    """Make a bar that shows on a terminal alone."""
    from rich.progress import (  # noqa: PLC0415  only when needed
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _summary(one: "Replayed") -> dict[str, object]:
    told = dataclasses.asdict(one)
    return told | {"differences": len(one.differences)}
