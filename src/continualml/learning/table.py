"""A user's CSV: its rows checked against a schema, or a schema inferred from it."""

import csv
import gzip
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from continualml.errors import InputError, Said, did_you_mean
from continualml.model import MISSING, Feature, Model, number
from continualml.records import Rows
from continualml.scoring import features

_MOST_CLASSES = 20
INFERRED_ROWS = 10_000


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
    for line, row in lines(path, {model.target, *(f.name for f in model.features)}):
        if limit is not None and len(labels) >= limit:
            break
        labels.append(_label(path, line, model, row[model.target].strip()))
        instances.append({f.name: value(path, line, f, row[f.name]) for f in model.features})
    return Table(rows=features.read(model, instances), labels=tuple(labels))


def infer(path: Path, target: str) -> tuple[tuple[Feature, ...], tuple[str, ...]]:
    """Infer the features, and the classes of the target (none: a regression).

    A column is numeric when every value that is there is a number; a target is a class when it is
    text, or a number with few different whole values, which are written as whole numbers.

    Raises
    ------
    InputError
        If the target is no column or has no value, or a line has too few or too many values.
    """
    seen: dict[str, list[str]] = {}
    for n, (_, row) in enumerate(lines(path, {target})):
        if n >= INFERRED_ROWS:
            break
        for name, value in row.items():
            seen.setdefault(name, []).append(value.strip())
    if not seen:
        raise InputError(str(path), expected="a header and at least one row", got=Said("no rows"))
    found = tuple(
        Feature(name=name, kind="numeric" if _all_numbers(values) else "categorical")
        for name, values in seen.items()
        if name != target
    )
    return found, _classes(path, target, seen[target])


def usual_bound(path: Path, target: str) -> float:
    """Propose what error of a regression counts as a loss of 1: half of where most values lie.

    That is half the range from the 5 % to the 95 % quantile of the target, to two digits; 1 where
    all of these are equal.
    """
    rows = itertools.islice(lines(path, {target}), INFERRED_ROWS)
    there = [v for _, row in rows if (v := number(row[target].strip())) is not None]
    low, high = np.quantile(there, (0.05, 0.95))
    return float(f"{(high - low) / 2:.2g}") or 1.0


def _classes(path: Path, target: str, values: list[str]) -> tuple[str, ...]:
    numbers = _all_numbers(values)
    # "none" is missing among numbers, and as good a class as any among words.
    missing = MISSING if numbers else MISSING - {"none"}
    truths = {v for v in values if v.lower() not in missing}
    if not truths:
        raise InputError(
            f"{path}, column {target}", expected="a value", got=Said("none in any row")
        )
    if not numbers:
        return tuple(sorted(truths))
    whole = {v for t in truths if (v := number(t)) is not None}
    if not all(v.is_integer() for v in whole) or len(whole) > _MOST_CLASSES:
        return ()
    return tuple(str(int(v)) for v in sorted(whole))


def left_out(path: Path, model: Model) -> list[str]:
    """Name the columns of a file that the model does not use."""
    used = {model.target, *(f.name for f in model.features)}
    _, row = next(lines(path, used), (0, dict[str, str]()))
    return [name for name in row if name not in used]


def lines(path: Path, wanted: set[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Read the rows of a CSV with their line numbers; the wanted columns must be there."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            if missing := sorted(wanted - set(header)):
                raise _without(path, missing[0], header)
            for values in reader:
                if not values:
                    continue
                if len(values) != len(header):
                    raise InputError(
                        f"{path}:{reader.line_num}",
                        expected=f"{len(header)} values",
                        got=len(values),
                    )
                yield reader.line_num, dict(zip(header, values, strict=True))
    except FileNotFoundError:
        raise InputError(str(path), expected="a CSV that exists", got=Said("none")) from None
    except (UnicodeDecodeError, gzip.BadGzipFile, csv.Error) as error:
        raise InputError(str(path), expected="a CSV in UTF-8", got=str(error)) from None


def _without(path: Path, name: str, header: list[str]) -> InputError:
    expected = f"a column {name!r}"
    if not header:
        return InputError(f"{path}:1", expected=expected, got=Said("an empty file"))
    got = Said(", ".join(header))
    return InputError(f"{path}:1", expected=expected, got=got, remedy=did_you_mean(name, header))


def _label(path: Path, line: int, model: Model, text: str) -> str:
    label = model.class_of(text) if model.classes else text if number(text) is not None else None
    if label is not None:
        return label
    where = f"{path}:{line}, column {model.target}"
    if text.lower() in MISSING:
        raise InputError(where, expected="a value", got=text, remedy="leave rows without one out")
    expected = f"one of {list(model.classes)}" if model.classes else "a number"
    raise InputError(where, expected=expected, got=text)


def value(path: Path, line: int, f: Feature, text: str) -> object:
    """Read one cell as a feature takes it; None where it is missing.

    Raises
    ------
    InputError
        Naming the line and the column.
    """
    text = text.strip()
    if text.lower() in MISSING:
        if not f.nullable:
            raise InputError(f"{path}:{line}, column {f.name}", expected="a value", got=text)
        return None
    if f.kind == "categorical":
        return text
    known = number(text)
    if known is None:
        raise InputError(f"{path}:{line}, column {f.name}", expected="a number", got=text)
    return known


def _all_numbers(values: list[str]) -> bool:
    there = [v for v in values if v.lower() not in MISSING]
    return bool(there) and all(number(v) is not None for v in there)
