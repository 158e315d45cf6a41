"""The results as tables of the README."""

import re
from collections.abc import Sequence
from typing import Final

from benchmarks.serving.bars import BARS, Figure, cell
from benchmarks.serving.bodies import SIZES
from benchmarks.serving.results import Kept, median, ratio
from benchmarks.serving.servers import CONNECTIONS, SERVERS, Server

_MISSING: Final = "-"
_MARKS: Final = re.compile(r"(<!-- measured -->\n).*?(<!-- /measured -->)", re.DOTALL)
_PICTURE: Final = "![Requests and rows a second of every server, 16 connections](serving.png)\n"
_FORMS: Final = {
    "named": "named values",
    "tensor": "V2 tensor",
    "split": "columns and rows",
    "plain": "lists",
}


def replaced(readme: str, kept: Kept) -> str:
    """Return the README with the tables between its marks made anew."""
    return _MARKS.sub(lambda found: f"{found[1]}\n{all_of(kept)}\n{found[2]}", readme)


def all_of(kept: Kept) -> str:
    """Return picture and tables."""
    parts = (
        _PICTURE,
        machine(kept),
        bars(kept),
        single(kept),
        batches(kept),
        processes(kept),
        absent(kept),
    )
    return "\n".join(part for part in parts if part)


def machine(kept: Kept) -> str:
    """Say where and with what it was measured."""
    at = kept["machine"]
    peers = {name: version for some in at["peers"].values() for name, version in some.items()}
    ours = ", ".join(f"{name} {version}" for name, version in at["ours"].items())
    theirs = ", ".join(f"{name} {version}" for name, version in peers.items())
    return (
        f"{at['cores']} cores ({at['cpu']}), {at['memory_gb']:g} GB, {at['kernel']}, Python "
        f"{at['python']}, one page synced to the log's disk in {at['fsync_ms']:g} ms; load before "
        f"{at['load_before']:g}. {kept['rounds']} rounds of {kept['seconds']} s. "
        f"Ours: {ours}. Theirs: {theirs}.\n"
    )


def bars(kept: Kept) -> str:
    """Each figure that was wanted, and whether it is reached."""
    rows = [
        [
            bar.name,
            f"{_number(bar.must)} / {_number(bar.goal)}",
            *_spread(bar.figure(kept)),
            bar.verdict(kept),
        ]
        for bar in BARS
    ]
    return _markdown(["", "must / goal", "median", "least to most of a round", ""], rows)


def single(kept: Kept) -> str:
    """One row a request."""
    head = ["one row a request", *(f"requests/s, {c}" for c in CONNECTIONS)]
    head += ["over the tutorial's, 16", "p50 ms, 1", "p50 ms, 16", "p99 ms, 16"]
    rows = []
    for server in SERVERS:
        forms = dict.fromkeys(c.form for c in server.cells if c.rows == 1)
        for form in forms:
            names = {c: _cell(server, 1, form, c) for c in CONNECTIONS}
            if not any(name in kept["cells"] for name in names.values()):
                continue
            tutorial = cell("tutorial", workers=server.workers)
            over = ratio(kept, names[16], tutorial, "rate")
            rows.append(
                [
                    f"{server.full_name}{'' if form == next(iter(forms)) else f', {_FORMS[form]}'}",
                    *(_count(median(kept, names[c], "rate")) for c in CONNECTIONS),
                    _number(over[0] if over else None),
                    _number(median(kept, names[1], "p50_ms")),
                    _number(median(kept, names[16], "p50_ms")),
                    _number(median(kept, names[16], "p99_ms")),
                ]
            )
    return _markdown(head, rows) if rows else ""


def batches(kept: Kept) -> str:
    """Many rows a request, in rows a second."""
    sizes = [n for n in SIZES if n > 1]
    head = ["rows/s", *(f"{n:,} rows, {c} connections" for n in sizes for c in CONNECTIONS)]
    rows = []
    for server in SERVERS:
        for form in dict.fromkeys(c.form for c in server.cells if c.rows > 1):
            figures = [
                None
                if (rate := median(kept, _cell(server, n, form, c), "rate")) is None
                else rate * n
                for n in sizes
                for c in CONNECTIONS
            ]
            if any(f is not None for f in figures):
                name = f"{server.full_name}, {_FORMS[form]}"
                rows.append([name, *(_count(f) for f in figures)])
    return _markdown(head, rows) if rows else ""


def processes(kept: Kept) -> str:
    """Memory of the process with all its children, and seconds until the first right answer."""
    head = ["process and children", "start to first right answer, s"]
    head += [
        "MB after single rows: proportional",
        "resident",
        "MB after all: proportional",
        "resident",
    ]
    keys = ("memory_pss_mb", "memory_rss_mb", "memory_after_pss_mb", "memory_after_rss_mb")
    rows = [
        [name, _number(told["start_s"]), *(_count(told.get(key)) for key in keys)]
        for server in SERVERS
        for name in [server.full_name]
        for told in [kept["servers"].get(name)]
        if told is not None
    ]
    return _markdown(head, rows) if rows else ""


def absent(kept: Kept) -> str:
    """Who could not be measured, why, and which cells had errors."""
    lines = [f"- {name} was not measured to the end: {why}" for name, why in kept["absent"].items()]
    lines += [
        f"- {name}: {sum(told['errors'])} of {sum(told['requests']):,} requests failed"
        for name, told in kept["cells"].items()
        if sum(told["errors"])
    ]
    return "".join(f"{line}\n" for line in lines)


def _cell(server: Server, rows: int, form: str, connections: int) -> str:
    return cell(server.name, rows, form, connections=connections, workers=server.workers)


def _spread(found: Figure | None) -> tuple[str, str]:
    if found is None:
        return _MISSING, _MISSING
    middle, least, most = found
    return f"**{_number(middle)}**", f"{_number(least)} to {_number(most)}"


def _count(value: float | None) -> str:
    return _MISSING if value is None else f"{value:,.0f}"


def _number(value: float | None) -> str:
    if value is None:
        return _MISSING
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return text.removeprefix("0") if text.startswith("0.") else text


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
