"""Verbs that try a policy before it is let near a model: on the own log, or on a file."""

import json
import os
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from continualml import settings as configuration
from continualml.cli.options import AsJson, Config, Data, ModelName, model_named
from continualml.cli.printing import print_rows
from continualml.errors import InputError, Said
from continualml.model import Model
from continualml.settings import Project

if TYPE_CHECKING:
    from continualml.loop.backtest import Recorded, Result

Policies = Annotated[
    list[Path] | None,
    typer.Option("--policy", help="Another continual.toml with the same model; may be repeated."),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE of the policy, as in the file; may be repeated."),
]


def backtest(
    config: Config = None,
    data: Data = None,
    model: ModelName = None,
    policy: Policies = None,
    change: Changes = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="CSV in time order, instead of the log.")
    ] = None,
    delay: Annotated[int, typer.Option(min=0, help="Rows until a label comes; with --from.")] = 48,
    first: Annotated[
        int, typer.Option(min=100, help="Rows for the first champion; with --from.")
    ] = 1_000,
    since: Annotated[
        int | None, typer.Option(min=1, help="Judge only rows after this number of the log.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Directory for picture and JSON.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run policies over the recorded log, and say what each would have done."""
    from continualml.loop import backtest as tried  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    name = model_named(project, model)
    models = _models(project, name, policy or [], change or [])
    recorded = _recorded(project, name, source, delay=delay, first=first)
    results = _run(project, recorded, models)
    told = [_told(r, since) for r in results]
    if source is None:
        told.append(_really(project, name, recorded, since))
    if output is not None:
        _write(output, name, results, told, recorded)
    print_rows(told, as_json=as_json)
    if not as_json:
        for line in tried.LIMITS:
            typer.echo(f"- {line}")


def simulate(
    config: Config = None,
    model: ModelName = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Kinds of drift; default: every kind.")
    ] = None,
    rows: Annotated[int, typer.Option(min=2_000, help="Rows of each stream.")] = 6_000,
    first: Annotated[int, typer.Option(min=200, help="Rows of the first champion.")] = 1_000,
    delay: Annotated[int, typer.Option(min=0, help="Rows until a label comes.")] = 48,
    seed: Annotated[int, typer.Option(help="Of the streams.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Score the policy on made streams with known drift: false alarms, delay, accuracy."""
    from continualml.loop.simulate import KINDS  # noqa: PLC0415  only for this verb
    from continualml.loop.training import Trainer  # noqa: PLC0415  only for this verb
    from continualml.loop.tried import on_stream  # noqa: PLC0415  only for this verb

    project = configuration.load(config)
    policy = project.models[model_named(project, model)].policy
    known = {str(k): k for k in KINDS}
    chosen = kind or list(known)
    if unknown := sorted(set(chosen) - set(known)):
        raise InputError("kind", expected=f"one of {list(known)}", got=unknown[0])
    told = []
    with _bars() as bar, Trainer() as trainer:
        for name in chosen:
            task = bar.add_task(name, total=rows - first)
            tried = on_stream(
                known[name],
                policy,
                trainer,
                rows=rows,
                first=first,
                delay=delay,
                seed=seed,
                progress=lambda n, task=task: bar.update(task, completed=n),  # type: ignore[misc]
            )
            score = tried.score
            told.append(
                {
                    "stream": name,
                    "false alarms": score.false_alarms,
                    "rows to alarm": ", ".join("-" if d is None else str(d) for d in score.delays),
                    "promotions": score.promotions,
                    "in faults": score.promotions_in_faults,
                    "accuracy": score.accuracy,
                    "after the change": ", ".join(f"{a:.3f}" for a in score.accuracy_after),
                    "refits": tried.result.refits,
                }
            )
    print_rows(told, as_json=as_json)


def _bars() -> Progress:
    """Show progress on a terminal, beside the answer."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _models(
    project: Project, name: str, policies: list[Path], changes: list[str]
) -> dict[str, Model]:
    """Name each policy by its file, or by what is changed; the one in force comes first."""
    models = {str(project.settings.config): project.models[name]}
    for path in policies:
        other = configuration.load(path)
        models[str(path)] = other.models[model_named(other, name)]
    if changes:
        said = project.settings
        other = configuration.load(
            said.config if said.config.exists() else None, policy=_table(changes)
        )
        models[", ".join(changes)] = other.models[name]
    return models


def _table(changes: list[str]) -> dict[str, Any]:
    """Read KEY=VALUE as lines of a TOML file.

    Raises
    ------
    InputError
        If one is none.
    """
    try:
        return tomllib.loads("\n".join(changes))
    except tomllib.TOMLDecodeError as error:
        expected = "KEY=VALUE as in continual.toml, texts in quotes"
        raise InputError("--set", expected=expected, got=Said(str(error))) from None


def _recorded(
    project: Project, name: str, source: Path | None, *, delay: int, first: int
) -> "Recorded":
    from continualml.learning.table import read as read_table  # noqa: PLC0415  only for this verb
    from continualml.loop import backtest as tried  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    model = project.models[name]
    if source is None:
        with read(open_store(project.settings.database_url)) as conn:
            return tried.from_store(conn, model)
    table = read_table(source, model)
    index = {c: float(i) for i, c in enumerate(model.classes)}
    target = np.array([index[t] if index else float(t) for t in table.labels])
    return tried.from_rows(model, table.rows, target, delay=delay, first=first)


def _run(project: Project, recorded: "Recorded", models: dict[str, Model]) -> "list[Result]":
    """Run as many at a time as there are cores; each has a training process of its own."""
    from continualml.loop import backtest as tried  # noqa: PLC0415  only for this verb
    from continualml.loop.training import Limits, Trainer  # noqa: PLC0415  only for this verb

    said = project.settings
    limits = Limits(seconds=said.train_timeout_seconds, memory_mb=said.train_memory_mb)
    total = int(np.count_nonzero(recorded.rows.seq > recorded.first))
    with _bars() as bar:

        def one(name: str, model: Model) -> "Result":
            task = bar.add_task(name, total=total)
            with Trainer(limits) as trainer:
                return tried.run(
                    recorded.under(model),
                    trainer,
                    policy=name,
                    progress=lambda n: bar.update(task, completed=n),
                )

        with ThreadPoolExecutor(min(len(models), os.cpu_count() or 1)) as pool:
            waiting = [pool.submit(one, name, model) for name, model in models.items()]
            return [w.result() for w in waiting]


def _told(result: "Result", since: int | None) -> dict[str, Any]:
    judged = result.judged(since)
    skipped = len(result.right) - int(judged.sum())
    moves = [row for row in result.rows_of("promote") if row >= skipped]
    return {
        "policy": result.policy,
        "rows": int(judged.sum()),
        "accuracy": float(result.right[judged].mean()),
        **{m: float(x[judged].mean()) for m, x in result.lost.items()},
        "alarms": sum(row >= skipped for row in result.rows_of("alarm")),
        "promotions": len(moves),
        "ways back": sum(row >= skipped for row in result.rows_of("rollback")),
        "refits": result.refits,
        "refused": result.refused,
        "fit seconds": round(result.fit_seconds, 1),
    }


def _really(project: Project, name: str, recorded: "Recorded", since: int | None) -> dict[str, Any]:
    """Say what was really answered and decided in the meantime."""
    from continualml.scoring.losses import measured, metrics  # noqa: PLC0415  only for this verb
    from continualml.store import ledger  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    model, rows = project.models[name], recorded.rows
    there = (rows.seq > recorded.first) & (rows.version > 0)
    if since is not None:
        there &= rows.observation_seq > since
    with read(open_store(project.settings.database_url)) as conn:
        counts = ledger.counts(conn, name, after=max(recorded.first, since or 0))
    told: dict[str, Any] = {"policy": "what really happened", "rows": int(there.sum())}
    if there.any():
        answer, target = rows.answer[there], rows.target[there]
        lost = {m: float(measured(model, m, answer, target).mean()) for m in metrics(model)}
        wrong = measured(model, "error_rate", answer, target)
        told |= {"accuracy": float(1 - wrong.mean()), **lost}
    return told | {
        "alarms": counts.get("alarm", 0),
        "promotions": counts.get("promote", 0),
        "ways back": counts.get("rollback", 0),
        "refits": counts.get("accept", 0) + counts.get("follow", 0),
        "refused": counts.get("refuse", 0),
    }


def _write(
    output: Path,
    name: str,
    results: "list[Result]",
    told: list[dict[str, Any]],
    recorded: "Recorded",
) -> None:
    from continualml.app.picture import draw  # noqa: PLC0415  only for this verb

    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(told, indent=2) + "\n"
    (output / "backtest.json").write_text(text, encoding="utf-8")
    start = int(np.count_nonzero(recorded.rows.seq <= recorded.first))
    moves = [
        {"row": start + row, "kind": d.kind}
        for row, d in results[0].decisions
        if d.kind in {"promote", "rollback"}
    ]
    draw(
        {r.policy: r.right for r in results},
        moves,
        start=start,
        title=f"{name}: policies over the same log",
        path=output / "backtest.png",
    )
