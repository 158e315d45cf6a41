from pathlib import Path

import pytest

from continualml.errors import InputError
from continualml.learning.table import infer, read
from continualml.model import Feature, Model

MODEL = Model(
    name="m",
    kind="classification",
    target="y",
    classes=("no", "yes"),
    features=(
        Feature(name="age", nullable=False),
        Feature(name="town", kind="categorical"),
    ),
)


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "data.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_come_out_in_order_with_their_labels(tmp_path: Path) -> None:
    table = read(file(tmp_path, "town,y,age,other\nBern,yes,3,x\n,no,4.5,y\n"), MODEL)
    assert table.labels == ("yes", "no")
    assert table.rows.numeric.tolist() == [[3.0], [4.5]]
    assert table.rows.categorical.tolist() == [["Bern"], [""]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("age,town,y\n1,a,yes\nforty,b,no\n", "data.csv:3, column age: expected a number"),
        ("age,town,y\n1,a,perhaps\n", "data.csv:2, column y: expected one of"),
        ("age,town,y\n,a,yes\n", "data.csv:2, column age: expected a value"),
        ("age,town,y\n1,a\n", "data.csv:2: expected 3 values, got 2"),
        ("age,y\n1,yes\n", "data.csv:1: expected a column 'town'"),
    ],
)
def test_a_bad_row_is_named_by_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read(file(tmp_path, text), MODEL)
    assert said in str(caught.value)


def test_a_schema_is_inferred_as_a_person_would(tmp_path: Path) -> None:
    text = "a,b,c,y\n1,x,,0\n2.5,7,3,1\nNA,z,4,0\n"
    features, classes = infer(file(tmp_path, text), "y")
    assert {f.name: f.kind for f in features} == {
        "a": "numeric",
        "b": "categorical",
        "c": "numeric",
    }
    assert classes == ("0", "1")
    _, none = infer(file(tmp_path, "a,y\n1,0.5\n2,0.75\n"), "y")
    assert none == ()
    with pytest.raises(InputError, match="expected a column 'z'"):
        infer(file(tmp_path, text), "z")
