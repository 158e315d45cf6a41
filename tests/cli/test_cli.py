import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from continualml import cli, settings
from continualml.app import tree
from continualml.cli import running
from continualml.store.engine import open_store, write
from continualml.store.log import Observed, append_observations

ROOT = Path(__file__).parents[2]
STREAM = ROOT / "examples/electricity/electricity.csv.gz"
EXAMPLE = ROOT / "examples/electricity/continual.toml"


def continual(
    *arguments: str, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "continualml", *arguments],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200"} | (env or {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    with gzip.open(STREAM, "rt", encoding="utf-8") as file:
        lines = [next(file) for _ in range(601)]
    path = tmp_path / "prices.csv"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def test_a_users_own_file_becomes_a_served_champion(tmp_path: Path, data: Path) -> None:
    made = continual("init", "--from", data.name, "--target", "class", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert continual("config", "check", cwd=tmp_path).returncode == 0
    trained = continual("train", data.name, cwd=tmp_path)
    assert "version 1 is the champion, from 600 rows" in trained.stdout, trained.stderr
    status = continual("status", "--json", cwd=tmp_path)
    assert [t["model"] for t in json.loads(status.stdout)] == ["prices"]
    assert json.loads(status.stdout)[0]["champion"] == 1
    turned = continual("cycle", "--json", "--model", "prices", cwd=tmp_path)
    assert json.loads(turned.stdout)[0]["kind"] in {"keep", "accept"}
    said = json.loads(continual("decisions", "--json", "--kind", "first", cwd=tmp_path).stdout)
    assert said[0]["basis"]["promised"]["brier"] > 0
    again = continual("train", data.name, cwd=tmp_path)
    assert again.returncode == cli.CONFIGURATION
    assert "expected a model without a champion" in again.stderr
    assert "Traceback" not in again.stderr


def test_init_writes_over_nothing_unasked(tmp_path: Path, data: Path) -> None:
    (tmp_path / "continual.toml").write_text("# mine\n", encoding="utf-8")
    refused = continual("init", "--from", data.name, "--target", "class", cwd=tmp_path)
    assert refused.returncode == cli.CONFIGURATION
    assert "use --force" in refused.stderr
    assert (tmp_path / "continual.toml").read_text("utf-8") == "# mine\n"


def test_a_bad_row_names_line_and_column(tmp_path: Path, data: Path) -> None:
    continual("init", "--from", data.name, "--target", "class", cwd=tmp_path)
    lines = data.read_text("utf-8").splitlines()
    lines[7] = lines[7].replace(lines[7].split(",")[1], "cheap", 1)
    data.write_text("\n".join(lines), encoding="utf-8")
    refused = continual("train", data.name, cwd=tmp_path)
    assert refused.returncode == cli.CONFIGURATION
    assert "prices.csv:8, column nswprice: expected a number, got 'cheap'" in refused.stderr
    assert continual("status", cwd=tmp_path).returncode == cli.FAILED


def test_a_replay_that_would_send_nothing_is_refused(tmp_path: Path, data: Path) -> None:
    continual("init", "--from", data.name, "--target", "class", cwd=tmp_path)
    refused = continual("replay-stream", data.name, cwd=tmp_path)
    assert refused.returncode == cli.CONFIGURATION
    assert "--start: expected less than its 600 rows, got 1000" in refused.stderr


def test_tokens_are_made_listed_without_secret_and_revoked(tmp_path: Path) -> None:
    secret = continual(
        "token", "create", "app", "--scope", "predict", "--scope", "label", cwd=tmp_path
    ).stdout.strip()
    listed = continual("token", "list", "--json", cwd=tmp_path).stdout
    assert len(secret) > 40
    assert secret not in listed
    token = json.loads(listed)[0]
    assert token["scopes"] == ["label", "predict"]
    assert continual("token", "revoke", token["id"], cwd=tmp_path).returncode == 0
    assert continual("token", "revoke", "nix", cwd=tmp_path).returncode == cli.CONFIGURATION


def test_doctor_finds_a_taken_port_and_loose_permissions(tmp_path: Path) -> None:
    (tmp_path / ".continual").mkdir()
    token = tmp_path / ".continual/admin.token"
    token.write_text("x" * 40, encoding="utf-8")
    token.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        sick = continual("doctor", "--json", cwd=tmp_path, env={"CONTINUAL_PORT": port})
    found = {c["check"]: c for c in json.loads(sick.stdout)}
    assert sick.returncode == cli.FAILED
    assert "CONTINUAL_PORT" in found["port"]["remedy"]
    assert found["admin token"]["remedy"] == "chmod 600 .continual/admin.token"
    assert found["data directory"]["remedy"] == "chmod 700 .continual"
    assert found["disk"]["ok"]


def test_config_show_prints_no_password(tmp_path: Path) -> None:
    env = {
        "CONTINUAL_DATABASE_URL": "postgresql+psycopg://ml:hunter2@db/ml?sslpassword=hunter2",
        "MLFLOW_TRACKING_URI": "https://ml:hunter2@tracking.example:5000/x",
        "PREFECT_API_URL": "http://ml:hunter2@127.0.0.1:4200/api",
        "API_KEY": "hunter2-hunter2-0123456789",
    }
    shown = continual("config", "show", cwd=tmp_path, env=env)
    assert shown.returncode == 0, shown.stderr
    assert "hunter2" not in shown.stdout + shown.stderr
    told = json.loads(shown.stdout)
    assert told["database_url"] == "postgresql+psycopg://ml:***@db/ml?sslpassword=hidden"
    assert told["mlflow_tracking_uri"] == "https://ml:***@tracking.example:5000/x"
    assert told["prefect_api_url"] == "http://ml:***@127.0.0.1:4200/api"
    plain = json.loads(continual("config", "show", "--data", "d", cwd=tmp_path).stdout)
    assert plain["database_url"] == "sqlite:///d/log.sqlite"


def test_doctor_takes_the_ports_of_what_runs_here_for_its_own(tmp_path: Path) -> None:
    with tree.hold(tmp_path / ".continual"), socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        well = continual("doctor", "--json", cwd=tmp_path, env={"CONTINUAL_PORT": port})
    found = {c["check"]: c for c in json.loads(well.stdout)}
    assert well.returncode == cli.OK, well.stdout
    assert found["running"]["found"] == f"pid {os.getpid()}"
    assert found["port"]["found"] == f"{port} its own"


def test_up_says_that_a_stream_was_sent_and_how_to_begin_again(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    continual("init", "--from", data.name, "--target", "class", cwd=tmp_path)
    project = settings.load()
    assert not running.is_sent(project, data)
    row = Observed(
        model="prices",
        observation_id="prices-599",
        numeric=b"",
        categorical=None,
        version=None,
        answer=None,
        recorded_at=0.0,
    )
    with write(open_store(project.settings.database_url)) as conn:
        append_observations(conn, [row])
    assert running.is_sent(project, data)
    assert "To begin again: Ctrl-C, delete .continual" in capsys.readouterr().out


def test_the_published_schema_knows_the_policy(tmp_path: Path) -> None:
    schema = json.loads(continual("config", "schema", cwd=tmp_path).stdout)
    assert "false_alarms" in schema["$defs"]["PolicyTable"]["properties"]


def test_a_wrong_file_says_each_fault_and_exits_with_3(tmp_path: Path) -> None:
    (tmp_path / "continual.toml").write_text("[models.m]\nknid = 1\n", encoding="utf-8")
    wrong = continual("status", cwd=tmp_path)
    assert wrong.returncode == cli.CONFIGURATION
    assert "continual.toml:2: models.m.knid: unknown key; did you mean 'kind'?" in wrong.stderr
    assert continual("status", "--nonsense", cwd=tmp_path).returncode == cli.USAGE
    unreachable = {"CONTINUAL_DATABASE_URL": f"sqlite:///{tmp_path}"}
    (tmp_path / "continual.toml").unlink()
    assert continual("status", cwd=tmp_path, env=unreachable).returncode == cli.UNREACHABLE


@pytest.mark.parametrize(
    "verb",
    [["up"], ["train", "prices.csv"], ["config", "check"], ["status", "-c", "continual.toml"]],
)
def test_without_a_file_the_verbs_that_need_one_say_how_to_make_it(
    tmp_path: Path, verb: list[str]
) -> None:
    refused = continual(*verb, cwd=tmp_path)
    assert refused.returncode == cli.CONFIGURATION
    assert "no continual.toml here; run `continual init --from data.csv --target y`" in (
        refused.stderr
    )
    assert not list(tmp_path.iterdir())


def test_no_colour_is_written_to_a_file(tmp_path: Path) -> None:
    wrong = continual("status", "--config", "nowhere.toml", "--data", "x", cwd=tmp_path)
    assert "\x1b[" not in wrong.stdout + wrong.stderr


@pytest.mark.journey
@pytest.mark.patient
def test_ctrl_c_stops_cleanly(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "continualml", "serve", "--port", str(_free_port())],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
    )
    time.sleep(3)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=10)
    assert child.returncode in {cli.OK, cli.INTERRUPTED, -signal.SIGINT}
    assert b"Traceback" not in said


