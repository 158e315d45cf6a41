"""Replays a labelled file over HTTP: rows first, their labels later, as in the world."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as Printed

from continualml.app.picture import draw
from continualml.learning.table import Table
from continualml.model import Model

_LONGEST_WAIT_S = 30.0
_SAY_S = 10.0
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """How a file is replayed.

    Parameters
    ----------
    speed
        Rows a second, at most.
    delay
        Rows after which a row's label comes; also the length of a "day".
    start, stop
        First row that is sent, and the one after the last.
    paced
        Wait after each day until the loop has read its labels, as it has in a world where a day
        takes a day.
    """

    model: Model
    table: Table
    url: str
    token: str
    speed: float = 150.0
    delay: int = 48
    start: int = 1_000
    stop: int = 0
    paced: bool = True


@dataclass(slots=True)
class Served:
    """What was answered, row by row from the start."""

    right: list[bool] = field(default_factory=list)
    version: list[int] = field(default_factory=list)


def run(replay: Replay, *, output: Path) -> int:
    """Send everything, then print a table and draw a picture; Ctrl-C shows what there is so far."""
    console = Console()
    served = Served()
    headers = {"Authorization": f"Bearer {replay.token}"}
    with httpx.Client(base_url=replay.url, headers=headers, trust_env=False, timeout=30) as client:
        try:
            with _progress(console, replay.stop - replay.start) as advance:
                for _ in send(client, replay, served):
                    advance(served)
        except KeyboardInterrupt:
            console.print("stopped; so far:")
        if len(served.right) > replay.delay:
            report(client, replay, served, console, output)
    return 0


def send(client: httpx.Client, replay: Replay, served: Served) -> Iterator[int]:
    """Send rows and, ``delay`` rows later, their labels; yields after each row."""
    began = time.monotonic()
    first = replay.start
    for at in range(first, replay.stop):
        told = _post(client, f"/models/{replay.model.name}/predict", _row(replay, at))
        said = told["predictions"][0]
        served.right.append(said["prediction"] == replay.table.labels[at])
        served.version.append(int(said.get("version", told["version"])))
        if (at + 1 - first) % replay.delay == 0 and at + 1 - first > replay.delay:
            _label(client, replay, at + 1 - 2 * replay.delay, at + 1 - replay.delay)
            if replay.paced:
                _await_loop(client, replay)
        yield at
        ahead = (at + 1 - first) / replay.speed - (time.monotonic() - began)
        if ahead > 0:
            time.sleep(ahead)


def report(
    client: httpx.Client, replay: Replay, served: Served, console: Console, output: Path
) -> None:
    """Print accuracies beside those of the usual practices, and draw them over time."""
    from continualml.learning.compare import compare  # noqa: PLC0415  brings scikit-learn

    stop = replay.start + len(served.right)
    others = compare(replay.model, replay.table, start=replay.start, stop=stop, delay=replay.delay)
    right = {"Continual ML": np.array(served.right), **others.right}
    moves = _moves(client, replay, served)
    table = Printed(title=f"accuracy on {len(served.right)} rows, labels {replay.delay} rows late")
    table.add_column("who")
    table.add_column("accuracy", justify="right")
    for name, was in right.items():
        table.add_row(name, f"{was.mean():.4f}")
    console.print(table)
    console.print(f"{len(moves)} promotions and ways back: {moves}")
    console.print(
        "Labels here hang together: whoever may repeat the label of half an hour ago scores .853, "
        f"which nobody can when labels come {replay.delay} rows late."
    )
    output.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "rows": len(served.right),
        "delay": replay.delay,
        "accuracy": {name: round(float(was.mean()), 4) for name, was in right.items()},
        "moves": moves,
    }
    path = output / "result.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    title = f"{replay.model.name}, labels {replay.delay} rows late"
    draw(right, moves, start=replay.start, title=title, path=output / "accuracy.png")
    console.print(f"written: {path} and {output / 'accuracy.png'}", soft_wrap=True)


def _moves(client: httpx.Client, replay: Replay, served: Served) -> list[dict[str, Any]]:
    """Promotions and ways back, each at the first row that its version answered."""
    asked: list[tuple[str, str | int | float | bool | None]] = [
        ("model", replay.model.name),
        ("kind", "promote"),
        ("kind", "rollback"),
        ("limit", 1_000),
    ]
    told = client.get("/decisions", params=asked).raise_for_status().json()
    moves = []
    for decision in reversed(told["decisions"]):
        if decision["version"] in served.version:
            row = replay.start + served.version.index(decision["version"])
            moves.append({"row": row, "kind": decision["kind"], "version": decision["version"]})
    return moves


def _row(replay: Replay, at: int) -> dict[str, Any]:
    numbers, texts = replay.table.rows.numeric[at], replay.table.rows.categorical[at]
    features: dict[str, Any] = {
        f.name: None if np.isnan(v) else float(v)
        for f, v in zip(replay.model.numeric, numbers, strict=True)
    }
    features |= {f.name: v or None for f, v in zip(replay.model.categorical, texts, strict=True)}
    return {"features": features, "observation_id": _id(replay, at)}


def _label(client: httpx.Client, replay: Replay, start: int, stop: int) -> None:
    labels = [
        {"observation_id": _id(replay, at), "label": replay.table.labels[at]}
        for at in range(start, stop)
    ]
    _post(client, "/labels", {"model": replay.model.name, "labels": labels})


def observation_id(model: str, at: int) -> str:
    """Name a row of the file by its place, so that sending it again changes nothing."""
    return f"{model}-{at}"


def _id(replay: Replay, at: int) -> str:
    return observation_id(replay.model.name, at)


def _post(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Post until it is answered; the same ids again change nothing."""
    until, pause = time.monotonic() + _PATIENCE_S, 0.1
    while True:
        try:
            answer = client.post(path, json=body)
        except httpx.TransportError:
            if time.monotonic() > until:
                raise
        else:
            late = time.monotonic() > until
            if late or answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                told: dict[str, Any] = answer.raise_for_status().json()
                return told
        time.sleep(pause)
        pause = min(2.0, pause * 2)


def _await_loop(client: httpx.Client, replay: Replay) -> None:
    until = time.monotonic() + _LONGEST_WAIT_S
    while time.monotonic() < until:
        told = client.get(f"/models/{replay.model.name}").raise_for_status().json()
        if told["waiting_rows"] == 0:
            return
        time.sleep(0.02)


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Any]:
    """Show a bar on a terminal, else a line every ten seconds."""
    if not console.is_terminal:
        last = [time.monotonic()]

        def say(served: Served) -> None:
            if time.monotonic() - last[0] >= _SAY_S:
                last[0] = time.monotonic()
                done = len(served.right)
                console.print(f"{done} of {total} rows, accuracy {np.mean(served.right):.4f}")

        yield say
        return
    columns = (
        TextColumn("replay"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("accuracy {task.fields[accuracy]:.4f}, version {task.fields[version]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("replay", total=total, accuracy=0.0, version=0)

        def show(served: Served) -> None:
            done = len(served.right)
            if done % 20 == 0 or done == total:
                rate = float(np.mean(served.right))
                bar.update(task, completed=done, accuracy=rate, version=served.version[-1])

        yield show
