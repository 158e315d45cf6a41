"""Tensors of the Open Inference Protocol, as JSON or as bytes: rows of a model, and answers.

Rows come as one tensor for each feature, named as the feature, or as one matrix of all numeric
features in the schema's order and, where there are any, one of all categories.
"""

import math
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from continualml.app.api import bodies
from continualml.app.api.asking import Asked, of_rows
from continualml.app.api.problems import ProblemError
from continualml.errors import InputError, Said
from continualml.model import Feature, Model
from continualml.records import Json, Rows
from continualml.scoring import features

IDS: Final = "observation_id"
_NUMBERS: Final = {
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
}
_ROWS_AND_COLUMNS: Final = 2
_LENGTH: Final = 4  # bytes before each text of a binary tensor
# Shorter than an observation's id, as the place of a row is added.
_RequestId = Annotated[
    str, msgspec.Meta(min_length=1, max_length=190, pattern=r"^[^\x00-\x1f\x7f]*$")
]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """One named input, row after row; ``data`` is absent where its bytes follow the JSON."""

    name: str
    shape: list[_Count]
    datatype: str
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    parameters: dict[str, Any] = {}


class Output(msgspec.Struct, frozen=True):
    """One output that is wanted."""

    name: str
    parameters: dict[str, Any] = {}


class InferBody(msgspec.Struct, frozen=True, kw_only=True):
    """A request for inference, as the Open Inference Protocol (V2) has it."""

    inputs: Annotated[Sequence[Tensor], msgspec.Meta(min_length=1)]
    id: _RequestId | None = None
    outputs: list[Output] | None = None
    parameters: dict[str, Any] = {}


class _FlatTensor(Tensor, frozen=True, kw_only=True):
    data: list[float] | msgspec.UnsetType = msgspec.UNSET  # type: ignore[assignment]


class _FlatBody(InferBody, frozen=True, kw_only=True):
    inputs: Annotated[Sequence[_FlatTensor], msgspec.Meta(min_length=1)]


_FLAT: Final = msgspec.json.Decoder(_FlatBody)
_ANY: Final = msgspec.json.Decoder(InferBody)


def decode(head: bytes) -> InferBody:
    """Decode a request's JSON; numbers are read in the same pass where they are one flat list.

    Raises
    ------
    ProblemError
        400 if it is no JSON, 422 if it is no request for inference.
    """
    with suppress(*bodies.UNREADABLE):  # it needs a closer look
        found: InferBody = _FLAT.decode(head)
        if all(tensor.datatype in _NUMBERS for tensor in found.inputs):
            return found
    return bodies.decode(_ANY, head)


class _Values:
    """The values of one tensor: an array of numbers, or a list of what JSON had."""

    def __init__(self, tensor: Tensor, flat: "NDArray[Any] | list[Any]") -> None:
        self.tensor = tensor
        self.flat = flat
        self.where = f"inputs[{tensor.name}]"
        if len(flat) != math.prod(tensor.shape):
            raise InputError(
                f"{self.where}.data",
                expected=f"{math.prod(tensor.shape)} values, as the shape says",
                got=Said(f"{len(flat)} values"),
            )


def read(model: Model, asked: InferBody, after: bytes, most_rows: int) -> Asked:
    """Read the rows of a request.

    Parameters
    ----------
    after
        What follows the JSON: the bytes of the binary tensors in their order.

    Raises
    ------
    InputError
        Names the tensor, or the row and the feature, that is wrong.
    ProblemError
        413 if there are more rows than permitted.
    """
    named = _values(asked.inputs, after)
    declared = {f.name for f in model.features}
    ids = named.pop(IDS) if IDS in named and IDS not in declared else None
    if named and named.keys() <= declared:
        rows = _of_columns(model, named, most_rows)
    else:
        rows = _of_matrices(model, named, most_rows)
    return of_rows(rows, _ids(ids, asked.id, len(rows)))


def _values(tensors: Sequence[Tensor], after: bytes) -> dict[str, _Values]:
    found: dict[str, _Values] = {}
    at = 0
    for tensor in tensors:
        where = f"inputs[{tensor.name}]"
        if tensor.name in found:
            raise InputError(where, expected="each input once", got=Said("it comes twice"))
        if tensor.datatype not in _NUMBERS and tensor.datatype != "BYTES":
            expected = f"one of {[*_NUMBERS, 'BYTES']}"
            raise InputError(f"{where}.datatype", expected=expected, got=tensor.datatype)
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            found[tensor.name] = _Values(tensor, _of_json(tensor, where))
            continue
        if type(size) is not int or not 0 <= size <= len(after) - at:
            expected = f"at most the {len(after) - at} bytes that are left after the JSON"
            raise InputError(f"{where}.parameters.binary_data_size", expected=expected, got=size)
        found[tensor.name] = _Values(tensor, _of_bytes(tensor, after[at : at + size], where))
        at += size
    if at != len(after):
        raise InputError("body", expected=f"{at} bytes after the JSON", got=len(after))
    return found


