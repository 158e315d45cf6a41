from pathlib import Path

from continualml.learning.doubts import doubts


def said(tmp_path: Path, header: str, rows: list[str]) -> list[str]:
    path = tmp_path / "data.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return [f"{d.line}, column {d.column}: {d.what}" for d in doubts(path, "y")]


def test_a_good_file_raises_no_doubt(tmp_path: Path) -> None:
    rows = [f"{i / 7},{'ab'[i % 2]},{i % 3}" for i in range(60)]
    assert said(tmp_path, "x,c,y", rows) == []
    numbers = [f"{i % 5},{i / 3}" for i in range(60)]
    assert said(tmp_path, "x,y", numbers) == []  # a regression: all targets differ


def test_columns_that_look_like_ids_are_named(tmp_path: Path) -> None:
    rows = [f"{i},k-{i},{i % 5},{i % 2}" for i in range(1, 41)]
    assert said(tmp_path, "id,customer,x,y", rows) == [
        "2, column id: the values count up by one, as an id's do",
        "2, column customer: all 40 values differ, as an id's do",
    ]


def test_a_cell_that_makes_a_numeric_column_categorical_is_named(tmp_path: Path) -> None:
    rows = [f"{'12 EUR' if i in {6, 9} else i % 7},,{i % 2}" for i in range(40)]
    amount, empty = said(tmp_path, "amount,empty,y", rows)
    assert amount == (
        "8, column amount: '12 EUR' and 1 more is no number, all others are; "
        "so the column counts as categorical"
    )
    assert empty == "2, column empty: no row has a value"


def test_targets_that_are_missing_rare_or_too_many_are_named(tmp_path: Path) -> None:
    rows = [f"{i % 7},{'' if i == 3 else 'typo' if i == 5 else 'ab'[i % 2]}" for i in range(40)]
    assert said(tmp_path, "x,y", rows) == [
        "5, column y: 1 rows have no value of the target; leave such rows out",
        "7, column y: the class 'typo' has 1 of 39 rows",
    ]
    many = [f"{i % 7},{'x' if i == 3 else i}" for i in range(40)]
    assert said(tmp_path, "x,y", many) == [
        "2, column y: 40 classes; if it is a quantity, mend what is no number"
    ]
