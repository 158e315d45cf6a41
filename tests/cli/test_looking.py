import pytest

from continualml import cli
from continualml.cli.printing import print_lines
from tests.cli.test_cli import continual
from tests.conftest import Home


def test_a_line_is_a_decision_and_only_its_reason_is_wrapped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = [
        {
            "n": n,
            "recorded_at": "2026-11-24T20:13:19",
            "kind": "promote",
            "because": "well " * words,
        }
        for n, words in ((12, 3), (7, 30))
    ]
    print_lines(told, width=80)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "12  2026-11-24T20:13:19  promote  well well well"
    assert lines[2].startswith("7   2026-11-24T20:13:19  promote  well well")
    assert all(line.startswith("      well") for line in lines[3:])
    assert len(lines) == 5
    assert max(map(len, lines)) <= 80
    print_lines(told)
    assert len(capsys.readouterr().out.splitlines()) == 3  # nobody's terminal


def test_decisions_are_printed_for_all_models_and_unknown_names_are_refused(home: Home) -> None:
    home.send(60, seed=1)
    home.loop.turn("demo")
    here = home.directory
    shown = continual("decisions", "--data", ".", cwd=here).stdout.splitlines()
    assert shown[0].split() == ["n", "recorded_at", "model", "kind", "version", "rows", "because"]
    assert "keep" in shown[1]
    assert " 60 " in shown[1]
    wrong = continual("decisions", "--data", ".", "--model", "nope", cwd=here)
    assert wrong.returncode == cli.CONFIGURATION
    assert "--model: expected one of ['demo'], got 'nope'" in wrong.stderr
    wrong = continual("decisions", "--data", ".", "--kind", "xyz", cwd=here)
    assert wrong.returncode == cli.CONFIGURATION
    assert "--kind: expected one of ['first', 'keep'," in wrong.stderr
    told = continual("status", "--data", ".", cwd=here).stdout
    assert "rows: 60" in told
