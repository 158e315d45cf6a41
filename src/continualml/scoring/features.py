"""Features as clients send them, checked against the schema and packed into arrays."""

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

import numpy as np

from continualml.errors import InputError, Said, did_you_mean
from continualml.model import Feature, Model
from continualml.records import Rows

# Graphs compute in float32; a larger number would be infinity there.
LARGEST: Final = float(np.finfo(np.float32).max)
LONGEST: Final = 256  # characters of a category
_SHOWN: Final = 60  # characters of a wrong value that an error repeats
_ABSENT: Final = object()
_INTEGER_DIGITS: Final = 128  # binary; longer ones are shown as infinite


def read(model: Model, instances: Sequence[Mapping[str, object]], where: str = "instances") -> Rows:
    """Check each instance against the model's features and pack them.

    Parameters
    ----------
    instances
        Feature name -> value for each row: a finite number (not a boolean) within the range of
        float32, or text; None where the feature is nullable. Each declared feature must be
        there and no other. Empty text counts as a missing category.
    where
        The field that holds the instances, for the errors.

    Returns
    -------
    The rows in the order of the instances.

    Raises
    ------
    InputError
        Names the first value that is wrong, as ``instances[3].features.age``.
    """
    if not isinstance(instances, Sequence):
        raise InputError(where, expected="a list of instances", got=_shown(instances))
    if not instances:
        raise InputError(where, expected="one or more instances", got=[])
    features = [(f, f.name, f.kind == "numeric") for f in model.features]
    numeric: list[list[float]] = []
    categorical: list[list[str]] = []
    for i, instance in enumerate(instances):
        if type(instance) is not dict and not isinstance(instance, Mapping):
            at = f"{where}[{i}].features"
            raise InputError(at, expected="an object, name to value", got=_shown(instance))
        if len(instance) != len(features):
            _check_names(model, instance, f"{where}[{i}].features")
        numbers: list[float] = []
        texts: list[str] = []
        for feature, name, is_numeric in features:
            value = instance.get(name, _ABSENT)
            if not is_numeric:
                texts.append(_text(model, feature, value, instance, f"{where}[{i}].features"))
            elif type(value) is float and -LARGEST <= value <= LARGEST:
                numbers.append(value)  # nearly all values; the rest is looked at closely
            else:
                numbers.append(_number(model, feature, value, instance, f"{where}[{i}].features"))
        numeric.append(numbers)
        categorical.append(texts)
    # Filled, not converted: NumPy must not guess a shape or a type from texts.
    packed = np.empty((len(categorical), len(categorical[0])), dtype=object)
    if packed.size:
        packed[:] = categorical
    return Rows(numeric=np.array(numeric, dtype=np.float64), categorical=packed)


def _number(
    model: Model, feature: Feature, value: object, instance: Mapping[str, object], where: str
) -> float:
    """Take a number or a permitted null; say what is wrong with anything else."""
    if isinstance(value, float | int) and not isinstance(value, bool):
        if -LARGEST <= value <= LARGEST:  # compares integers of any size exactly; false for NaN
            return float(value)
        endless = isinstance(value, float) and not math.isfinite(value)
        expected = "a finite number" if endless else f"a number within ±{LARGEST:.2e} (float32)"
        raise InputError(f"{where}.{feature.name}", expected=expected, got=_shown(value))
    if value is None and feature.nullable:
        return math.nan
    raise _unfit(model, feature, value, instance, where, expected="a number")


def _text(
    model: Model, feature: Feature, value: object, instance: Mapping[str, object], where: str
) -> str:
    """Take a category or a permitted null; say what is wrong with anything else."""
    if isinstance(value, str) and (value or feature.nullable):
        expected = None
        if len(value) > LONGEST:
            expected = f"text of at most {LONGEST} characters"
        elif not value.isascii() and not _encodable(value):
            expected = "text that UTF-8 can hold, without half characters"
        elif "\0" in value:
            expected = "text without the character NUL"
        if expected is None:
            return value
        raise InputError(f"{where}.{feature.name}", expected=expected, got=_shown(value))
    if value is None and feature.nullable:
        return ""
    raise _unfit(model, feature, value, instance, where, expected="text")


def _unfit(
    model: Model,
    feature: Feature,
    value: object,
    instance: Mapping[str, object],
    where: str,
    *,
    expected: str,
) -> InputError:
    """Name a value that is absent, null or of the wrong type."""
    if value is not _ABSENT:
        bare = value is None or value == ""
        expected += ", as the feature is not nullable" if bare else ""
        expected += " or null" if feature.nullable else ""
        return InputError(f"{where}.{feature.name}", expected=expected, got=_shown(value))
    _check_names(model, instance, where)  # a misspelt name says more than its absence
    remedy = "send null where the value is not known" if feature.nullable else None
    return InputError(
        f"{where}.{feature.name}", expected=expected, got=Said("no such field"), remedy=remedy
    )


def _check_names(model: Model, instance: Mapping[str, object], where: str) -> None:
    """Refuse the first name that the model does not declare."""
    declared = [f.name for f in model.features]
    known = set(declared)
    unknown = next((name for name in instance if name not in known), _ABSENT)
    if unknown is _ABSENT:
        return
    name = str(unknown)[:_SHOWN]
    raise InputError(
        f"{where}.{name}",
        expected=f"no field but the {len(declared)} features of model {model.name!r}",
        got=_shown(instance[unknown]),  # type: ignore[index]  # one of its own keys
        remedy=did_you_mean(name, declared),
    )


def _encodable(text: str) -> bool:
    """Tell whether UTF-8 can hold the text: JSON lets half a surrogate pair through."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: object, *, depth: int = 1) -> object:
    """Cut a wrong value down to what an error may repeat."""
    if isinstance(value, str | bytes):
        return value[:_SHOWN]
    if isinstance(value, int) and value.bit_length() > _INTEGER_DIGITS:
        return math.inf if value > 0 else -math.inf  # Python refuses to write very long ones
    if isinstance(value, Mapping):
        inner = islice(value.items(), 3 * depth)
        return {str(k)[:_SHOWN]: _shown(v, depth=0) for k, v in inner}
    if isinstance(value, list | tuple):
        return [_shown(v, depth=0) for v in value[: 3 * depth]]
    return value
