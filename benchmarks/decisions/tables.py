"""Cells as tables of the README; the best figure of a column is bold, whoever it belongs to."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.decisions import alarms, gate, rules, streams
from benchmarks.decisions.cells import Cell
from benchmarks.decisions.stream_data import NAMES
from benchmarks.decisions.worlds import Kind, World

_MISSING = "-"
_SAME = 0.003  # accuracies closer than this are ties


def write(readme: Path, part: str, cells: dict[str, Cell]) -> None:
    """Put a part's tables between its marks in the README."""
    text = readme.read_text(encoding="utf-8")
    readme.write_text(replaced(text, part, cells), encoding="utf-8")


def replaced(text: str, part: str, cells: dict[str, Cell]) -> str:
    """Return the text with what stands between the part's marks made anew."""
    marks = re.compile(rf"(<!-- {part} -->\n).*?(<!-- /{part} -->)", re.DOTALL)
    body = TABLES[part](cells)
    return marks.sub(lambda found: f"{found[1]}\n{body}\n{found[2]}", text)


def _alarms(cells: dict[str, Cell]) -> str:
    return "\n".join(
        _alarm_table(cells, kind, how) for kind in alarms.METHODS for how in alarms.WAYS
    )


def _alarm_table(cells: dict[str, Cell], kind: Kind, how: str) -> str:
    """One row for each way: its parameter, false alarms, and median delays."""
    rho = "0.3" if how.endswith("0.3") else "0"
    changes = [f"{c:g}" for c in World(kind=kind, rho=0).changes]
    to = "error rate {}" if kind == "losses" else "shift of {} sd"
    head = [
        f"{kind}, {how}",
        "parameter",
        "false alarms per million rows, independent",
        "rho .3",
        *(f"delay, {to.format(c)}" for c in changes),
    ]
    rows, delays = [], []
    for method in alarms.METHODS[kind]:
        cell = cells.get(f"{kind} | {method.name} | {how}")
        if cell is None:
            rows.append([method.name, *[_MISSING] * (len(head) - 1)])
            delays.append([None] * len(changes))
            continue
        found = [cell["delay"][rho][c] for c in changes]
        rows.append(
            [
                method.name,
                f"{cell['parameter']} {cell['value']:,.4g}",
                *(f"{cell['false_alarms'][r]:,.0f}" for r in ("0", "0.3")),
                *(
                    f"{d['median']:,.0f}" if d["median"] <= cell["cap"] else f"> {cell['cap']:,}"
                    for d in found
                ),
            ]
        )
        delays.append([d["median"] if _tuned_well(cell, how) else None for d in found])
    if how != "default":  # at their defaults the rates differ, so that no delay is the best
        _embolden(rows, delays, first=4, best=min)
    return _markdown(head, rows)


def _tuned_well(cell: Cell, how: str) -> bool:
    rate = cell["false_alarms"]["0.3" if how.endswith("0.3") else "0"]
    return bool(alarms.TARGET / 2 <= rate <= alarms.TARGET * 2)


def _gate(cells: dict[str, Cell]) -> str:
    equal = [f"made | {w}" for w, (gain, _) in gate.MADE.items() if not gain]
    gains = [f"made | {w}" for w, (gain, _) in gate.MADE.items() if gain]
    worlds = [*equal, "electricity, nobody better"]
    head = [
        "rule",
        *(w.removeprefix("made | ") for w in worlds),
        *(f"{w.removeprefix('made | ')}: labels (promoted)" for w in gains),
    ]
    rows = []
    for rule in rules.RULES:
        there = [cells.get(f"{w} | {rule}") for w in worlds]
        waited = [cells.get(f"{w} | {rule}") for w in gains]
        rows.append(
            [
                rule,
                *(f"{c['promoted']:.3f}" if c else _MISSING for c in there),
                *(
                    f"{c['median_labels']:,.0f} ({c['promoted']:.2f})" if c else _MISSING
                    for c in waited
                ),
            ]
        )
    return _markdown(head, rows)


def _streams(cells: dict[str, Cell]) -> str:
    return "\n".join([*(_accuracies(cells, d) for d in streams.DELAYS), _costs(cells)])


def _accuracies(cells: dict[str, Cell], delay: int) -> str:
    rows, values = [], []
    for way in streams.WAYS:
        there = [cells.get(f"{name} | {delay} | {way}") for name in NAMES]
        rows.append([way, *(f"{c['accuracy']:.3f}" if c else _MISSING for c in there)])
        values.append([c["accuracy"] if c else None for c in there])
    _embolden(rows, values, first=1, best=max, same=_SAME)
    return _markdown([f"accuracy, labels {delay} rows late", *NAMES], rows)


def _costs(cells: dict[str, Cell]) -> str:
    head = [
        "Electricity, labels 48 rows late",
        "refits",
        "swaps",
        "promotions",
        "labels",
        "CPU seconds",
    ]
    rows = []
    for way in streams.WAYS:
        cell = cells.get(f"electricity | 48 | {way}")
        if cell is None:
            rows.append([way, *[_MISSING] * 5])
            continue
        counts = [
            "every label" if cell[k] is None else f"{cell[k]:,}"
            for k in ("refits", "swaps", "promotions")
        ]
        rows.append([way, *counts, f"{cell['labels']:,}", f"{cell['cpu_s']:,.1f}"])
    return _markdown(head, rows)


def _embolden(
    rows: list[list[str]],
    values: Sequence[Sequence[float | None]],
    *,
    first: int,
    best: Callable[[list[float]], float],
    same: float = 0.0,
) -> None:
    for j in range(len(values[0])):
        if known := [v for row in values if (v := row[j]) is not None]:
            winner = best(known)
            for row, value in zip(rows, values, strict=True):
                if (v := value[j]) is not None and abs(v - winner) < same + 1e-9:
                    row[first + j] = f"**{row[first + j]}**"


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


TABLES: dict[str, Callable[[dict[str, Cell]], str]] = {
    "alarms": _alarms,
    "gate": _gate,
    "streams": _streams,
}
