"""Verbs about bearer tokens."""

from typing import Annotated

import typer

from continualml import settings as configuration
from continualml.cli.options import AsJson, Config, Data
from continualml.cli.printing import print_rows
from continualml.errors import InputError

app = typer.Typer(help="Bearer tokens.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Who uses it.")],
    scope: Annotated[list[str], typer.Option(help="predict, label, read or admin.")],
    config: Config = None,
    data: Data = None,
) -> None:
    """Make a token; it is shown this once."""
    from continualml.store import tokens  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, write  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    with write(open_store(project.settings.database_url)) as conn:
        _, secret = tokens.create(conn, name, tuple(scope))
    typer.echo(secret)


@app.command("list")
def listed(config: Config = None, data: Data = None, as_json: AsJson = False) -> None:
    """List the tokens, without their secrets."""
    from continualml.store import tokens  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    with read(open_store(project.settings.database_url)) as conn:
        told = [
            {
                "id": t.id,
                "name": t.name,
                "scopes": sorted(t.scopes),
                "created_at": t.created_at,
                "revoked_at": t.revoked_at,
            }
            for t in tokens.listed(conn)
        ]
    print_rows(told, as_json=as_json)


@app.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(help="Its id, from the list.")],
    config: Config = None,
    data: Data = None,
) -> None:
    """Revoke a token; servers refuse it within a second."""
    from continualml.store import tokens  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, write  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    with write(open_store(project.settings.database_url)) as conn:
        if not tokens.revoke(conn, token_id):
            raise InputError("id", expected="the id of a token that holds", got=token_id)
    typer.echo(f"revoked {token_id}")
