from pathlib import Path

import pytest

from continualml.app import telling
from tests.conftest import Home


@pytest.fixture
def said() -> list[str]:
    return []


def test_what_matters_is_said_once_as_it_is_decided(
    home: Home, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "_LOOK_S", 0.0)
    home.send(60, seed=1)
    home.loop.turn("demo")
    tells = telling.Telling(home.engine, home.directory / "stream.log", said.append)
    tells.look()
    assert said == []  # what was decided before it began is history
    home.send(2_000, seed=2, drift=1.5)
    entries = home.loop.turn("demo").entries
    tells.look()
    tells.look()
    spoken = [e.decision for e in entries if e.decision.kind in telling.KINDS]
    assert [line.split()[1] for line in said] == [d.kind for d in spoken]
    promoted = next(line for line in said if line.startswith("demo: promote (version "))
    assert " rows read): " in promoted


def test_the_replay_is_said_now_and_then_and_its_result_at_the_end(
    home: Home, said: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(telling, "_LOOK_S", 0.0)
    log = tmp_path / "stream.log"
    log.write_text("100 of 500 rows, accuracy 0.9\nwritten: long ago\n", encoding="utf-8")
    tells = telling.Telling(home.engine, log, said.append)
    with log.open("a", encoding="utf-8") as file:
        for line in ("150 of 900 rows, accuracy 0.8\n", "250 of 900 rows, accuracy 0.7\n", "writ"):
            file.write(line)
            file.flush()
            tells.look()
        file.write("ten: a/result.json and a/accuracy.png\n")
    tells.look()
    assert said == [
        "stream     150 of 900 rows, accuracy 0.8",
        "stream     written: a/result.json and a/accuracy.png",
    ]


def test_a_log_that_was_cut_is_read_from_its_beginning(
    home: Home, said: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(telling, "_LOOK_S", 0.0)
    log = tmp_path / "stream.log"
    log.write_text("a line that is longer than the one that follows\n", encoding="utf-8")
    tells = telling.Telling(home.engine, log, said.append)
    log.write_text("written: anew\n", encoding="utf-8")
    tells.look()
    assert said == ["stream     written: anew"]


def test_a_store_that_cannot_be_read_ends_nobody(
    home: Home, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "_LOOK_S", 0.0)
    tells = telling.Telling(home.engine, home.directory / "stream.log", said.append)
    home.engine.dispose()
    database = home.directory / "log.sqlite"
    away = database.rename(home.directory / "away")
    database.mkdir()  # the disk with the log is not there
    tells.look()
    assert said == []
    database.rmdir()
    away.rename(database)
    home.send(2_000, seed=2, drift=1.5)
    home.loop.turn("demo")
    tells.look()
    assert said != []
