"""Verbs that only look: who answers, and what was decided."""

from typing import Annotated, Any, get_args

import typer

from continualml import settings as configuration
from continualml.cli.exits import FAILED
from continualml.cli.options import AsJson, Config, Data
from continualml.cli.printing import print_facts, print_lines, print_rows
from continualml.errors import InputError
from continualml.records import DecisionKind

KINDS: tuple[str, ...] = get_args(DecisionKind)


def status(config: Config = None, data: Data = None, as_json: AsJson = False) -> None:
    """Say who answers and what the loop has read; exit code 1 without a champion."""
    from continualml.store import log, pointers, snapshots  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    told: list[dict[str, Any]] = []
    with read(open_store(project.settings.database_url)) as conn:
        for name in project.shown(log.observed(conn, project.models)):
            report = snapshots.report(conn, name) or {}
            told.append(
                {
                    "model": name,
                    **pointers.pointed(conn, name),
                    "follows": report.get("follows"),
                    "rows": report.get("rows", 0),
                    "loss": report.get("evidence", {}).get("loss"),
                }
            )
    if as_json:
        print_rows(told, as_json=True)
    else:
        for one in told:
            print_facts(one)
            typer.echo()
    if not any(t["model"] == project.default and "champion" in t for t in told):
        raise typer.Exit(FAILED)


def decisions(
    config: Config = None,
    data: Data = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Only this one; default: all.")
    ] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only these kinds.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the ledger, newest first."""
    from continualml.store import ledger, lineage, log  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    if unknown := [k for k in kind or () if k not in KINDS]:
        raise InputError("--kind", expected=f"one of {list(KINDS)}", got=unknown[0])
    with read(open_store(project.settings.database_url)) as conn:
        # A model that is no longer declared may have decided something all the same.
        known = {*project.models, *log.models(conn)}
        if model is not None and model not in known:
            raise InputError("--model", expected=f"one of {sorted(known)}", got=model)
        found = ledger.entries(conn, model=model, kinds=tuple(kind or ()), limit=limit)
        shown = lineage.shown(conn, found)
    told = [
        {
            "n": e.n,
            "recorded_at": e.recorded_at if as_json else e.recorded_at[:19],
            "model": e.decision.model,
            "kind": e.decision.kind,
            "version": e.decision.version,
            "rows": shown[e.n]["rows"],
            "because": e.decision.because,
        }
        | ({"basis": e.decision.basis, "hash": e.hash, **shown[e.n]} if as_json else {})
        for e in found
    ]
    if as_json:
        print_rows(told, as_json=True)
    else:
        print_lines(told)
