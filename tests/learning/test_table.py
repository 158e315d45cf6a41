from pathlib import Path

import pytest

from continualml.errors import InputError
from continualml.learning.table import infer, read
from continualml.model import Feature, Model
from continualml.store.log import canonical

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
        ("age,town,y\n1,a,yes\n1,a,\n", "data.csv:3, column y: expected a value"),
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


@pytest.mark.parametrize(
    "written", ["0.0\n1.0", "1\n0.0", "1.0\n\n0.0", "NA\n0\n1", "0\nnone\n1.0"]
)
def test_a_target_of_zeros_and_ones_has_the_classes_0_and_1_however_it_is_written(
    tmp_path: Path, written: str
) -> None:
    lines = "".join(f"1,{y}\n" for y in written.split("\n"))
    _, classes = infer(file(tmp_path, f"a,y\n{lines}"), "y")
    assert classes == ("0", "1")


def test_whole_numbers_are_classes_in_their_order_and_words_stay_as_they_are(
    tmp_path: Path,
) -> None:
    _, numbers = infer(file(tmp_path, "a,y\n1,10.0\n1,2\n1,-1\n"), "y")
    assert numbers == ("-1", "2", "10")
    _, words = infer(file(tmp_path, "a,y\n1,none\n1,mild\n1,\n"), "y")
    assert words == ("mild", "none")
    _, value = infer(file(tmp_path, "a,y\n1,0.5\n1,\n1,1\n"), "y")
    assert value == ()
    with pytest.raises(InputError, match="column y: expected a value"):
        infer(file(tmp_path, "a,y\n1,\n1,NA\n"), "y")


def test_a_label_names_its_class_the_same_in_a_file_and_over_http(tmp_path: Path) -> None:
    features = (Feature(name="a"),)
    for classes in (("0", "1"), ("0.0", "1.0")):
        model = Model(
            name="m", kind="classification", target="y", classes=classes, features=features
        )
        table = read(file(tmp_path, "a,y\n1,1.0\n1,1\n1,0\n"), model)
        assert table.labels == (classes[1], classes[1], classes[0])
        for said in (1, 1.0, "1", "1.0"):
            assert canonical(model, said) == (classes[1], None)
        assert canonical(model, True)[0] is None
        assert canonical(model, 2.0)[0] is None