def _of_json(tensor: Tensor, where: str) -> "NDArray[Any] | list[Any]":
    if isinstance(tensor.data, msgspec.UnsetType):
        raise InputError(f"{where}.data", expected="a list", got=Said("nothing"))
    if isinstance(tensor.data, list):
        return _packed(tensor.data)
    if tensor.datatype in _NUMBERS:
        with suppress(msgspec.ValidationError):  # beside another tensor that is no flat list
            return _packed(msgspec.json.decode(tensor.data, type=list[float]))
    try:
        flat: list[Any] = [msgspec.json.decode(tensor.data)]
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InputError(f"{where}.data", expected="a list", got=Said(str(error))) from None
    for _ in range(len(tensor.shape)):
        if not all(isinstance(part, list) for part in flat):
            break
        flat = [value for part in flat for value in part]
    return flat


def _packed(values: list[float]) -> NDArray[np.float64]:
    return np.frombuffer(struct.pack(f"<{len(values)}d", *values), "<f8")


def _of_bytes(tensor: Tensor, data: bytes, where: str) -> "NDArray[Any] | list[Any]":
    if tensor.datatype in _NUMBERS:
        kind = np.dtype(_NUMBERS[tensor.datatype])
        if len(data) % kind.itemsize:
            expected = f"a multiple of {kind.itemsize} bytes"
            raise InputError(
                f"{where}.parameters.binary_data_size", expected=expected, got=len(data)
            )
        return np.frombuffer(data, kind).astype(np.float64)
    texts: list[str] = []
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + _LENGTH], "little")
        piece = data[at + _LENGTH : at + _LENGTH + length]
        if len(data) - at < _LENGTH or len(piece) != length:
            expected = "texts, each after its length in four bytes"
            raise InputError(f"{where}.data", expected=expected, got=Said("bytes that end inside"))
        try:
            texts.append(piece.decode())
        except UnicodeDecodeError:
            raise InputError(f"{where}.data", expected="UTF-8", got=piece[:60]) from None
        at += _LENGTH + length
    return texts


def _n_rows(values: _Values, n_columns: int, most_rows: int) -> int:
    """Take the number of rows from a shape, and refuse any other shape than [n, columns]."""
    shape = values.tensor.shape
    fits = len(shape) == _ROWS_AND_COLUMNS and shape[1] == n_columns
    if not (fits or (n_columns == 1 and len(shape) == 1)):
        expected = f"[rows, {n_columns}]" + (" or [rows]" if n_columns == 1 else "")
        raise InputError(f"{values.where}.shape", expected=expected, got=shape)
    bodies.check_rows(shape[0], most_rows, values.where)
    return shape[0]


def _of_columns(model: Model, named: dict[str, _Values], most_rows: int) -> Rows:
    first = next(iter(named.values()))
    n = _n_rows(first, 1, most_rows)
    for values in named.values():
        if (other := _n_rows(values, 1, most_rows)) != n:
            expected = f"{n} rows, as in {first.where}"
            raise InputError(f"{values.where}.shape", expected=expected, got=other)
    if missing := [f.name for f in model.features if f.name not in named]:
        remedy = "send one tensor for each feature; where no value is known, null"
        raise InputError(
            f"inputs[{missing[0]}]", expected="a tensor", got=Said("none"), remedy=remedy
        )
    columns = [_column(f, named[f.name]) for f in model.numeric]
    numeric = np.stack(columns, axis=1) if columns else np.empty((n, 0))
    texts = {f.name: _texts(named[f.name]) for f in model.categorical}
    return _checked(model, numeric, [dict(zip(texts, row, strict=True)) for row in _across(texts)])


