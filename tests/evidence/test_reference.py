import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from continualml.errors import InputError
from continualml.evidence.column import (
    ABOVE,
    BELOW,
    CELL,
    FAR_ABOVE,
    FAR_BELOW,
    MISSING,
    possible_codes,
)
from continualml.evidence.reference import (
    Reference,
    answered,
    codes,
    labelled,
    of_columns,
    of_rows,
)
from continualml.model import Feature, Model
from continualml.records import Rows

NUMBERS = of_columns({"x": np.arange(100.0, 201.0)})
MODEL = Model(
    name="m",
    kind="classification",
    target="y",
    classes=("no", "yes"),
    features=(Feature(name="city", kind="categorical"), Feature(name="age")),
)
ROWS = Rows(
    numeric=np.array([[1.0], [np.nan], [3.0]]),
    categorical=np.array([["a"], ["b"], [""]], dtype=object),
)


def cells(reference: Reference, *values: float) -> list[int]:
    found: list[int] = (codes(reference, {"x": np.array(values)})[:, 0] & CELL).tolist()
    return found


def texts(*values: str) -> "np.ndarray[tuple[int], np.dtype[np.object_]]":
    return np.array(values, dtype=object)


def test_cuts_are_deciles_and_shares_are_what_lies_at_or_below_them() -> None:
    (column,) = NUMBERS.columns
    assert column.cuts == tuple(110.0 + 10 * j for j in range(9))
    assert column.shares == tuple((11 + 10 * j) / 101 for j in range(9))
    assert (column.smallest, column.largest, column.rows) == (100.0, 200.0, 101)


def test_a_value_is_in_the_bin_that_its_decile_closes() -> None:
    assert cells(NUMBERS, 100, 110, 110.5, 120, 190, 190.5, 200) == [0, 0, 1, 1, 8, 9, 9]


def test_values_that_many_rows_share_make_one_cut() -> None:
    (column,) = of_columns({"x": np.array([0.0] * 70 + [1.0] * 30)}).columns
    assert (column.cuts, column.shares) == ((0.0,), (0.7,))


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (np.nan, MISSING),
        (99.0, BELOW),
        (201.0, ABOVE),
        (150_000.0, FAR_ABOVE),  # a unit a thousand times smaller
        (0.15, FAR_BELOW),  # a thousand times larger
        (-1_000.0, FAR_BELOW),
        (0.0, BELOW),  # no factor makes a zero
        (math.inf, FAR_ABOVE),
    ],
)
def test_what_lies_outside_is_told_from_what_lies_far_outside(value: float, cell: int) -> None:
    assert cells(NUMBERS, value) == [cell]


def test_ten_times_the_largest_is_far_even_within_ten_ranges() -> None:
    around_zero = of_columns({"x": np.linspace(-1.0, 1.0, 100)})
    assert cells(around_zero, 9.0, 10.0, -10.0) == [ABOVE, FAR_ABOVE, FAR_BELOW]


def test_beside_a_constant_nothing_is_far_but_another_magnitude() -> None:
    constant = of_columns({"x": np.full(50, 5.0)})
    assert cells(constant, 5.0, 5.1, 50.0) == [0, ABOVE, FAR_ABOVE]


def test_equal_numbers_have_equal_codes_and_others_of_the_same_cell_mostly_not() -> None:
    inside = np.linspace(100.0, 109.0, 1_000)
    code = codes(NUMBERS, {"x": inside})[:, 0]
    assert set(codes(NUMBERS, {"x": np.full(9, 103.3)})[:, 0].tolist()) == {
        int(codes(NUMBERS, {"x": np.array([103.3])})[0, 0])
    }
    # Sixteen fingerprints, each expected 62 times: none may hold a fifth of the values.
    assert np.bincount(code).max() < 200
    zeros = codes(of_columns({"x": np.linspace(-1, 1, 50)}), {"x": np.array([0.0, -0.0])})
    assert zeros[0, 0] == zeros[1, 0]


@given(value=st.floats() | st.just(1e308))
def test_every_number_has_a_code_that_the_column_knows(value: float) -> None:
    (code,) = codes(NUMBERS, {"x": np.array([value])})[:, 0].tolist()
    assert possible_codes(NUMBERS.columns[0])[code]


def test_each_common_value_has_its_cell_and_the_others_are_told_apart() -> None:
    seen = texts(*["a"] * 120, *["b"] * 60, *["c"] * 18, "d", "e", "")
    reference = of_columns({"city": seen})
    (column,) = reference.columns
    assert column.values == ("a", "b", "c")
    assert column.rare == ("d", "e")
    code = codes(reference, {"city": texts("a", "b", "c", "d", "e", "zz", "")})[:, 0]
    assert code.tolist() == [0, 1, 2, 3, 3, 4, 5]


