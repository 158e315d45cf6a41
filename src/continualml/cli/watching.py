"""Verbs about Uptime Kuma, which watches from outside."""

import importlib.util

import typer

from continualml import settings as configuration
from continualml.cli.options import Config, Data
from continualml.errors import InputError, Said

app = typer.Typer(help="Uptime Kuma, which watches from outside.", no_args_is_help=True)


@app.command("sync")
def sync(config: Config = None, data: Data = None) -> None:
    """Set Uptime Kuma up for this project; a second time changes nothing."""
    from continualml.app import watching  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    if importlib.util.find_spec("uptime_kuma_api") is None:
        raise InputError(
            "kuma",
            expected="its client",
            got=Said("an installation without it"),
            remedy="install continualml[kuma]",
        )
    for name, what in watching.sync(project).items():
        typer.echo(f"{name}: {what}")


@app.callback()
def kuma() -> None:
    """Uptime Kuma, which watches from outside."""
