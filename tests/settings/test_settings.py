import os
from pathlib import Path

import pytest

from continualml import settings
from continualml.settings import ConfigError, Settings, load

EXAMPLE = Path(__file__).parents[2] / "examples/electricity/continual.toml"
GOOD = """
[models.m]
kind = "classification"
target = "y"
classes = ["a", 1]
[models.m.features]
x = "numeric"
c = { kind = "categorical", nullable = false }
[models.m.policy]
false_alarms = "1 per 5_000 rows"
[[models.m.policy.strategies]]
name = "trees"
window = 500
refit = 100
learner = { name = "sklearn.ensemble.RandomForestClassifier", n_estimators = 10 }
"""


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str) -> Path:
    path = Path("continual.toml")
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_becomes_models() -> None:
    model = load(write(GOOD)).models["m"]
    assert model.classes == ("a", "1")
    assert [(f.name, f.kind, f.nullable) for f in model.features] == [
        ("x", "numeric", True),
        ("c", "categorical", False),
    ]
    assert model.policy.false_alarms == 5_000
    assert model.policy.strategies[0].learner.parameters == (("n_estimators", 10),)


def test_every_fault_is_said_with_its_line_and_the_nearest_name() -> None:
    text = GOOD.replace("target", "traget").replace('"numeric"', '"numerc"')
    text = text.replace("window = 500", "window = 5")
    with pytest.raises(ConfigError) as caught:
        load(write(text))
    said = str(caught.value)
    assert "continual.toml:4: models.m.traget: unknown key; did you mean 'target'?" in said
    assert "continual.toml:7: models.m.features.x" in said
    assert "continual.toml:13: models.m.policy.strategies.0.window" in said


def test_a_file_that_was_named_or_is_needed_must_be_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load().default == "demo"
    with pytest.raises(ConfigError, match=r"no nope\.toml here; run `continual init --from"):
        load(Path("nope.toml"))
    with pytest.raises(ConfigError, match=r"no continual\.toml here; run `continual init --from"):
        load(declared=True)
    monkeypatch.setenv("CONTINUAL_CONFIG", "elsewhere.toml")
    with pytest.raises(ConfigError, match=r"no elsewhere\.toml here"):
        load()


def test_the_built_in_model_is_shown_where_it_is_used_and_nowhere_else() -> None:
    assert load().shown(()) == ["demo"]
    project = load(write(GOOD))
    assert "demo" in project.models  # /generate needs no declaration
    assert project.shown(()) == ["m"]
    assert project.shown(["demo"]) == ["m", "demo"]
    own = load(write(GOOD + GOOD.replace("models.m", "models.demo")))
    assert own.shown(()) == ["m", "demo"]


def test_broken_toml_is_said_with_its_place() -> None:
    with pytest.raises(ConfigError, match="line 1"):
        load(write("[models\n"))


def test_flag_goes_before_environment_before_file_before_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load().settings.port == 8000
    path = write("[settings]\nport = 8001\n")
    assert load(path).settings.port == 8001
    Path(".env").write_text("CONTINUAL_PORT=8002\n", encoding="utf-8")
    assert load(path).settings.port == 8002
    monkeypatch.setenv("CONTINUAL_PORT", "8003")
    assert load(path).settings.port == 8003
    assert load(path, port=8004).settings.port == 8004


def test_what_people_are_told_has_a_table_and_the_environment_goes_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write('[notify]\nok = "every_check"\ndigest_at = "06:30"\n')
    said = load(path).settings
    assert (said.notify_ok, said.notify_digest_at) == ("every_check", "06:30")
    monkeypatch.setenv("CONTINUAL_NOTIFY_OK", "daily")
    assert load(path).settings.notify_ok == "daily"
    with pytest.raises(ConfigError, match=r":2: notify\.okay: unknown key; did you mean 'ok'"):
        load(write('[notify]\nokay = "daily"\n'))
    path.unlink()
    monkeypatch.setenv("CONTINUAL_NOTIFY_DIGEST_AT", "25:00")
    with pytest.raises(ConfigError, match=r"^CONTINUAL_NOTIFY_DIGEST_AT: "):
        load()


def test_an_unknown_setting_in_the_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r":2: settings\.prot: unknown key; did you mean 'port'"):
        load(write("[settings]\nprot = 1\n"))


def test_the_familiar_bare_names_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("MLFLOW_TRACKING_URI", "http://127.0.0.1:1"),
        ("PREFECT_API_URL", "http://127.0.0.1:2/api"),
        ("PERFORMANCE_THRESHOLD", "0.8"),
        ("CHECK_INTERVAL_SECONDS", "60"),
        ("TASK_RETRIES", "5"),
        ("RETRY_DELAY_SECONDS", "1.5"),
        ("DISCORD_WEBHOOK_URL", "https://127.0.0.1/hook"),
    ):
        monkeypatch.setenv(name, value)
    project = load(write(GOOD))
    said = project.settings
    assert said.mlflow_tracking_uri == "http://127.0.0.1:1"
    assert (said.check_interval_seconds, said.task_retries) == (60, 5)
    assert project.models["m"].policy.threshold == 0.8
    assert "127.0.0.1/hook" not in repr(said)