def _of_matrices(model: Model, named: dict[str, _Values], most_rows: int) -> Rows:
    wanted = [("numeric", model.numeric)] if model.numeric else []
    wanted += [("categorical", model.categorical)] if model.categorical else []
    found: dict[str, _Values] = {}
    for values in named.values():
        kind = "categorical" if values.tensor.datatype == "BYTES" else "numeric"
        if kind in found or kind not in dict(wanted):
            remedy = f"the features are {[f.name for f in model.features]}"
            expected = (
                "a tensor for each feature, or one for all numeric ones and one for all texts"
            )
            got = Said(f"tensors named {sorted(named)}")
            raise InputError(values.where, expected=expected, got=got, remedy=remedy)
        found[kind] = values
    sizes: dict[str, int] = {}
    for kind, some in wanted:
        if kind not in found:
            expected = f"a tensor of the {len(some)} {kind} features"
            raise InputError("inputs", expected=expected, got=Said("none"))
        sizes[kind] = _n_rows(found[kind], len(some), most_rows)
    n = next(iter(sizes.values()))
    if len(set(sizes.values())) > 1:
        raise InputError("inputs", expected="as many rows in each tensor", got=sizes)
    numeric = np.empty((n, 0))
    if model.numeric:
        where = found["numeric"]
        numeric = _numbers(where, None).reshape(n, -1)
    names = [f.name for f in model.categorical]
    texts = _texts(found["categorical"]) if names else []
    k = len(names)
    rows = [dict(zip(names, texts[i * k : (i + 1) * k], strict=True)) for i in range(n if k else 0)]
    return _checked(model, numeric, rows)


def _across(texts: dict[str, list[Any]]) -> list[tuple[Any, ...]]:
    return list(zip(*texts.values(), strict=True))


def _column(feature: Feature, values: _Values) -> NDArray[np.float64]:
    if values.tensor.datatype == "BYTES":
        raise InputError(
            f"{values.where}.datatype", expected="numbers", got="BYTES", remedy="it is numeric"
        )
    return _numbers(values, feature)


def _numbers(values: _Values, feature: Feature | None) -> NDArray[np.float64]:
    """Read (values,) numbers; null is a missing one."""
    if isinstance(values.flat, np.ndarray):
        return values.flat
    for i, value in enumerate(values.flat):
        number = isinstance(value, float | int) and not isinstance(value, bool)
        if not (number or value is None):
            expected = "a number or null" if feature is None or feature.nullable else "a number"
            raise InputError(f"{values.where}.data[{i}]", expected=expected, got=value)
    gaps = [math.nan if value is None else float(value) for value in values.flat]
    return np.array(gaps, dtype=np.float64)


def _texts(values: _Values) -> list[Any]:
    if values.tensor.datatype != "BYTES":
        got = values.tensor.datatype
        raise InputError(f"{values.where}.datatype", expected="BYTES, for a text", got=got)
    return list(values.flat)


def _checked(model: Model, numeric: NDArray[np.float64], texts: list[dict[str, Any]]) -> Rows:
    """Check all numbers at once; whatever is wrong is named by the reader of single rows."""
    nullable = np.array([f.nullable for f in model.numeric], dtype=np.bool_)
    good = (np.abs(numeric) <= features.LARGEST) | (np.isnan(numeric) & nullable)
    if good.all() and not texts:
        return Rows(numeric=numeric, categorical=np.empty((len(numeric), 0), dtype=object))
    names = [f.name for f in model.numeric]
    rows: list[Json] = [
        {n: None if math.isnan(v) else v for n, v in zip(names, row, strict=True)}
        for row in numeric.tolist()
    ]
    if texts:
        rows = [row | text for row, text in zip(rows, texts, strict=True)]
    return features.read(model, rows, "rows")


def _ids(given: _Values | None, request: str | None, n: int) -> Sequence[str | None]:
    """Name the observations: as a tensor says, or after the request."""
    if given is None:
        if request is None or n == 1:
            return [request] * n
        return [f"{request}/{i}" for i in range(n)]
    shape = given.tensor.shape
    if given.tensor.datatype != "BYTES" or math.prod(shape) != n:
        got = f"{given.tensor.datatype} {shape}"
        raise InputError(f"inputs[{IDS}]", expected=f"BYTES, [{n}]", got=Said(got))
    try:
        return msgspec.convert(given.flat, list[bodies.ObservationId | None])
    except msgspec.ValidationError as error:
        raise ProblemError(
            422, "invalid-input", f"inputs[{IDS}].data: {error}", where=f"inputs[{IDS}].data"
        ) from None


def packed(values: "NDArray[Any] | Sequence[str]") -> bytes:
    """Write a tensor's values as bytes."""
    if isinstance(values, np.ndarray):
        return values.tobytes()
    parts = [text.encode() for text in values]
    return b"".join(len(part).to_bytes(_LENGTH, "little") + part for part in parts)