def test_ctrl_c_during_the_first_imports_is_said_without_a_traceback() -> None:
    code = (
        "import sys\n"
        "class Impatient:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Impatient())\n"
        "from continualml.__main__ import main\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (cli.INTERRUPTED, "error: stopped\n")


def test_serve_on_a_taken_port_names_the_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = continual("serve", "--port", port, cwd=tmp_path)
    assert refused.returncode == cli.CONFIGURATION
    assert f"CONTINUAL_PORT: expected a free port of 127.0.0.1, got {port}, which is taken" in (
        refused.stderr
    )


def test_every_verb_and_exit_code_is_documented() -> None:
    text = (ROOT / "docs/command-line.md").read_text("utf-8")
    verbs = [
        c.name or (c.callback.__name__ if c.callback else "") for c in cli.app.registered_commands
    ]
    for verb in [*verbs, "token create", "token list", "token revoke", "config show"]:
        assert f"`continual {verb}" in text, verb
    for code in (cli.OK, cli.FAILED, cli.USAGE, cli.CONFIGURATION, cli.UNREACHABLE, 130):
        assert f"| {code} |" in text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_init_and_train_say_what_is_doubtful_left_out_and_held_back(
    tmp_path: Path, data: Path
) -> None:
    lines = data.read_text("utf-8").splitlines()
    rows = [f"row-{i},{line}" for i, line in enumerate(lines[1:])]
    data.write_text("\n".join([f"key,{lines[0]}", *rows]) + "\n", encoding="utf-8")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("*.pyc", encoding="utf-8")
    made = continual("init", "--from", data.name, "--target", "class", cwd=tmp_path)
    assert "warning: prices.csv:2, column key: all 600 values differ" in made.stderr
    assert (tmp_path / ".gitignore").read_text("utf-8") == "*.pyc\n.continual/\n"
    config = (tmp_path / "continual.toml").read_text("utf-8")
    assert '# "key" = "categorical"  # all 600 values differ, as an id\'s do\n' in config
    trained = continual("train", data.name, cwd=tmp_path).stdout
    assert "on the newest 120 of them, held back from training: accuracy 0." in trained
    assert "columns of prices.csv that are no feature: key" in trained
    again = continual("init", "--from", data.name, "--target", "class", "--force", cwd=tmp_path)
    assert "added" not in again.stdout


def test_a_regression_gets_a_bound_from_its_target_and_one_that_does_not_fit_is_said(
    tmp_path: Path,
) -> None:
    rows = [f"{i % 17},{100 + 5 * (i % 17) + i % 3}" for i in range(400)]
    (tmp_path / "trips.csv").write_text("\n".join(["km,minutes", *rows]), encoding="utf-8")
    continual("init", "--from", "trips.csv", "--target", "minutes", cwd=tmp_path)
    config = tmp_path / "continual.toml"
    assert "\nbound = 39 " in config.read_text("utf-8")  # targets lie between 100 and 182
    config.write_text(config.read_text("utf-8").replace("bound = 39 ", "bound = 30 "), "utf-8")
    trained = continual("train", "trips.csv", cwd=tmp_path).stdout
    assert "that is a mean error of 0." in trained
    assert "none counted above 30\nmost errors are far below models.trips.bound = 30" in trained
    config.write_text(config.read_text("utf-8").replace("bound = 30 ", "bound = 0.1 "), "utf-8")
    trained = continual("train", "trips.csv", "--data", "anew", cwd=tmp_path).stdout
    assert "most errors are at or above models.trips.bound = 0.1" in trained
