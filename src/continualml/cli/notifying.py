"""Verbs about those who are told: try a channel out, and open one that is parked."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from continualml import settings as configuration
from continualml.cli.exits import FAILED
from continualml.cli.options import Config, Data
from continualml.errors import InputError, Said
from continualml.settings import Project

app = typer.Typer(help="Who is told, and how.", no_args_is_help=True)
_SET = "set DISCORD_WEBHOOK_URL, or CONTINUAL_NOTIFY_URL"


@app.command("test")
def try_out(config: Config = None, data: Data = None) -> None:
    """Send a message to every channel now, and say what became of it."""
    from continualml.app.courier import channel_of  # noqa: PLC0415  only for this verb
    from continualml.integrations.delivery import Closed, Delivered  # noqa: PLC0415  likewise
    from continualml.notices.notice import Notice  # noqa: PLC0415  likewise

    project = configuration.load(config, data=data)
    notice = Notice(
        event="test",
        tone="plain",
        title="A message to try the channel out",
        what="Notifications arrive here. Nothing has happened.",
        section="all-is-well",
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    failed = False
    for name in _channels(project):
        result = channel_of(project, name).post(notice)
        if isinstance(result, Delivered):
            typer.echo(f"{name}: it is there")
            continue
        failed = True
        remedy = f"; {result.remedy}" if isinstance(result, Closed) else ""
        typer.echo(f"{name}: {getattr(result, 'because', 'rate limit')}{remedy}", err=True)
    if failed:
        raise typer.Exit(FAILED)


@app.command("unpark")
def unpark(
    name: Annotated[str, typer.Argument(help="The channel: discord or apprise.")],
    config: Config = None,
    data: Data = None,
) -> None:
    """Send again what waits for a channel that was parked."""
    from continualml.store import channels  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, write  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    known = _channels(project)
    if name not in known:
        raise InputError("channel", expected=f"one of {known}", got=name)
    with write(open_store(project.settings.database_url)) as conn:
        was_parked = channels.unpark(conn, name)
    typer.echo(f"{name}: " + ("what waits is sent again" if was_parked else "was not parked"))


def _channels(project: Project) -> list[str]:
    from continualml.app.components import configured  # noqa: PLC0415  only for these verbs

    known = configured(project)
    if not known:
        raise InputError("channel", expected="one that is set", got=Said("none"), remedy=_SET)
    return known
