"""Verbs that run something until it ends: everything, the API alone, a replayed stream."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from continualml import settings as configuration
from continualml.cli import turning
from continualml.cli.options import (
    Config,
    DashboardPort,
    Data,
    ModelName,
    Port,
    Workers,
    model_named,
)
from continualml.errors import InputError
from continualml.settings import Project


def up(
    config: Config = None,
    data: Data = None,
    port: Port = None,
    workers: Workers = None,
    replay: Annotated[
        Path | None, typer.Option(help="CSV whose rows and labels are replayed.")
    ] = None,
    first: Annotated[int, typer.Option(help="Rows of it for the first champion.")] = 1_000,
    speed: Annotated[float, typer.Option(help="Rows a second, at most.")] = 150.0,
) -> None:
    """Run everything as one process tree until Ctrl-C."""
    from continualml.app import tree  # noqa: PLC0415  only for this verb
    from continualml.app import up as everything  # noqa: PLC0415  only for this verb

    project = configuration.load(config, declared=True, data=data, port=port, workers=workers)
    stream = None
    with tree.hold(project.settings.data) as lock:
        if replay is not None:
            turning.train_if_new(project, replay, first)
        if replay is not None and not is_sent(project, replay):
            stream = (
                *(sys.executable, "-m", "continualml", "replay-stream", str(replay.absolute())),
                *("--start", str(first), "--speed", str(speed)),
            )
        raise typer.Exit(everything.run(project, lock=lock, stream=stream))


def is_sent(project: Project, replay: Path) -> bool:
    """Tell whether the file was sent to its last row, and say how to begin again if so."""
    from continualml.app.stream import observation_id  # noqa: PLC0415  only for this verb
    from continualml.learning.table import lines  # noqa: PLC0415  only for this verb
    from continualml.store import log  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    last = (
        project.default,
        observation_id(project.default, sum(1 for _ in lines(replay, set())) - 1),
    )
    with read(open_store(project.settings.database_url)) as conn:
        sent = last in log.recorded(conn, [last])
    if sent:
        data = project.settings.data
        typer.echo(f"{replay} was sent before, to its last row; it is not sent again.")
        typer.echo(f"To begin again: Ctrl-C, delete {data}, and start anew. It holds all there is:")
        typer.echo("log, versions and tokens.")
    return sent


def serve(
    config: Config = None,
    data: Data = None,
    port: Port = None,
    workers: Workers = None,
) -> None:
    """Serve the API alone."""
    from loguru import logger  # noqa: PLC0415  only for this verb

    from continualml.app import logs, ports  # noqa: PLC0415  only for this verb
    from continualml.app.api.main import serve as serve_api  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data, port=port, workers=workers)
    logs.begin(project.settings)  # a service's log, not a command's words
    if not project.settings.config.exists():
        note = f"no {project.settings.config} here: only the built-in model {project.default!r}"
        logger.warning("{} is served, for trying it out with /generate", note)
    ports.check(project.settings)
    os.environ.update(configuration.environment(project.settings))
    raise typer.Exit(serve_api(project))


def dashboard(config: Config = None, data: Data = None, port: DashboardPort = None) -> None:
    """Serve the dashboard; it asks the API of the same settings, or that of CONTINUAL_API_URL."""
    from continualml.app import ports  # noqa: PLC0415  only for this verb
    from continualml.app.dashboard.__main__ import serve as serve_pages  # noqa: PLC0415  likewise

    project = configuration.load(config, data=data, dashboard_port=port)
    ports.check(project.settings, "dashboard_port")
    serve_pages(project.settings)


def replay_stream(
    source: Annotated[Path, typer.Argument(help="CSV with a header.")],
    config: Config = None,
    data: Data = None,
    model: ModelName = None,
    url: Annotated[str | None, typer.Option(help="Address of the API.")] = None,
    speed: Annotated[float, typer.Option(help="Rows a second, at most.")] = 150.0,
    delay: Annotated[int, typer.Option(min=1, help="Rows until a label comes.")] = 48,
    start: Annotated[int, typer.Option(min=0, help="First row that is sent.")] = 1_000,
    rows: Annotated[int | None, typer.Option(help="How many rows.")] = None,
    paced: Annotated[
        bool, typer.Option("--paced/--unpaced", help="Wait for the loop after each day.")
    ] = True,
    output: Annotated[Path | None, typer.Option(help="Directory of table and picture.")] = None,
) -> None:
    """Send rows and, later, their labels over HTTP; then compare with the usual practices."""
    from continualml.app import stream  # noqa: PLC0415  only for this verb
    from continualml.learning.table import read  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    said = project.settings
    asked = project.models[model_named(project, model)]
    table = read(source, asked)
    if start >= len(table.labels):
        raise InputError("--start", expected=f"less than its {len(table.labels)} rows", got=start)
    stop = len(table.labels) if rows is None else min(len(table.labels), start + rows)
    replay = stream.Replay(
        model=asked,
        table=table,
        url=url or f"http://{said.host}:{said.port}",
        token=_admin(project),
        speed=speed,
        delay=delay,
        start=start,
        stop=stop,
        paced=paced,
    )
    raise typer.Exit(stream.run(replay, output=output or said.data / "stream"))


def _admin(project: Project) -> str:
    if project.settings.api_key is not None:
        return project.settings.api_key.get_secret_value()
    path = project.settings.admin_token
    if not path.exists():
        raise InputError(
            str(path), expected="the admin token", got=None, remedy="start the API first"
        )
    return path.read_text(encoding="utf-8").strip()
