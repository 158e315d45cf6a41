"""Measurements as cells of a table, each kept as soon as it is there."""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.cpu import cpu

Cell = dict[str, Any]
PACKAGES = ("continualml", "numpy", "scipy", "scikit-learn", "river")


class Cells:
    """Cells of one part by name; a rerun measures only what is missing.

    Each cell carries the versions and the machine that it was measured with, because a table may
    be filled in several runs. To measure one again, delete it from the file.
    """

    def __init__(self, path: Path, command: str) -> None:
        self.path, self.command = path, command
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.cells: dict[str, Cell] = kept.get("cells", {})

    def fill(self, wanted: Mapping[str, Callable[[], Cell]]) -> None:
        """Measure the missing cells one after the other, with a progress bar."""
        missing = {name: work for name, work in wanted.items() if name not in self.cells}
        for name in progress(tuple(missing), f"{self.path.stem}, {len(wanted)} cells"):
            began = time.perf_counter()
            cell = missing[name]()
            took = round(time.perf_counter() - began, 2)
            self.cells[name] = {**cell, "took_s": took, "made_with": made_with()}
            self._keep()

    def _keep(self) -> None:
        kept = {"command": self.command, "cells": dict(sorted(self.cells.items()))}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".partial")
        beside.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        beside.replace(self.path)


def progress(names: tuple[str, ...], title: str) -> Any:
    """Yield the names while a bar on stderr says which one is being measured."""
    columns = (
        TextColumn("{task.fields[title]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=len(names), title=title, now="")
        for name in names:
            bar.update(task, now=name)
            yield name
            bar.advance(task)
        bar.update(task, now="")


def made_with() -> dict[str, str]:
    """Name the versions and the CPU."""
    return {
        **{name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "cpu": f"{cpu()}, {os.cpu_count()} cores",
    }
