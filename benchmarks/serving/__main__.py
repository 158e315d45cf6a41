"""Requests a second and latency beside other model servers: ``python -m benchmarks.serving``.

Ours keeps its durable log; nobody else keeps one. Each peer runs in an environment of its own, with
the same model on the same machine. Without any choice everything is measured, and JSON, tables and
picture beside this file are written anew; a run that leaves something out writes only with
``--output``.
"""

import argparse
import json
import shutil
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.serving import environments, measuring, pictures, results, tables
from benchmarks.serving.servers import CONNECTIONS, SERVERS, Cell, Server, cell_name

HERE = Path(__file__).parent
ROUNDS, SECONDS = 3, 2

Plan = list[tuple[Server, tuple[Cell, ...]]]


def main() -> None:
    """Measure, and write or print what was found."""
    asked = _asked()
    if asked.show:
        shown = results.read(HERE / "results.json")
        _write(shown, asked.output or HERE)
        return
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    wanted = plan(asked.peers, asked.only, asked.connections)
    if not wanted:
        sys.exit("nothing fits --only, --peers and --connections")
    for asked_to_end in (signal.SIGINT, signal.SIGTERM):  # whatever runs is ended on the way out
        signal.signal(asked_to_end, lambda number, _: sys.exit(128 + number))
    total = asked.rounds * sum(len(cells) for _, cells in wanted)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total, now="")

        def told(now: str, done: int) -> None:
            bar.update(task, advance=done, now=now)

        found = measuring.measure(wanted, rounds=asked.rounds, seconds=asked.seconds, told=told)
    long = asked.rounds >= ROUNDS and asked.seconds >= SECONDS
    whole = long and wanted == plan(None, None, None)
    kept = results.of(found, rounds=asked.rounds, seconds=asked.seconds)
    folder = asked.output or (HERE if whole else None)
    if folder is not None:
        _write(kept, folder)
    print(json.dumps(kept["machine"], indent=1))
    print(tables.all_of(kept))


def plan(peers: list[str] | None, only: list[str] | None, connections: list[int] | None) -> Plan:
    """Choose servers and cells: ``only`` are texts of which a cell's name holds one."""
    found: Plan = []
    for server in SERVERS:
        if peers is not None and server.peer and server.peer not in peers:
            continue
        cells = tuple(
            cell
            for cell in server.cells
            if (not only or any(text in cell_name(server, cell) for text in only))
            and (not connections or cell.connections in connections)
        )
        if cells:
            found.append((server, cells))
    return found


def _write(kept: results.Kept, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    results.write(kept, folder / "results.json")
    pictures.draw(kept, folder / "serving.png")
    readme = folder / "README.md"
    if readme.exists():
        text = readme.read_text(encoding="utf-8")
        readme.write_text(tables.replaced(text, kept), encoding="utf-8")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="each server this often")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="each load this long")
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=environments.NAMES,
        help="beside these alone; without a name beside nobody",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="TEXT",
        help="cells whose name holds one of these: '1 row', 'tensor'",
    )
    parser.add_argument("--connections", type=int, nargs="+", choices=CONNECTIONS)
    parser.add_argument("--output", type=Path, help="folder for JSON and picture")
    parser.add_argument(
        "--show", action="store_true", help="measure nothing: tables and picture from what is there"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