@pytest.mark.parametrize("key", ["short", "changeme-changeme-changeme", "a" * 40])
def test_a_key_that_others_could_guess_is_refused(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("API_KEY", key)
    with pytest.raises(ConfigError, match="API_KEY: expected at least 24 random characters") as e:
        load()
    assert key not in str(e.value)


def test_a_secret_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("API_KEY", raising=False)
    file = tmp_path / "key"
    file.write_text("Zk3v9QpL7xWm2TnR5yBc8Hd1\n", encoding="utf-8")
    monkeypatch.setenv("API_KEY_FILE", str(file))
    key = load().settings.api_key
    assert key is not None
    assert key.get_secret_value() == "Zk3v9QpL7xWm2TnR5yBc8Hd1"
    monkeypatch.setenv("API_KEY_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="API_KEY_FILE: No such file"):
        load()


def test_a_value_outside_its_range_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECK_INTERVAL_SECONDS", "0")
    with pytest.raises(ConfigError, match="CHECK_INTERVAL_SECONDS"):
        load()


def test_a_wrong_or_misspelt_variable_is_named_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONTINUAL_PORT", "eighty")
    with pytest.raises(ConfigError, match=r"^CONTINUAL_PORT: "):
        load()
    monkeypatch.delenv("CONTINUAL_PORT")
    monkeypatch.setenv("CONTINUAL_SERVICE_HOST_OF_ANOTHER_PROGRAM", "1")  # none of ours
    load()
    monkeypatch.setenv("CONTINUAL_PROT", "8001")
    with pytest.raises(
        ConfigError, match=r"^CONTINUAL_PROT: unknown setting; did you mean CONT.*_PORT"
    ):
        load()
    monkeypatch.delenv("CONTINUAL_PROT")
    Path(".env").write_text("CONTINUAL_HOTS=::1\n", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"^CONTINUAL_HOTS: unknown setting; did you mean CONT.*_HOST"
    ):
        load()


def test_a_child_process_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given = load(write(GOOD), port=8123).settings
    for name, value in settings.environment(given).items():
        monkeypatch.setenv(name, value)
    assert load().settings == given


def test_the_example_is_valid_and_every_setting_is_documented() -> None:
    assert load(EXAMPLE).models["electricity"].policy.block == 48
    root = EXAMPLE.parents[2]
    documented = (root / ".env.example").read_text("utf-8")
    reference = (root / "docs/configuration.md").read_text("utf-8")
    for name in Settings.model_fields:
        bare = name.upper() in {
            "API_KEY", "DASHBOARD_PASSWORD", "DISCORD_WEBHOOK_URL", "MLFLOW_TRACKING_URI",
            "PREFECT_API_URL",
            "PERFORMANCE_THRESHOLD", "CHECK_INTERVAL_SECONDS", "TASK_RETRIES",
            "RETRY_DELAY_SECONDS", "LOG_FORMAT",
        }  # fmt: skip
        variable = name.upper() if bare else f"CONTINUAL_{name.upper()}"
        assert f"{variable}=" in documented, variable
        assert f"`{variable}`" in reference, variable
    assert set(settings.NotifyTable.model_fields) == {
        n.removeprefix("notify_") for n in Settings.model_fields if n.startswith("notify_")
    } - {"url"}  # a secret is in no file that is committed
    for table in (settings.PolicyTable, settings.ModelTable, settings.StrategyTable):
        for key in table.model_fields:
            assert f"`{key}`" in reference, key


OIDC = {"URL": "https://id.example", "CLIENT_ID": "us", "ALLOW": "a@firm.example, @Firm.example"}


@pytest.mark.parametrize(
    ("name", "said", "fault"),
    [
        ("ALLOW", "", "CONTINUAL_OIDC_ALLOW: .* got an empty list"),
        ("ALLOW", " , ", "CONTINUAL_OIDC_ALLOW: .* got an empty list"),
        ("ALLOW", "*", r"CONTINUAL_OIDC_ALLOW: .* got '\*'"),
        ("ALLOW", "a@firm.example firm.example", "CONTINUAL_OIDC_ALLOW: .* got 'a@firm"),
        ("ALLOW", "@", "CONTINUAL_OIDC_ALLOW: .* got '@'"),
        ("CLIENT_ID", "", "CONTINUAL_OIDC_CLIENT_ID"),
        ("URL", "", "CONTINUAL_OIDC_ALLOW: set, but CONTINUAL_OIDC_URL is not"),
        ("URL", "http://id.example", "CONTINUAL_OIDC_URL: expected https"),
        ("URL", "https://me@id.example", "CONTINUAL_OIDC_URL: expected https"),
    ],
)
def test_a_provider_that_would_let_in_nobody_or_anybody_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, said: str, fault: str
) -> None:
    for variable, value in (OIDC | {name: said}).items():
        monkeypatch.setenv(f"CONTINUAL_OIDC_{variable}", value)

    with pytest.raises(ConfigError, match=fault):
        load()


def test_a_provider_is_taken_with_its_allow_list(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in OIDC.items():
        monkeypatch.setenv(f"CONTINUAL_OIDC_{variable}", value)

    assert load().settings.oidc_allowed == {"a@firm.example", "@firm.example"}


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "https://bucket/x",
        "s3://me:hush-hush@bucket/x",  # pragma: allowlist secret
        "s3://b/x?key=hush-hush",
    ],
)
def test_a_bucket_is_an_address_without_a_secret(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CONTINUAL_ARTIFACTS_URL", url)

    with pytest.raises(ConfigError, match="expected s3://bucket/prefix; AWS_ACCESS_KEY_ID") as told:
        load()
    assert "hush-hush" not in str(told.value)


def test_who_asks_a_bucket_may_stand_in_the_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_REGION", "here")
    said = "AWS_ACCESS_KEY_ID=of-the-file\nAWS_REGION=there\n"  # pragma: allowlist secret
    (tmp_path / ".env").write_text(said, "utf-8")
    load()
    assert "AWS_ACCESS_KEY_ID" not in os.environ  # without a bucket it is nobody's

    monkeypatch.setenv("CONTINUAL_ARTIFACTS_URL", "s3://bucket/prefix")
    load()
    assert (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_REGION"]) == ("of-the-file", "here")


@pytest.mark.parametrize(
    ("said", "days"), [("1 per 30 days", 30.0), ("1 per 1 day", 1.0), ("1 per 2 weeks", 14.0)]
)
def test_a_budget_may_be_a_period(tmp_path: Path, said: str, days: float) -> None:
    text = '[models.m]\nkind = "regression"\ntarget = "y"\nfeatures = { x = "numeric" }\n'
    path = tmp_path / "continual.toml"
    path.write_text(
        text + f'policy = {{ false_alarms = "{said}", rows_per_day = 24.0 }}\n', "utf-8"
    )
    policy = load(path).models["m"].policy
    assert (policy.false_alarm_days, policy.rows_per_day) == (days, 24.0)
    assert policy.false_promotion_days is None
    path.write_text(text + 'policy = { false_alarms = "1 per 0 days" }\n', "utf-8")
    with pytest.raises(ConfigError, match='expected "1 per N rows", "1 per N days" or "1 per N w'):
        load(path)


@pytest.mark.parametrize(
    ("said", "chance", "rows", "days"),
    [
        ("0.01", 0.01, None, None),
        ('"1 per 5000 rows"', 0.05, 5_000, None),
        ("700", 0.05, 700, None),
        ('"1 per 2 weeks"', 0.05, None, 14.0),
    ],
)
def test_how_sure_a_promotion_must_be_is_a_chance_or_a_rate(
    tmp_path: Path, said: str, chance: float, rows: int | None, days: float | None
) -> None:
    path = tmp_path / "continual.toml"
    text = '[models.m]\nkind = "regression"\ntarget = "y"\nfeatures = { x = "numeric" }\n'
    path.write_text(text + f"policy = {{ false_promotions = {said} }}\n", "utf-8")
    policy = load(path).models["m"].policy
    assert policy.false_promotion_chance == chance
    assert (policy.false_promotions, policy.false_promotion_days) == (rows, days)
    for wrong in ("1.5", "0.0", '"often"'):
        path.write_text(text + f"policy = {{ false_promotions = {wrong} }}\n", "utf-8")
        with pytest.raises(ConfigError, match=r"expected a chance such as 0\.05"):
            load(path)


@pytest.mark.parametrize(
    ("said", "rows", "days"), [("48", 48, None), ('"1 day"', None, 1.0), ('"12 hours"', None, 0.5)]
)
def test_a_block_is_rows_or_a_period(
    tmp_path: Path, said: str, rows: int | None, days: float | None
) -> None:
    path = tmp_path / "continual.toml"
    text = '[models.m]\nkind = "classification"\ntarget = "y"\nclasses = ["a", "b"]\n'
    text += 'features = { x = "numeric" }\n'
    path.write_text(text + f"policy = {{ block = {said} }}\n", "utf-8")
    policy = settings.load(path).models["m"].policy
    assert policy.block == rows
    assert policy.block_days == days
    path.write_text(text + 'policy = { block = "a day" }\n', "utf-8")
    with pytest.raises(ConfigError, match='expected a number of rows, "N hours"'):
        settings.load(path)
