"""Rows as a model takes them: a decoder made from its schema reads them in one pass.

What it refuses is read again with care, to name the field, or to take it after all.
"""

import math
import struct
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, overload

import msgspec
import numpy as np

from continualml.app.api import bodies
from continualml.errors import InputError
from continualml.model import Feature, Model
from continualml.records import Rows
from continualml.scoring import features

_Number = Annotated[float, msgspec.Meta(ge=-features.LARGEST, le=features.LARGEST)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=features.LONGEST)]
_TextOrEmpty = Annotated[str, msgspec.Meta(max_length=features.LONGEST)]
_encode = msgspec.json.Encoder().encode


class Asked(NamedTuple):
    """Rows to predict, packed as the log keeps them.

    ``numeric``: for each row little-endian float64 in the order of the columns, NaN where a value
    is missing. ``texts``: for each row its categories, "" where missing; empty without any
    categorical feature. ``ids``: None where the client named none.
    """

    numeric: Sequence[bytes]
    texts: list[tuple[str, ...]]
    ids: Sequence[str | None]


class Pieces(Sequence[bytes]):
    """Bytes of many rows, each as long, which nobody has cut yet.

    Parameters
    ----------
    whole
        Row after row.
    n
        How many rows, at least one.
    """

    def __init__(self, whole: bytes, n: int) -> None:
        self.whole = whole
        self._n = n
        self._width = len(whole) // n

    def __len__(self) -> int:
        """Count the rows."""
        return self._n

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | Sequence[bytes]:
        """Cut out the row, or the rows, at a place."""
        places = range(self._n)[at]
        if isinstance(places, range):
            return [self[i] for i in places]
        return self.whole[places * self._width : (places + 1) * self._width]


def together(rows: Sequence[bytes]) -> bytes:
    """Put rows together; those that were never cut are."""
    return rows.whole if isinstance(rows, Pieces) else b"".join(rows)


class Reader:
    """Reads the requests of one model.

    Parameters
    ----------
    most_rows
        In one request.
    """

    def __init__(self, model: Model, most_rows: int) -> None:
        self._model = model
        self._most_rows = most_rows
        self._n_numeric = len(model.numeric)
        self._gaps = any(f.nullable for f in model.features)
        self._pack: Callable[..., bytes] = struct.Struct(f"<{self._n_numeric}d").pack
        self._decode = _decoder(model)

    def read(self, body: bytes) -> Asked:
        """Read a body; at least one row.

        Raises
        ------
        ProblemError
            400 if it is no JSON, 413 if there are more rows than permitted.
        InputError
            Names the first field that is wrong.
        """
        return self._quickly(body) or self._carefully(body)

    def _quickly(self, body: bytes) -> Asked | None:
        """Read what is usual and right; None where it needs a closer look."""
        if self._decode is None:
            return None
        try:
            found = self._decode(body)
        except bodies.UNREADABLE:
            return None
        if found.instances is None and found.features is not None:
            return self._packed([found.features], (found.observation_id,))
        alone = found.features is None and found.observation_id is None
        if alone and found.instances and len(found.instances) <= self._most_rows:
            ids = [i.observation_id for i in found.instances]
            return self._packed([i.features for i in found.instances], ids)
        return None

    def _packed(self, rows: list[Any], ids: Sequence[str | None]) -> Asked | None:
        """Pack decoded rows; None where a text needs a closer look."""
        n, pack = self._n_numeric, self._pack
        values = [msgspec.structs.astuple(row) for row in rows]
        if self._gaps:
            values = [_filled(row, n) for row in values]
        if not self._model.categorical:
            return Asked([pack(*row) for row in values], [], ids)
        texts = [row[n:] for row in values]
        if not all(text.isascii() and "\0" not in text for row in texts for text in row):
            return None
        return Asked([pack(*row[:n]) for row in values], texts, ids)

    def _carefully(self, body: bytes) -> Asked:
        found = bodies.predict(body, self._most_rows)
        try:
            rows = features.read(self._model, found.instances)
        except InputError as error:
            error.rows = len(found.instances)
            if found.single:  # then the client wrote no list
                error.where = error.where.removeprefix("instances[0].")
            raise
        return of_rows(rows, found.ids)


def of_rows(rows: Rows, ids: Sequence[str | None]) -> Asked:
    """Pack rows that were checked."""
    data = rows.numeric.astype("<f8", copy=False).tobytes()
    texts = [tuple(row) for row in rows.categorical.tolist()] if rows.categorical.size else []
    return Asked(Pieces(data, len(rows)), texts, ids)


def rows_of(model: Model, several: Sequence[Asked]) -> Rows:
    """Put the rows of several requests together, in their order."""
    n, n_texts = sum(len(asked.numeric) for asked in several), len(model.categorical)
    categorical = np.empty((n, n_texts), dtype=object)
    if n_texts:
        # Filled, not converted: NumPy must not guess a shape or a type from texts.
        categorical[:] = [row for asked in several for row in asked.texts]
    data = b"".join(together(asked.numeric) for asked in several)
    packed = np.frombuffer(data, "<f8").reshape(n, len(model.numeric))
    return Rows(numeric=packed, categorical=categorical)


def category_texts(asked: Asked) -> Sequence[str | None]:
    """Write each row's categories as the log keeps them: a JSON list, or None without any."""
    if not asked.texts:
        return [None] * len(asked.numeric)
    return [_encode(row).decode() for row in asked.texts]


def _filled(row: tuple[Any, ...], n_numeric: int) -> tuple[Any, ...]:
    return tuple(
        (math.nan if i < n_numeric else "") if value is None else value
        for i, value in enumerate(row)
    )


def _decoder(model: Model) -> Callable[[bytes], Any] | None:
    """Compile the schema; None if JSON's names cannot be those of a struct."""
    ordered = (*model.numeric, *model.categorical)
    fields = [(f"f{i}", _type(f)) for i, f in enumerate(ordered)]
    names = {f"f{i}": f.name for i, f in enumerate(ordered)}
    strict: dict[str, Any] = {"forbid_unknown_fields": True, "gc": False}
    try:
        row = msgspec.defstruct("Features", fields, rename=names, **strict)
    except ValueError:  # a name with a quotation mark or a backslash
        return None
    an_id = ("observation_id", bodies.ObservationId | None, None)
    instance = msgspec.defstruct("Instance", [("features", row), an_id], **strict)
    several = ("instances", list[instance] | None, None)  # type: ignore[valid-type]
    one = ("features", row | None, None)
    body = msgspec.defstruct("Body", [one, an_id, several], **strict)
    return msgspec.json.Decoder(body).decode


def _type(feature: Feature) -> Any:
    if feature.kind == "numeric":
        return _Number | None if feature.nullable else _Number
    return _TextOrEmpty | None if feature.nullable else _Text
