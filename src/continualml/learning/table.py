"""A user's CSV: its rows checked against a schema, or a schema inferred from it."""

import csv
import gzip
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from continualml.errors import InputError
from continualml.model import Feature, Model
from continualml.records import Rows
from continualml.scoring import features

_MISSING = {"", "na", "nan", "null", "none", "?"}
_MOST_CLASSES = 20
_INFERRED_ROWS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of a file in its order, with their labels as text."""

    rows: Rows
    labels: tuple[str, ...]


def read(path: Path, model: Model, *, limit: int | None = None) -> Table:
    """Read a CSV (or .csv.gz) with a header; columns that are no feature are left out.

    Raises
    ------
    InputError
        Naming the line and the column of the first value that does not fit.
    """
    instances: list[dict[str, object]] = []
    labels: list[str] = []
    for line, row in _lines(path, {model.target, *(f.name for f in model.features)}):
        if limit is not None and len(labels) >= limit:
            break
        label = row[model.target].strip()
        if model.classes and label not in model.classes:
            raise InputError(
                f"{path}:{line}, column {model.target}",
                expected=f"one of {list(model.classes)}",
                got=label,
            )
        if not model.classes and _number(label) is None:
            raise InputError(
                f"{path}:{line}, column {model.target}", expected="a number", got=label
            )
        instances.append({f.name: _value(path, line, f, row[f.name]) for f in model.features})
        labels.append(label)
    return Table(rows=features.read(model, instances), labels=tuple(labels))


def infer(path: Path, target: str) -> tuple[tuple[Feature, ...], tuple[str, ...]]:
    """Infer the features, and the classes of the target (none: a regression).

    A column is numeric when every value that is there is a number; a target is a class when it is
    text, or a number with few different whole values.

    Raises
    ------
    InputError
        If the target is no column, or a line has too few or too many values.
    """
    seen: dict[str, list[str]] = {}
    for n, (_, row) in enumerate(_lines(path, {target})):
        if n >= _INFERRED_ROWS:
            break
        for name, value in row.items():
            seen.setdefault(name, []).append(value.strip())
    if not seen:
        raise InputError(str(path), expected="a header and at least one row", got="no rows")
    found = tuple(
        Feature(name=name, kind="numeric" if _all_numbers(values) else "categorical")
        for name, values in seen.items()
        if name != target
    )
    truths = set(seen[target])
    whole = all((v := _number(t)) is not None and v.is_integer() for t in truths)
    classes = not _all_numbers(seen[target]) or (whole and len(truths) <= _MOST_CLASSES)
    return found, tuple(sorted(truths)) if classes else ()


def _lines(path: Path, wanted: set[str]) -> Iterator[tuple[int, dict[str, str]]]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            header = [name.strip() for name in next(lines, [])]
            if missing := sorted(wanted - set(header)):
                raise InputError(f"{path}:1", expected=f"a column {missing[0]!r}", got=header)
            for values in lines:
                if not values:
                    continue
                if len(values) != len(header):
                    raise InputError(
                        f"{path}:{lines.line_num}",
                        expected=f"{len(header)} values",
                        got=len(values),
                    )
                yield lines.line_num, dict(zip(header, values, strict=True))
    except FileNotFoundError:
        raise InputError("file", expected="a CSV that exists", got=str(path)) from None
    except (UnicodeDecodeError, gzip.BadGzipFile, csv.Error) as error:
        raise InputError(str(path), expected="a CSV in UTF-8", got=str(error)) from None


def _value(path: Path, line: int, f: Feature, text: str) -> object:
    text = text.strip()
    if text.lower() in _MISSING:
        if not f.nullable:
            raise InputError(f"{path}:{line}, column {f.name}", expected="a value", got=text)
        return None
    if f.kind == "categorical":
        return text
    number = _number(text)
    if number is None:
        raise InputError(f"{path}:{line}, column {f.name}", expected="a number", got=text)
    return number


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _all_numbers(values: list[str]) -> bool:
    there = [v for v in values if v.lower() not in _MISSING]
    return bool(there) and all(_number(v) is not None for v in there)
