"""``continual score`` on files of a user's, with a model that was trained on the same stream."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from sqlalchemy import func, select

from continualml import cli
from continualml.store import log
from continualml.store.engine import open_store, read
from continualml.store.tables import observations
from tests.cli.test_cli import EXAMPLE, STREAM, continual

ID = "observation_id"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a champion that was trained on the first 400 rows."""
    place = tmp_path_factory.mktemp("score")
    (place / "continual.toml").write_text(EXAMPLE.read_text("utf-8"), encoding="utf-8")
    made = continual("train", str(STREAM), "--rows", "400", cwd=place)
    assert made.returncode == 0, made.stderr
    return place


@pytest.fixture
def rows() -> list[dict[str, str]]:
    with gzip.open(STREAM, "rt", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        return [row for _, row in zip(range(1_200), reader, strict=False)]


def save(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def load(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def n_logged(home: Path) -> int:
    engine = open_store(f"sqlite:///{home}/.continual/log.sqlite")
    with read(engine) as conn:
        n = conn.execute(select(func.count()).select_from(observations)).scalar_one()
    engine.dispose()
    return int(n)


def recorded(home: Path, ids: list[str]) -> dict[str, log.Observed]:
    engine = open_store(f"sqlite:///{home}/.continual/log.sqlite")
    with read(engine) as conn:
        found = log.recorded(conn, [("electricity", i) for i in ids])
    engine.dispose()
    return {i: row for (_, i), row in found.items()}


def test_each_row_of_a_csv_is_answered_and_stands_in_the_log(
    home: Path, rows: list[dict[str, str]]
) -> None:
    save(home / "all.csv", rows)
    before = n_logged(home)

    done = continual("score", "all.csv", "--output", "scored.csv", "--json", cwd=home)

    assert done.returncode == 0, done.stderr
    (said,) = json.loads(done.stdout)
    assert (said["rows"], said["recorded"], said["known"], said["version"]) == (1_200, 1_200, 0, 1)
    assert n_logged(home) == before + 1_200
    told = load(home / "scored.csv")
    assert [{n: t[n] for n in rows[0]} for t in told] == rows
    logged = recorded(home, [t[ID] for t in told])
    assert len(logged) == 1_200
    for one in told:
        answer = np.frombuffer(logged[one[ID]].answer or b"").tolist()
        assert [float(one["probability_down"]), float(one["probability_up"])] == answer
        assert one["prediction"] == ("down", "up")[answer.index(max(answer))]


def test_ids_of_ones_own_make_a_repeat_harmless_and_a_mix_up_an_error(
    home: Path, rows: list[dict[str, str]]
) -> None:
    own = [{ID: f"own/{i}", **row} for i, row in enumerate(rows[:50])]
    save(home / "own.csv", own)
    first = continual("score", "own.csv", "-o", "first.csv", cwd=home)
    assert "50 rows answered by version 1; 50 recorded" in first.stdout, first.stderr
    before = n_logged(home)

    again = continual("score", "own.csv", "-o", "again.csv", cwd=home)

    assert "50 were there and have their recorded answers" in again.stdout, again.stderr
    assert n_logged(home) == before
    assert (home / "again.csv").read_bytes() == (home / "first.csv").read_bytes()
    own[3][ID], own[4][ID] = own[4][ID], own[3][ID]
    save(home / "mixed.csv", own)
    mixed = continual("score", "mixed.csv", "-o", "mixed-scored.csv", cwd=home)
    assert mixed.returncode == cli.CONFIGURATION
    assert "mixed.csv:5, column observation_id: expected a new id" in mixed.stderr
    assert not (home / "mixed-scored.csv").exists()


def test_without_the_log_parquet_is_answered_as_the_csv_and_nothing_is_recorded(
    home: Path, rows: list[dict[str, str]]
) -> None:
    save(home / "some.csv", rows[:30])
    before = n_logged(home)
    done = continual("score", "some.csv", "-o", "some.parquet", "--no-log", cwd=home)
    assert done.returncode == 0, done.stderr
    table = parquet.read_table(home / "some.parquet")
    names = list(rows[0])
    numbers = [
        {n: v if n == "class" else float(v) for n, v in r.items()}
        for r in table.select(names).to_pylist()
    ]
    parquet.write_table(table.from_pylist(numbers), home / "typed.parquet")

    typed = continual("score", "typed.parquet", "-o", "typed.csv", "--no-log", cwd=home)

    assert typed.returncode == 0, typed.stderr
    told = load(home / "typed.csv")
    assert ID not in told[0]
    assert [t["prediction"] for t in told] == table["prediction"].to_pylist()
    assert [float(t["probability_up"]) for t in told] == table["probability_up"].to_pylist()
    assert n_logged(home) == before


def test_what_is_wrong_is_named_by_row_and_column_before_anything_is_recorded(
    home: Path, rows: list[dict[str, str]]
) -> None:
    before = n_logged(home)
    late = [*rows[:1_100], {**rows[1_100], "nswprice": "cheap"}, *rows[1_101:]]
    cases: list[tuple[str, list[dict[str, str]], str]] = [
        ("late.csv", late, "late.csv:1102, column nswprice: expected a number"),
        ("far.csv", [{**rows[0], "nswprice": "1e39"}], "far.csv:2, column nswprice: expected a nu"),
        ("id.csv", [{**rows[0], ID: ""}], "id.csv:2, column observation_id: expected a text"),
        ("taken.csv", [{**rows[0], "prediction": "x"}], "expected no column 'prediction'"),
    ]
    for name, some, said in cases:
        save(home / name, some)
        refused = continual("score", name, "-o", "refused.csv", cwd=home)
        assert refused.returncode == cli.CONFIGURATION, refused.stdout
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
    assert n_logged(home) == before
    assert not (home / "refused.csv").exists()
    assert not list(home.glob(".*.part"))


def test_what_is_not_there_is_said(home: Path, tmp_path: Path) -> None:
    (home / "broken.parquet").write_bytes(b"no parquet")
    (home / "columns.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    (home / "good.csv").write_text(
        "period,nswprice,nswdemand,vicprice,vicdemand,transfer\n0,0,0,0,0,0\n", encoding="utf-8"
    )
    for source, output, said in (
        ("none.csv", "x.csv", "expected a CSV that exists"),
        ("broken.parquet", "x.csv", "expected a Parquet file"),
        ("columns.csv", "x.csv", "expected a column"),
        ("good.csv", "no/folder.csv", "--output: expected a file to write"),
    ):
        refused = continual("score", source, "-o", output, cwd=home)
        assert (refused.returncode, said in refused.stderr) == (cli.CONFIGURATION, True), (
            refused.stderr
        )
    (tmp_path / "continual.toml").write_text(EXAMPLE.read_text("utf-8"), encoding="utf-8")
    empty = continual("score", str(home / "good.csv"), "-o", "x.csv", cwd=tmp_path)
    assert empty.returncode == cli.CONFIGURATION
    assert "expected a model with a champion" in empty.stderr
