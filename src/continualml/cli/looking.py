"""Verbs that only look: who answers, and what was decided."""

import json
from typing import Annotated, Any

import typer

from continualml import settings as configuration
from continualml.cli.exits import FAILED
from continualml.cli.options import AsJson, Config, Data, ModelName
from continualml.cli.printing import print_rows


def status(config: Config = None, data: Data = None, as_json: AsJson = False) -> None:
    """Say who answers and what the loop has read; exit code 1 without a champion."""
    from continualml.store import log, pointers, snapshots  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    told: list[dict[str, Any]] = []
    with read(open_store(project.settings.database_url)) as conn:
        for name in project.shown(log.observed(conn, project.models)):
            there = snapshots.get(conn, name)
            report = json.loads(there[1])["report"] if there else {}
            told.append(
                {
                    "model": name,
                    **pointers.pointed(conn, name),
                    "follows": report.get("follows"),
                    "rows": report.get("rows", 0),
                    "loss": report.get("evidence", {}).get("loss"),
                }
            )
    print_rows(told, as_json=as_json)
    if not any(t["model"] == project.default and "champion" in t for t in told):
        raise typer.Exit(FAILED)


def decisions(
    config: Config = None,
    data: Data = None,
    model: ModelName = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only these kinds.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the ledger, newest first."""
    from continualml.store import ledger  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    with read(open_store(project.settings.database_url)) as conn:
        found = ledger.entries(conn, model=model, kinds=tuple(kind or ()), limit=limit)
    told = [
        {
            "n": e.n,
            "recorded_at": e.recorded_at,
            "model": e.decision.model,
            "kind": e.decision.kind,
            "version": e.decision.version,
            "because": e.decision.because,
        }
        | ({"basis": e.decision.basis, "hash": e.hash} if as_json else {})
        for e in found
    ]
    print_rows(told, as_json=as_json)
