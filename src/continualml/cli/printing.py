"""How answers are printed: a table for people, JSON for programs, errors in one sentence."""

import json
from textwrap import fill
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_INDENT = " " * 6


def print_rows(told: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print rows of like keys."""
    if as_json:
        print_json(told)
        return
    if not told:
        typer.echo("nothing")
        return
    table = Table()
    columns = list(dict.fromkeys(key for row in told for key in row))
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in told:
        table.add_row(*(escape(_cell(row.get(name))) for name in columns))
    Console().print(table)


def print_lines(told: list[dict[str, Any]], *, width: int | None = None) -> None:
    """Print rows of like keys, one a line; what does not fit of the last column follows below it.

    Parameters
    ----------
    width
        Characters of a line; None: those of the terminal, and endless where there is none.
    """
    if not told:
        typer.echo("nothing")
        return
    console = Console()
    most = width or (console.width if console.is_terminal else 1_000_000)
    *names, last = told[0]
    cells = [{name: _cell(row[name]) for name in row} for row in ({n: n for n in told[0]}, *told)]
    widths = {name: max(len(row[name]) for row in cells) for name in names}
    for row in cells:
        line = "  ".join([*(row[name].ljust(widths[name]) for name in names), row[last]])
        typer.echo(fill(line, most, subsequent_indent=_INDENT, break_on_hyphens=False))


def print_json(told: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Print named facts, or rows of them, for programs."""
    typer.echo(json.dumps(told, indent=2))


def print_facts(told: dict[str, Any], *, depth: int = 0) -> None:
    """Print named facts below each other, what belongs together indented."""
    indent = "  " * depth
    for name, value in told.items():
        label = f"{indent}{name.replace('_', ' ')}:"
        if isinstance(value, dict) and value:
            typer.echo(label)
            print_facts(value, depth=depth + 1)
        elif isinstance(value, list) and value and not isinstance(value[0], list):
            typer.echo(label)
            for one in value:
                typer.echo(f"{indent}  - {_cell(one)}")
        else:
            typer.echo(f"{label} {_cell(value) or '-'}")


def say_error(text: str) -> None:
    """Say what went wrong, apart from the answer."""
    Console(stderr=True).print(f"[red]error:[/red] {escape(text)}", highlight=False, soft_wrap=True)


def say_warning(text: str) -> None:
    """Say what a person should look at, apart from the answer."""
    Console(stderr=True).print(f"[yellow]warning:[/yellow] {escape(text)}", soft_wrap=True)


def _cell(value: object) -> str:
    match value:
        case dict():
            return ", ".join(f"{k} {_cell(v)}" for k, v in value.items())
        case list():
            return ", ".join(f"[{_cell(v)}]" if isinstance(v, list) else _cell(v) for v in value)
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
    return "" if value is None else str(value)