def test_no_more_than_twenty_values_have_a_cell_of_their_own() -> None:
    many = texts(*[f"v{i:02}" for i in range(30)] * 5)
    (column,) = of_columns({"city": many}).columns
    assert len(column.values) == 20
    assert len(column.rare) == 10
    assert possible_codes(column).sum() == 23


def test_where_every_value_is_new_the_next_is_expected_to_be_new_too() -> None:
    (column,) = of_columns({"id": texts(*[f"u{i}" for i in range(500)])}).columns
    assert column.unseen == 1.0
    assert column.shares[-1] == 0.0  # none of the rare ones is expected again


def test_rows_that_hang_together_say_less() -> None:
    rng = np.random.default_rng(1)
    alone = rng.normal(size=1_000)
    together = np.repeat(rng.normal(size=50), 20)
    errors = [of_columns({"x": x}).columns[0].errors[4] for x in (alone, together)]
    # Twenty equal rows are worth one: the error of the median is sqrt(20) = 4.5 times as large;
    # from 31 stretches it is estimated to about an eighth.
    assert errors[0] == pytest.approx(math.sqrt(0.25 / 1_000), rel=0.02)
    assert 3 <= errors[1] / errors[0] <= 6


def test_a_day_that_repeats_itself_is_no_dependence_when_the_block_is_a_day() -> None:
    hour = np.tile(np.arange(48.0), 25)
    errors = [of_columns({"x": hour}, block=b).columns[0].errors[4] for b in (1, 48)]
    assert errors[1] == pytest.approx(math.sqrt(0.25 / 1_200), rel=0.02)
    assert errors[0] > 1.5 * errors[1]


def test_features_come_in_the_models_order_and_extras_after_them() -> None:
    answer = np.array([[0.2, 0.8], [0.6, 0.4], [np.nan, np.nan]])
    columns = answered(MODEL, answer) | labelled(MODEL, np.array([1.0, 0.0, 1.0]))
    reference = of_rows(MODEL, ROWS, columns)
    assert [(c.name, c.kind) for c in reference.columns] == [
        ("city", "categorical"),
        ("age", "numeric"),
        ("prediction", "categorical"),
        ("confidence", "numeric"),
        ("label", "categorical"),
    ]
    assert columns["prediction"].tolist() == ["yes", "no", ""]
    assert columns["confidence"].tolist()[:2] == [0.8, 0.6]
    assert columns["label"].tolist() == ["yes", "no", "yes"]
    assert [c.missing for c in reference.columns] == [1 / 3, 1 / 3, 1 / 3, 1 / 3, 0.0]


def test_a_regressions_answer_is_a_number() -> None:
    model = Model(name="m", kind="regression", target="y", features=(Feature(name="age"),))
    columns = answered(model, np.array([[1.5], [np.nan]])) | labelled(model, np.array([2.0, 3.0]))
    assert columns["prediction"][0] == 1.5
    assert columns["label"].tolist() == [2.0, 3.0]


def test_a_reference_survives_being_stored() -> None:
    reference = of_rows(MODEL, ROWS)
    assert msgspec.json.decode(msgspec.json.encode(reference), type=Reference) == reference


def test_columns_without_one_value_are_described_too() -> None:
    nothing = {"x": np.full(5, np.nan), "city": texts(*[""] * 5)}
    reference = of_columns(nothing)
    assert [(c.rows, c.missing) for c in reference.columns] == [(0, 1.0), (0, 1.0)]
    one = {"x": np.array([1.0]), "city": texts("a")}
    assert [c[0] for c in codes(reference, one).T] == [0, 1]  # the only cell, and unseen


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "columns: expected one or more, of one length >= 1, got {} (an object)"),
        (
            {"x": np.ones(2), "z": np.ones(3)},
            "columns: expected one or more, of one length >= 1, got {'x': 2, 'z': 3} (an object)",
        ),
        (
            {"x": np.array([1.0, np.inf])},
            "x: expected no infinite number in a reference, got inf (a number)",
        ),
        (
            {"x": np.array(["a", 3], dtype=object)},
            "x: expected text, or a column of numbers, got 3 (a number)",
        ),
    ],
)
def test_what_cannot_be_described_is_refused_by_name(
    columns: dict[str, "np.ndarray[tuple[int], np.dtype[np.float64]]"], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        of_columns(columns)
    assert str(caught.value) == message


def test_rows_with_other_columns_are_refused_by_name() -> None:
    for columns, where in (
        ({"z": np.ones(1)}, "x"),
        ({"x": texts("a")}, "x"),
    ):
        with pytest.raises(InputError) as caught:
            codes(NUMBERS, columns)
        assert caught.value.where == where
    with pytest.raises(InputError) as caught:
        of_rows(MODEL, ROWS, {"age": np.ones(3)})
    assert caught.value.where == "extra"
