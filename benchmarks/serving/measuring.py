"""Rounds: every server in turn, again and again, so that a busy minute hits all of them."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from benchmarks.serving import bodies, champions, environments, load, machine
from benchmarks.serving.environments import NotThereError
from benchmarks.serving.load import Load
from benchmarks.serving.processes import DidNotServeError, Running, running
from benchmarks.serving.servers import Cell, Server, Start, cell_name, start_of

_SAME: Final = 1e-4
_WARM_S: Final = 1
_TIMEOUT_S: Final = 30
_REFUSED: Final = (401, 403, 413, 422)  # waiting does not heal it


@dataclass(kw_only=True)
class Found:
    """All that was measured: loads by cell and process figures by server, round by round.

    ``absent`` says of a server why it could not be measured.
    """

    loads: dict[str, list[Load]] = field(default_factory=dict)
    starts_s: dict[str, list[float]] = field(default_factory=dict)
    memory_mb: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    memory_after_mb: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """What all servers are asked in this run, and whether they answer right."""

    folder: Path
    token: str
    rows: bodies.Rows
    expected: Any

    def script(self, cell: Cell, *, ours: bool) -> Path:
        """Write what wrk sends for a cell."""
        body = bodies.FORMS[cell.form](self.rows[: cell.rows])
        name = f"{cell.form}-{cell.rows}{'-ours' * ours}"
        return load.script(self.folder, name, body, self.token if ours else None)

    def is_right(self, server: Server, start: Start, cell: Cell) -> bool:
        """Ask once; False while the server is not ready.

        Raises
        ------
        DidNotServeError
            If it answers something else than the model.
        """
        url = start.url + server.routes[cell.form]
        body = bodies.FORMS[cell.form](self.rows[: cell.rows])
        headers = {} if server.peer else {"Authorization": f"Bearer {self.token}"}
        answer = httpx.post(url, json=body, headers=headers, timeout=_TIMEOUT_S, trust_env=False)
        if not answer.is_success:
            if answer.status_code in _REFUSED:
                raise DidNotServeError(f"{answer.status_code}: {answer.text[:200]}")
            return False
        found = bodies.probabilities(answer.json())
        if found.shape != (cell.rows, len(bodies.CLASSES)):
            raise DidNotServeError(f"{cell.rows} rows answered as {found.shape}")
        if server.champion != champions.LOGISTIC_NAME:
            return bool(np.abs(found.sum(axis=1) - 1).max() < _SAME)
        if not np.abs(found - self.expected[: cell.rows]).max() <= _SAME:
            raise DidNotServeError(f"expected {self.expected[0]}, got {found[0]}")
        return True


def measure(
    plan: Sequence[tuple[Server, tuple[Cell, ...]]],
    *,
    rounds: int,
    seconds: int,
    told: Callable[[str, int], None],
) -> Found:
    """Measure all cells of a plan.

    Parameters
    ----------
    told
        Hears what is done now, and how many cells are done since the last time.
    """
    found = Found()
    with tempfile.TemporaryDirectory(prefix="serving-") as place:
        folder = Path(place)
        for peer in dict.fromkeys(s.peer for s, _ in plan if s.peer):
            told(f"environment of {peer}", 0)
            _prepare(peer, plan, found)
        told("training", 0)
        asker = prepared(folder)
        found.machine = machine.described(folder)
        for i in range(rounds):
            # To and fro, so that a machine that grows slower is nobody's disadvantage.
            for server, cells in plan[:: 1 if i % 2 == 0 else -1]:
                _serve(server, cells, asker, found, seconds, told)
    return found


def prepared(folder: Path) -> Asker:
    """Train what all answer with."""
    champions.make_all(folder)
    rows = bodies.rows(max(bodies.SIZES))
    expected = champions.expected(folder / "model.json", rows)
    return Asker(folder=folder, token=os.urandom(24).hex(), rows=rows, expected=expected)


def _prepare(peer: str, plan: Iterable[tuple[Server, tuple[Cell, ...]]], found: Found) -> None:
    try:
        environments.make(peer)
    except NotThereError as error:
        for server, _ in plan:
            if server.peer == peer:
                found.absent[server.full_name] = f"not installed: {error}"


def _serve(
    server: Server,
    cells: tuple[Cell, ...],
    asker: Asker,
    found: Found,
    seconds: int,
    told: Callable[[str, int], None],
) -> None:
    """Give one server its turn; what keeps it from serving is said, and ends its part."""
    name = server.full_name
    done = 0
    try:
        if name in found.absent:
            return
        told(f"{name}: start", 0)
        for cell in _turn(server, cells, asker, found, seconds):
            done += 1
            told(cell_name(server, cell), 1)
    except (DidNotServeError, httpx.HTTPError) as error:
        found.absent[name] = f"{type(error).__name__}: {error}"[:300]
    finally:
        told(name, len(cells) - done)
        shutil.rmtree(asker.folder / "serving", ignore_errors=True)


def _turn(
    server: Server, cells: tuple[Cell, ...], asker: Asker, found: Found, seconds: int
) -> Iterable[Cell]:
    start = start_of(server, asker.folder, asker.token)
    first, ours = cells[0], not server.peer
    said = asker.folder / "said.txt"

    def is_right() -> bool:
        return asker.is_right(server, start, first)

    with running(start.command, start.env, said, is_right) as process:
        load.put_on(
            start.url + server.routes[first.form], asker.script(first, ours=ours), 16, _WARM_S
        )
        for cell, following in zip(cells, (*cells[1:], None), strict=True):
            if not asker.is_right(server, start, cell):
                raise DidNotServeError(f"{cell} is not answered right")
            url = start.url + server.routes[cell.form]
            one = load.put_on(url, asker.script(cell, ours=ours), cell.connections, seconds)
            found.loads.setdefault(cell_name(server, cell), []).append(one)
            if cell.rows == 1 and (following is None or following.rows > 1):
                _note(found.memory_mb, server, process)
            yield cell
        _note(found.memory_after_mb, server, process)
        found.starts_s.setdefault(server.full_name, []).append(process.start_s)


def _note(memory: dict[str, list[tuple[float, float]]], server: Server, process: Running) -> None:
    memory.setdefault(server.full_name, []).append(process.memory_mb())
