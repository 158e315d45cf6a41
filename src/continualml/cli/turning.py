"""Verbs that turn the loop once: a cycle by hand, the first champion from a file."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from continualml import settings as configuration
from continualml.cli import learnable
from continualml.cli.options import AsJson, Config, Data, ModelName, listed, model_named
from continualml.cli.printing import print_rows
from continualml.errors import InputError, Said
from continualml.model import Model
from continualml.settings import Project

if TYPE_CHECKING:
    from continualml.loop.cycle import Loop

# Between these, as a share of the bound, a regression's mean error shows when it rises.
_CLOSEST, _FURTHEST = 0.03, 0.6


def cycle(
    config: Config = None, data: Data = None, model: ModelName = None, as_json: AsJson = False
) -> None:
    """Turn the loop once by hand and say the verdict."""
    from continualml.app import turns  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    names = [model_named(project, model)] if model else listed(project)
    with _loop(project) as loop:
        verdicts = [turns.turn(loop, name) for name in names]
    told = [
        {"model": v.model, "kind": v.kind, "because": v.because, "rows": v.rows} for v in verdicts
    ]
    print_rows(told, as_json=as_json)


def train(
    source: Annotated[Path, typer.Argument(help="CSV with a header.")],
    config: Config = None,
    data: Data = None,
    model: ModelName = None,
    rows: Annotated[int | None, typer.Option(help="Take only the first rows.")] = None,
) -> None:
    """Train the first champion from a file; its rows go into the log."""
    project = configuration.load(config, declared=True, data=data)
    typer.echo(_train(project, source, model_named(project, model), rows))


def train_if_new(project: Project, source: Path, rows: int) -> None:
    """Train the default model's first champion, unless it has one."""
    from continualml.store import pointers  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    with read(open_store(project.settings.database_url)) as conn:
        there = pointers.pointed(conn, project.default)
    if "champion" not in there:
        typer.echo(_train(project, source, project.default, rows))


def _train(project: Project, source: Path, name: str, rows: int | None) -> str:
    from continualml.learning.table import left_out, read  # noqa: PLC0415  only for this verb
    from continualml.loop.begin import from_table  # noqa: PLC0415  only for this verb
    from continualml.store import engine, pointers  # noqa: PLC0415  only for this verb

    if find_spec("sklearn") is None:
        raise InputError(
            "train",
            expected="scikit-learn, to train with",
            got=Said("an installation that only serves"),
            remedy="install continualml[learn]",
        )
    learnable.check(project)
    table = read(source, project.models[name], limit=rows)
    with _loop(project) as loop:
        entry = from_table(loop, name, table)
        with engine.read(loop.engine) as conn:
            known = pointers.version(conn, name, entry.decision.version or 0)
    decision = entry.decision
    promised = ", ".join(f"{m} {v:.4f}" for m, v in decision.basis["promised"].items())
    who = f"{name}: version {decision.version} is the champion, from {len(table.labels)} rows"
    said = [f"{who}; promised: {promised}; block {decision.basis['block']}"]
    if known is not None:
        said.append(_held_back(project.models[name], known.manifest["check"]))
        said += _far_off(project.models[name], known.manifest["check"])
    if unused := left_out(source, project.models[name]):
        said.append(f"columns of {source} that are no feature: {', '.join(unused)}")
    return "\n".join(said)


def _held_back(model: Model, check: dict[str, float]) -> str:
    """Say how the version did on the rows that it was not trained on."""
    lost = {name.removeprefix("hold_"): v for name, v in check.items() if name != "hold"}
    wrong = lost.get("error_rate")
    did = [f"accuracy {1 - wrong:.4f}"] if wrong is not None else []
    did += [f"{name} {v:.4f}" for name, v in lost.items() if name != "error_rate"]
    if not model.classes:
        usual = lost["absolute"] * model.bound
        did.append(f"that is a mean error of {usual:.3g}, none counted above {model.bound:g}")
    return f"on the newest {check['hold']} of them, held back from training: {', '.join(did)}"


def _far_off(model: Model, check: dict[str, float]) -> list[str]:
    """Say when the errors of a regression are so far from its bound that a change hardly shows."""
    if model.classes or _CLOSEST < check["hold_absolute"] < _FURTHEST:
        return []
    how = "at or above" if check["hold_absolute"] >= _FURTHEST else "far below"
    said = (
        f"most errors are {how} models.{model.name}.bound = {model.bound:g}, so that a change "
        "hardly shows; set it to some three times the usual error, and begin again in another "
        "data directory (--data)"
    )
    return [said]


@contextmanager
def _loop(project: Project) -> Iterator["Loop"]:
    """Make a loop with its training process, for one verb."""
    from continualml.app.place import place_of  # noqa: PLC0415  only when needed
    from continualml.loop.cycle import Loop  # noqa: PLC0415  only when needed
    from continualml.loop.training import Limits, Trainer  # noqa: PLC0415  only when needed
    from continualml.store.engine import open_store  # noqa: PLC0415  only when needed

    said = project.settings
    limits = Limits(seconds=said.train_timeout_seconds, memory_mb=said.train_memory_mb)
    with Trainer(limits) as trainer:
        yield Loop(
            engine=open_store(said.database_url),
            artifacts=place_of(said),
            models=project.models,
            trainer=trainer,
            holder=f"command@{socket.gethostname()}:{os.getpid()}",
        )
