"""Verbs that keep what there is: backups of it, and what they hold put back."""

from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from continualml import settings as configuration
from continualml.cli.commanding import by_whom
from continualml.cli.exits import FAILED
from continualml.cli.options import AsJson, Config, Data
from continualml.cli.printing import print_facts, print_json, print_rows, say_error, say_warning
from continualml.errors import InputError, Said

_DAY_S = 86_400.0

if TYPE_CHECKING:
    from collections.abc import Iterator

    from continualml.settings import Project
    from continualml.store.backup import Advance, BackupError


def backup(
    target: Annotated[Path, typer.Argument(help="The folder that is made.")],
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Back up log and versions, while they are used, and check it; exit code 1 if broken."""
    from importlib.metadata import version  # noqa: PLC0415  only for this verb

    from continualml.app.place import place_of  # noqa: PLC0415  only for this verb
    from continualml.store import backup as backups  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    said = project.settings
    try:
        with _bar("backup") as advance:
            made = backups.make(
                open_store(said.database_url, migrate=False),
                place_of(said),
                target,
                build=version("continualml"),
                configuration=said.config,
                advance=advance,
            )
    except backups.BackupError as error:
        _fail(error, as_json=as_json)
    told = {"backup": str(target), **backups.told(made)}
    print_json(told) if as_json else print_facts(told)


def restore(
    source: Annotated[Path, typer.Argument(help="A folder that backup made.")],
    config: Config = None,
    data: Data = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Move what is there into a folder aside.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Check it alone, write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup's log and versions into the data directory; exit code 1 if it is broken."""
    from continualml.app import tree  # noqa: PLC0415  only for this verb
    from continualml.store import backup as backups  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    if check:
        with _bar("check") as advance:
            checks = backups.check(source, advance)
        print_rows([asdict(c) for c in checks], as_json=as_json)
        if any(c.broken for c in checks):
            raise typer.Exit(FAILED)
        return
    backups.manifest_of(source)
    _refuse_elsewhere(project)
    place = project.settings.data
    held = tree.hold(place) if place.exists() else nullcontext()
    try:
        with held, _bar("restore") as advance:
            if users := tree.users(place / backups.LOG):
                got = Said(f"one that these processes use: {', '.join(map(str, users))}")
                raise InputError(str(place), expected="a log that nobody uses", got=got)
            done = backups.restore(source, place, replace=replace, advance=advance)
    except backups.BackupError as error:
        _fail(error, as_json=as_json)
    told = {
        "restored": str(place),
        "aside": str(done.aside) if done.aside else None,
        **backups.told(done.manifest),
    }
    print_json(told) if as_json else print_facts(told)
    if backups.hash_of(project.settings.config) != done.manifest.configuration:
        say_warning(f"{project.settings.config} is not as it was when the backup was made")


def gc(
    config: Config = None,
    data: Data = None,
    older_than_days: Annotated[
        float | None,
        typer.Option(min=0, help="Rows that are older may go too; default: rows stay."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete what nothing needs any more: files of versions, and rows if asked; it is recorded."""
    from continualml.loop import collect  # noqa: PLC0415  only for this verb
    from continualml.store import log  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    engine, place = open_store(project.settings.database_url), project.settings.artifacts
    older_than_s = None if older_than_days is None else older_than_days * _DAY_S
    with read(engine) as conn:
        names = log.models(conn)
    told = [
        collect.would(engine, place, name, older_than_s=older_than_s)
        if dry_run
        else collect.collect(engine, place, name, older_than_s=older_than_s, by=by_whom())
        for name in names
    ]
    told.append(collect.strays(engine, place, dry_run=dry_run))
    shown = [asdict(t) | {"model": t.model or "no version's"} for t in told]
    print_rows([asdict(t) for t in told] if as_json else shown, as_json=as_json)


def _refuse_elsewhere(project: "Project") -> None:
    """Refuse to put files in the place of a log that is somewhere else."""
    from sqlalchemy.engine import make_url  # noqa: PLC0415  only for this verb

    from continualml.store.backup import LOG  # noqa: PLC0415  only for this verb

    url = make_url(project.settings.database_url)
    here = project.settings.data / LOG
    if url.get_backend_name() != "sqlite" or Path(url.database or "").absolute() != here.absolute():
        got = Said(f"CONTINUAL_DATABASE_URL={url.render_as_string()}")
        raise InputError("restore", expected=f"a log at {here}", got=got)


def _fail(error: "BackupError", *, as_json: bool) -> NoReturn:
    print_rows([asdict(c) for c in error.checks], as_json=as_json)
    say_error(str(error))
    raise typer.Exit(FAILED)


@contextmanager
def _bar(name: str) -> "Iterator[Advance]":
    """Show how many bytes are through, on a terminal alone."""
    from rich.console import Console  # noqa: PLC0415  only when needed
    from rich.progress import (  # noqa: PLC0415  only when needed
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(name, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance
