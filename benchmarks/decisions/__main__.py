"""``python -m benchmarks.decisions PART [--quick] [--output FOLDER]``."""

import argparse
from pathlib import Path

from benchmarks.decisions import alarms, gate, plots, streams, tables

HERE = Path(__file__).parent
PARTS = {"alarms": alarms, "gate": gate, "streams": streams}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decisions", description=__doc__)
    parser.add_argument("part", choices=(*PARTS, "all"))
    parser.add_argument("--quick", action="store_true", help="a small run to see that it works")
    parser.add_argument(
        "--output", type=Path, help="where JSON, PNG and README go (default: beside the code)"
    )
    parser.add_argument(
        "--show", action="store_true", help="measure nothing: tables and picture from what is there"
    )
    asked = parser.parse_args()
    if asked.quick and asked.output is None:
        parser.error("--quick needs --output: its figures must not replace the measured ones")
    folder = asked.output or HERE / "results"
    for part in PARTS if asked.part == "all" else (asked.part,):
        cells = (
            PARTS[part].kept(folder)
            if asked.show
            else PARTS[part].measure(folder, quick=asked.quick)
        )
        plots.draw(part, cells.cells, folder / f"{part}.png")
        if asked.output is None:
            tables.write(HERE / "README.md", part, cells.cells)
        else:
            print(tables.TABLES[part](cells.cells))


if __name__ == "__main__":
    main()
