import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from continualml.errors import InputError
from continualml.model import Feature, Model
from continualml.scoring.features import read
from continualml.scoring.losses import loss, wrong

MODEL = Model(
    name="m",
    kind="classification",
    target="y",
    classes=("no", "yes"),
    features=(
        Feature(name="age", nullable=False),
        Feature(name="größe"),
        Feature(name="town", kind="categorical"),
    ),
)
GOOD: dict[str, object] = {"age": 3, "größe": None, "town": "Zürich"}


def test_rows_become_arrays_in_the_order_of_the_schema() -> None:
    rows = read(MODEL, [GOOD, {"town": None, "größe": 1.5, "age": -0.0}])
    assert np.array_equal(rows.numeric, [[3, math.nan], [0, 1.5]], equal_nan=True)
    assert rows.categorical.tolist() == [["Zürich"], [""]]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"age": None}, "instances[1].features.age"),
        ({"age": "forty"}, "instances[1].features.age"),
        ({"age": True}, "instances[1].features.age"),
        ({"age": [1]}, "instances[1].features.age"),
        ({"age": math.nan}, "instances[1].features.age"),
        ({"age": math.inf}, "instances[1].features.age"),
        ({"age": 1e39}, "instances[1].features.age"),
        ({"age": 10**400}, "instances[1].features.age"),
        ({"größe": {}}, "instances[1].features.größe"),
        ({"town": 3}, "instances[1].features.town"),
        ({"town": "x" * 2_000}, "instances[1].features.town"),
        ({"extra": 1}, "instances[1].features.extra"),
    ],
)
def test_a_bad_value_is_named_where_its_sender_wrote_it(
    change: dict[str, object], where: str
) -> None:
    with pytest.raises(InputError) as caught:
        read(MODEL, [GOOD, {**GOOD, **change}])
    assert caught.value.where == where


def test_a_missing_feature_is_named_and_a_misspelt_one_corrected() -> None:
    with pytest.raises(InputError, match=r"instances\[0\]\.features\.age"):
        read(MODEL, [{"town": "x"}])
    with pytest.raises(InputError, match="did you mean 'town'"):
        read(MODEL, [{"age": 1, "twon": "x"}])


Anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@given(row=st.dictionaries(st.sampled_from(["age", "größe", "town", "x"]), Anything))
def test_whatever_comes_is_read_or_refused_by_name(row: Mapping[str, object]) -> None:
    where, rows = None, None
    try:
        rows = read(MODEL, [row])
    except InputError as error:
        where = error.where
    if rows is None:
        assert where is not None
        assert where.startswith("instances[0].features.")
    else:
        assert np.nan_to_num(np.abs(rows.numeric)).max() <= np.finfo(np.float32).max
        assert isinstance(rows.categorical[0, 0], str)


def test_brier_loss_is_half_the_squared_distance_to_the_truth() -> None:
    answer = np.array([[0.8, 0.2], [0.4, 0.6]])
    target = np.array([0.0, 0.0])
    assert loss(MODEL, answer, target).tolist() == pytest.approx([0.04, 0.36])
    assert wrong(MODEL, answer, target).tolist() == [False, True]
    value = Model(name="v", kind="regression", target="y", features=MODEL.features, bound=2.0)
    values, truths = np.array([[1.0], [9.0]]), np.array([2.0, 1.0])
    assert loss(value, values, truths).tolist() == [0.25, 1.0]
    assert wrong(value, values, truths).tolist() == [False, True]
