"""What looks wrong in a user's CSV although a schema can be inferred from it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, repeat
from pathlib import Path

from continualml.learning.table import INFERRED_ROWS, lines
from continualml.model import MISSING, number

_FEWEST_ROWS = 20  # with fewer, all values of a good column may differ
_NEARLY = 0.9  # share of numbers from which the rest looks like a mistake
_RARE = 2  # rows; such a class can neither be learnt nor checked
_MOST_CLASSES = 20

Cells = list[tuple[int, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """What a person should look at before training; a ``useless`` column tells nothing."""

    line: int
    column: str
    what: str
    useless: bool = False


def doubts(path: Path, target: str) -> Iterator[Doubt]:
    """Find what a person should look at before training.

    The file must be one from which ``table.infer`` infers a schema; it looks at the same rows.
    """
    columns: dict[str, Cells] = {}
    for (line, row), _ in zip(lines(path, {target}), repeat(None, INFERRED_ROWS), strict=False):
        for name, value in row.items():
            columns.setdefault(name, []).append((line, value.strip()))
    for name, cells in columns.items():
        yield from _target(name, cells) if name == target else _feature(name, cells)


def _feature(name: str, cells: Cells) -> Iterator[Doubt]:
    there = [(line, text) for line, text in cells if text.lower() not in MISSING]
    if not there:
        yield Doubt(line=cells[0][0], column=name, what="no row has a value", useless=True)
        return
    words = [(line, text) for line, text in there if number(text) is None]
    if words and len(there) - len(words) >= _NEARLY * len(there):
        line, text = words[0]
        more = f" and {len(words) - 1} more" if len(words) > 1 else ""
        what = f"{text!r}{more} is no number, all others are; so the column counts as categorical"
        yield Doubt(line=line, column=name, what=what)
    elif len(there) >= _FEWEST_ROWS and len({text for _, text in there}) == len(there):
        if words:
            what = f"all {len(there)} values differ, as an id's do"
            yield Doubt(line=there[0][0], column=name, what=what, useless=True)
        elif _counts_up([text for _, text in there]):
            what = "the values count up by one, as an id's do"
            yield Doubt(line=there[0][0], column=name, what=what, useless=True)


def _target(name: str, cells: Cells) -> Iterator[Doubt]:
    words = any(text.lower() not in MISSING and number(text) is None for _, text in cells)
    missing = MISSING - {"none"} if words else MISSING  # as good a class as any among words
    empty = [line for line, text in cells if text.lower() in missing]
    if empty:
        what = f"{len(empty)} rows have no value of the target; leave such rows out"
        yield Doubt(line=empty[0], column=name, what=what)
    there = [(line, text) for line, text in cells if text.lower() not in missing]
    counts = Counter(text for _, text in there)
    if not words and len(counts) > _MOST_CLASSES:
        return  # a regression
    if len(counts) > _MOST_CLASSES:
        what = f"{len(counts)} classes; if it is a quantity, mend what is no number"
        yield Doubt(line=there[0][0], column=name, what=what)
        return
    first = {text: line for line, text in reversed(there)}
    for text, n in counts.items():
        if n <= _RARE < len(there):
            what = f"the class {text!r} has {n} of {len(there)} rows"
            yield Doubt(line=first[text], column=name, what=what)


def _counts_up(texts: list[str]) -> bool:
    numbers = [float(text) for text in texts]
    return all(after - before == 1 for before, after in pairwise(numbers))
