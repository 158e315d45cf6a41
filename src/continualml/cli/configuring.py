"""Verbs about the configuration: make it, show it, check it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from continualml import settings as configuration
from continualml.cli import learnable
from continualml.cli.options import Config, Data
from continualml.cli.printing import say_warning
from continualml.errors import InputError
from continualml.model import Feature
from continualml.settings import Settings

app = typer.Typer(help="The configuration.", no_args_is_help=True)


def init(
    source: Annotated[Path, typer.Option("--from", help="CSV with a header.")],
    target: Annotated[str, typer.Option(help="Column that shall be predicted.")],
    name: Annotated[str | None, typer.Option(help="The model's name; default: the file's.")] = None,
    output: Annotated[Path, typer.Option(help="File to write.")] = Path("continual.toml"),
    force: Annotated[bool, typer.Option("--force", help="Write over a file.")] = False,
) -> None:
    """Infer a schema from a CSV and write a commented continual.toml."""
    from continualml.learning.doubts import doubts  # noqa: PLC0415  only for this verb
    from continualml.learning.table import infer, usual_bound  # noqa: PLC0415  only for this verb

    if output.exists() and not force:
        raise InputError(
            "output", expected="a file that is not there yet", got=str(output), remedy="use --force"
        )
    features, classes = infer(source, target)
    named = name or source.name.split(".")[0]
    found = list(doubts(source, target))
    useless = {d.column: d.what for d in found if d.useless}
    bound = None if classes else usual_bound(source, target)
    output.write_text(_toml(named, target, features, classes, bound, useless), encoding="utf-8")
    n = len(features) - len(useless)
    typer.echo(f"{output}: model {named!r}, {n} features, target {target!r}")
    for d in found:
        out = "; left out" if d.useless else ""
        say_warning(f"{source}:{d.line}, column {d.column}: {d.what}{out}")
    if remark := _keep_out_of_git(output.absolute().parent):
        typer.echo(remark)
    typer.echo(f"next: continual train {source} && continual up")


@app.command("show")
def show(config: Config = None, data: Data = None) -> None:
    """Show every setting as it holds now; secrets are hidden."""
    project = configuration.load(config, data=data)
    typer.echo(json.dumps(configuration.shown(project.settings), indent=2))


@app.command("check")
def check(config: Config = None, data: Data = None) -> None:
    """Check file and environment; exit code 3 with every fault."""
    project = configuration.load(config, declared=True, data=data)
    learnable.check(project)
    names = ", ".join(project.shown(()))
    typer.echo(f"{project.settings.config}: fine; models: {names}")


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of continual.toml."""
    typer.echo(json.dumps(configuration.schema(), indent=2))


def _keep_out_of_git(folder: Path) -> str | None:
    """Ignore the data directory where git would take it; the log is no part of a repository."""
    top = next((d for d in (folder, *folder.parents) if (d / ".git").exists()), None)
    if top is None:
        return None
    line, file = f"{Settings().data.name}/", folder / ".gitignore"
    said = [(d / ".gitignore") for d in (folder, *folder.parents) if d.is_relative_to(top)]
    known = {x.strip().strip("/") for f in said if f.exists() for x in f.read_text().splitlines()}
    if line.strip("/") in known:
        return None
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    gap = "" if before.endswith("\n") or not before else "\n"
    file.write_text(f"{before}{gap}{line}\n", encoding="utf-8")
    return f"{file}: {line} added; what is logged stays out of the repository"


def _toml(
    name: str,
    target: str,
    features: tuple[Feature, ...],
    classes: tuple[str, ...],
    bound: float | None,
    useless: dict[str, str],
) -> str:
    kind = "regression" if bound else "classification"
    lowest = "share of errors within the bound" if bound else "accuracy"
    lines = [
        f"[models.{json.dumps(name)}]",
        f'kind = "{kind}"',
        f"target = {json.dumps(target)}",
        *([f"classes = {json.dumps(list(classes), ensure_ascii=False)}"] if classes else []),
        *([f"{f'bound = {bound:g}':<40}# an error that counts as a loss of 1"] if bound else []),
        'learner = "sklearn.linear_model.LogisticRegression"'
        if classes
        else 'learner = "sklearn.linear_model.Ridge"',
        "",
        "# Missing values are allowed unless a feature says { kind = ..., nullable = false }.",
        f"[models.{json.dumps(name)}.features]",
        *(_line(f, useless.get(f.name)) for f in features),
        "",
        f"[models.{json.dumps(name)}.policy]",
        'retrain = "standing"                    # or "on_alarm": learn only below the threshold',
        f"# threshold = 0.8                       # lowest {lowest}; else the champion promises",
        'false_alarms = "1 per 10000 rows"       # expected rows to an alarm without a change',
        "false_promotions = 0.05                 # chance that what is no better is ever promoted",
        "# block = 24                            # rows that hang together; estimated if left out",
        "",
    ]
    return "\n".join(lines)


def _line(feature: Feature, useless: str | None) -> str:
    line = f'{json.dumps(feature.name, ensure_ascii=False)} = "{feature.kind}"'
    return f"# {line}  # {useless}" if useless else line
