import json
from pathlib import Path

import pytest
from sqlalchemy import select, update

from continualml import cli
from continualml.store.engine import write
from continualml.store.tables import ledger
from tests.cli.test_cli import continual
from tests.conftest import Home


@pytest.fixture
def turned(home: Home) -> Home:
    home.send(60, seed=1)
    home.loop.turn("demo")
    return home


def test_replay_and_verify_pass_what_was_left_alone(turned: Home) -> None:
    replayed = continual("replay", "--json", "--data", ".", cwd=turned.directory)
    assert replayed.returncode == cli.OK, replayed.stderr
    (one,) = json.loads(replayed.stdout)
    with turned.engine.connect() as conn:
        n = len(conn.execute(select(ledger.c.n)).all())
    assert (one["model"], one["equal"], one["rows"], one["differences"]) == ("demo", n, 60, [])
    checked = continual("verify", "--data", ".", cwd=turned.directory)
    assert checked.returncode == cli.OK, checked.stderr
    assert "\x1b[" not in replayed.stderr + checked.stdout


def test_replay_and_verify_name_what_was_changed_and_exit_with_1(turned: Home) -> None:
    with write(turned.engine) as conn:
        conn.execute(update(ledger).where(ledger.c.n == 2).values(because="it felt right"))
    replayed = continual("replay", "--model", "demo", "--data", ".", cwd=turned.directory)
    assert replayed.returncode == cli.FAILED
    for said in ("2", "because", "it felt right", "first champion, trained on rows up to"):
        assert said in replayed.stdout
    checked = continual("verify", "--data", ".", cwd=turned.directory)
    assert checked.returncode == cli.FAILED
    assert "entry 2: number, link or hash is not its own" in checked.stdout


def test_an_empty_log_has_nothing_to_replay(tmp_path: Path) -> None:
    done = continual("replay", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (cli.OK, "nothing")


def test_explain_takes_a_decisions_number_or_an_observation(turned: Home) -> None:
    why = continual("explain", "2", "--data", ".", cwd=turned.directory)
    assert why.returncode == cli.OK, why.stderr
    assert "because: first champion, trained on rows up to" in why.stdout
    assert "promised of the champion, on average: brier at most" in why.stdout
    row = continual(
        "explain", "1-3", "--json", "--model", "demo", "--data", ".", cwd=turned.directory
    )
    assert json.loads(row.stdout)["labels"][0]["revision"] == 0
    nobody = continual("explain", "7", "--observation", "--data", ".", cwd=turned.directory)
    assert nobody.returncode == cli.CONFIGURATION
    assert "expected an observation of demo, got '7'" in nobody.stderr


def test_explain_policy_shows_the_arithmetic_of_each_model(turned: Home) -> None:
    shown = continual("explain-policy", "--json", "--data", ".", cwd=turned.directory)
    assert shown.returncode == cli.OK, shown.stderr
    (told,) = json.loads(shown.stdout)
    assert told["in_force"]
    assert told["alarm"]["threshold"] == 10_000 / 0.24 / told["block"]["rows"]
    text = continual("explain-policy", "--data", ".", cwd=turned.directory).stdout
    assert "not guaranteed:" in text


def test_a_person_promotes_and_rolls_back_with_a_reason(turned: Home) -> None:
    there = ("--data", ".")
    unknown = continual("promote", "99", "--because", "so", *there, cwd=turned.directory)
    assert unknown.returncode == cli.CONFIGURATION
    assert "expected a version of demo, got 99" in unknown.stderr
    assert continual("rollback", *there, cwd=turned.directory).returncode == cli.USAGE
    done = continual("promote", "2", "--because", "it is urgent", *there, cwd=turned.directory)
    assert "demo: version 2 answers in place of 1; decision" in done.stdout, done.stderr
    back = continual("rollback", "--because", "or not", *there, cwd=turned.directory)
    assert "demo: version 1 answers in place of 2; decision" in back.stdout, back.stderr
    accepted = continual("accept", "--because", "new", *there, cwd=turned.directory)
    assert accepted.returncode == cli.CONFIGURATION
    assert "accept: expected a model with an open incident" in accepted.stderr
