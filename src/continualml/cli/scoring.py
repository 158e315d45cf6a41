"""The verb that answers a whole table."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from continualml import settings as configuration
from continualml.cli.options import AsJson, Config, Data, ModelName, model_named
from continualml.cli.printing import print_rows


def score(
    source: Annotated[Path, typer.Argument(help="CSV (also .gz) or Parquet.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV (also .gz) or Parquet.")],
    config: Config = None,
    data: Data = None,
    model: ModelName = None,
    no_log: Annotated[bool, typer.Option("--no-log", help="Record nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answer each row of a table with the champion; recorded as through /predict."""
    from continualml.app import score as scoring  # noqa: PLC0415  only for this verb
    from continualml.app import tabular  # noqa: PLC0415  only for this verb
    from continualml.app.place import place_of  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    asked = project.models[model_named(project, model)]
    engine = open_store(project.settings.database_url)
    champion = scoring.champion_of(engine, place_of(project.settings), asked)
    n = scoring.check(source, asked)
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        tabular.written(output) as write_rows,
        Progress(*columns, console=console, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("", total=n)
        done = scoring.score(
            source,
            asked,
            champion,
            None if no_log else engine,
            write_rows,
            advance=lambda rows: bar.advance(task, rows),
        )
    engine.dispose()
    if as_json:
        print_rows([asdict(done)], as_json=True)
        return
    said = f"{done.model}: {done.rows} rows answered by version {done.version}"
    if not no_log:
        said += f"; {done.recorded} recorded"
        said += f", {done.known} were there and have their recorded answers" if done.known else ""
    typer.echo(f"{said}; {output}")
