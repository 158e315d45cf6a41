"""Features as they come in a request, checked against the schema and made into arrays."""

import difflib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from continualml.errors import InputError
from continualml.model import Feature, Model
from continualml.records import Rows

_LARGEST = float(np.finfo(np.float32).max)
_LONGEST = 1_000


def read(model: Model, instances: Sequence[Mapping[str, object]], where: str = "instances") -> Rows:
    """Check rows of named features against the model's schema.

    Returns
    -------
    The rows in the order of the model's columns.

    Raises
    ------
    InputError
        Naming the first field that is missing, unknown, null where it may not be, of the wrong
        type, not finite or beyond the range of float32, such as ``instances[3].features.age``.
    """
    numeric = [
        [_number(f, row, i, where) for f in model.numeric]
        for i, row in _checked(model, instances, where)
    ]
    categorical = np.empty((len(instances), len(model.categorical)), dtype=object)
    if categorical.size:
        for i, row in enumerate(instances):
            categorical[i] = [_text(f, row, i, where) for f in model.categorical]
    return Rows(
        numeric=np.array(numeric, dtype=np.float64).reshape(len(instances), len(model.numeric)),
        categorical=categorical,
    )


def _checked(
    model: Model, instances: Sequence[Mapping[str, object]], where: str
) -> list[tuple[int, Mapping[str, object]]]:
    wanted = {f.name for f in model.features}
    for i, row in enumerate(instances):
        if not isinstance(row, Mapping):
            raise InputError(_at(where, i), expected="an object of named features", got=row)
        if row.keys() != wanted:
            _check_names(model, row, _at(where, i))
    return list(enumerate(instances))


def _check_names(model: Model, row: Mapping[str, object], where: str) -> None:
    names = [f.name for f in model.features]
    for name in row:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1)
            raise InputError(
                f"{where}.{name}",
                expected=f"a feature of {model.name}",
                got=name,
                remedy=f"did you mean {near[0]!r}?" if near else f"it has {', '.join(names)}",
            )
    for f in model.features:
        if f.name not in row and not f.nullable:
            raise InputError(f"{where}.{f.name}", expected=_expected(f), got=None)


def _number(f: Feature, row: Mapping[str, object], i: int, where: str) -> float:
    value = row.get(f.name)
    if type(value) is float:
        number = value
    elif type(value) is int:
        number = float(value) if -(1 << 128) < value < 1 << 128 else math.inf
    elif value is None and f.nullable:
        return math.nan
    else:
        raise InputError(f"{_at(where, i)}.{f.name}", expected=_expected(f), got=value)
    if not -_LARGEST <= number <= _LARGEST:  # also refuses NaN
        raise InputError(
            f"{_at(where, i)}.{f.name}", expected="a finite number within float32", got=value
        )
    return number


def _text(f: Feature, row: Mapping[str, object], i: int, where: str) -> str:
    value = row.get(f.name)
    if value is None and f.nullable:
        return ""
    if not isinstance(value, str) or not value:
        raise InputError(f"{_at(where, i)}.{f.name}", expected=_expected(f), got=value)
    if len(value) > _LONGEST:
        raise InputError(
            f"{_at(where, i)}.{f.name}",
            expected=f"at most {_LONGEST} characters",
            got=f"{value[:20]}… ({len(value)} characters)",
        )
    return value


def _expected(f: Feature) -> str:
    what = "a number" if f.kind == "numeric" else "a non-empty text"
    return f"{what} or null" if f.nullable else what


def _at(where: str, i: int) -> str:
    return f"{where}[{i}].features" if where == "instances" else where
