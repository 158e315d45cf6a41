"""Tables of a user's: CSV (also .gz) and Parquet, read in batches and written as they come."""

import csv
import gzip
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from continualml.errors import InputError, Said
from continualml.learning import table
from continualml.model import Model
from continualml.records import Json, Rows
from continualml.scoring import features

ROWS_AT_ONCE = 1_000
_CELL = re.compile(r"rows\[(\d+)\](?:\.features\.(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some rows of a table, at least one.

    ``places`` names each as its owner would find it; ``cells`` are all columns as they are there.
    """

    places: Sequence[str]
    cells: Sequence[Json]
    rows: Rows


def read(path: Path, model: Model) -> Iterator[Batch]:
    """Read a table in batches; columns that are no feature are kept in the cells.

    Raises
    ------
    InputError
        Naming the row and the column of the first value that does not fit.
    """
    found = _of_parquet(path) if path.suffix == ".parquet" else _of_csv(path, model)
    while some := list(islice(found, ROWS_AT_ONCE)):
        places = [place for place, _, _ in some]
        instances = [instance for _, _, instance in some]
        names = [f.name for f in model.features]
        if absent := [name for name in names if name not in instances[0]]:
            expected = f"a column {absent[0]!r}"
            raise InputError(str(path), expected=expected, got=sorted(instances[0]))
        chosen = [{name: one[name] for name in names} for one in instances]
        try:
            rows = features.read(model, chosen, "rows")
        except InputError as error:
            raise at_place(error, places) from None
        yield Batch(places=places, cells=[cells for _, cells, _ in some], rows=rows)


def at_place(error: InputError, places: Sequence[str]) -> InputError:
    """Name a row as its owner would find it."""
    found = _CELL.fullmatch(error.where.replace("instances[", "rows[", 1))
    if not found:
        return error
    column = f", column {found[2]}" if found[2] else ""
    where = f"{places[int(found[1])]}{column}"
    return InputError(where, expected=error.expected, got=error.got, remedy=error.remedy)


def _of_csv(path: Path, model: Model) -> Iterator[tuple[str, Json, Json]]:
    for line, cells in table.lines(path, {f.name for f in model.features}):
        values = {f.name: table.value(path, line, f, cells[f.name]) for f in model.features}
        yield f"{path}:{line}", cells, values


def _of_parquet(path: Path) -> Iterator[tuple[str, Json, Json]]:
    arrow, parquet = _pyarrow()
    try:
        file = parquet.ParquetFile(path)
        n = 0
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
            for row in batch.to_pylist():
                n += 1
                yield f"{path}, row {n}", row, {k: _known(v) for k, v in row.items()}
    except FileNotFoundError:
        raise InputError("file", expected="a table that exists", got=str(path)) from None
    except (arrow.ArrowException, OSError) as error:
        raise InputError(str(path), expected="a Parquet file", got=Said(str(error))) from None


def _known(value: Any) -> Any:
    return None if value != value else value  # noqa: PLR0124  only NaN differs from itself


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # noqa: PLC0415  only for Parquet
        from pyarrow import parquet  # noqa: PLC0415  only for Parquet
    except ModuleNotFoundError:
        remedy = "install continualml[parquet], or use CSV"
        raise InputError(
            "file", expected="pyarrow, for Parquet", got=Said("not installed"), remedy=remedy
        ) from None
    return pa, parquet


class Writer(Protocol):
    """Takes rows of like keys, part after part."""

    def __call__(self, rows: Sequence[Json], /) -> None:
        """Write some more."""


@contextmanager
def written(path: Path) -> Iterator[Writer]:
    """Write a table; it stands under its name only when it is complete."""
    fresh = path.with_name(f".{path.name}.part")
    opened = _to_parquet if path.suffix == ".parquet" else _to_csv
    try:
        with opened(fresh, compressed=path.suffix == ".gz") as writer:
            yield writer
        fresh.replace(path)
    except OSError as error:
        raise InputError("--output", expected="a file to write", got=Said(str(error))) from None
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def _to_csv(path: Path, *, compressed: bool) -> Iterator[Writer]:
    opener = gzip.open if compressed else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        out: list[csv.DictWriter[str]] = []

        def write(rows: Sequence[Json]) -> None:
            if not out:
                out.append(csv.DictWriter(file, list(rows[0])))
                out[0].writeheader()
            out[0].writerows(rows)

        yield write


@contextmanager
def _to_parquet(path: Path, *, compressed: bool) -> Iterator[Writer]:
    _ = compressed  # it always is
    arrow, parquet = _pyarrow()
    out: list[Any] = []

    def write(rows: Sequence[Json]) -> None:
        made = arrow.Table.from_pylist(list(rows), schema=out[0].schema if out else None)
        if not out:
            out.append(parquet.ParquetWriter(path, made.schema))
        out[0].write_table(made)

    try:
        yield write
    finally:
        for one in out:
            one.close()
