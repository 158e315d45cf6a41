"""Configuration: ``continual.toml`` and the environment become values, or errors with line and key.

Order: command-line flag, then environment, then ``.env``, then the file, then the default.
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic import ValidationError as PydanticError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from continualml import demo
from continualml.errors import InputError, did_you_mean
from continualml.model import DEFAULT_STRATEGIES, Feature, Learner, Model, Policy, Strategy

_SHORTEST_KEY = 24
_SHORTEST_PASSWORD = 12
_FEWEST_CHARACTERS = 8
_KEY_REMEDY = (
    f"API_KEY: expected at least {_SHORTEST_KEY} random characters and no well-known word; "
    "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"
)
_PASSWORD_REMEDY = (
    f"DASHBOARD_PASSWORD: expected at least {_SHORTEST_PASSWORD} characters, "
    f"{_FEWEST_CHARACTERS} of them different, and more than a well-known word"
)
_SECRETS = (
    *("API_KEY", "DASHBOARD_PASSWORD", "DISCORD_WEBHOOK_URL"),
    *("NOTIFY_URL", "KUMA_PASSWORD", "OIDC_CLIENT_SECRET"),
)
_NEAR = 0.85
_INIT = "run `continual init --from data.csv --target y`"
_WELL_KNOWN = ("changeme", "password", "secret", "admin", "letmein", "example", "default", "test")
_SECRET_KEY = re.compile(r"pass|secret|token|key", re.IGNORECASE)
_PART_OF_A_UNION = re.compile(r"Table$|^str$|^literal\[")
_BUDGET = re.compile(r"1 per ([\d_]+) (row|day|week)s?")
_PERIOD = re.compile(r"(\d+) (hour|day|week)s?")
_ALLOWED = re.compile(r"[^@\s]*@[a-z0-9-]+(\.[a-z0-9-]+)+")
_DAYS = {"hour": 1 / 24, "day": 1.0, "week": 7.0}


class ConfigError(InputError):
    """The configuration is wrong; every fault found, one a line."""

    def __init__(self, path: str, faults: list[str]) -> None:
        self.faults = faults
        super().__init__(path, expected="a valid configuration", got=f"{len(faults)} faults")
        self.args = ("\n".join(faults),)

    def __str__(self) -> str:
        """Say every fault."""
        return "\n".join(self.faults)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class Period:
    """A block or a budget in days, until it is known how many rows that is."""

    days: float


def _budget(value: object) -> object:
    if isinstance(value, str) and (found := _BUDGET.fullmatch(value)):
        n, unit = int(found[1]), found[2]
        if n > 0:
            return n if unit == "row" else Period(n * _DAYS[unit])
    elif isinstance(value, int | Period):
        return value
    raise ValueError('expected "1 per N rows", "1 per N days" or "1 per N weeks"')


def _sureness(value: object) -> object:
    if isinstance(value, float) and 0 < value < 1:
        return value
    try:
        return _budget(value)
    except ValueError as error:
        raise ValueError(
            str(error).replace("expected", "expected a chance such as 0.05,")
        ) from None


def _block(value: object) -> object:
    if isinstance(value, str) and (found := _PERIOD.fullmatch(value)) and int(found[1]) > 0:
        return Period(int(found[1]) * _DAYS[found[2]])
    if isinstance(value, int | Period) or value is None:
        return value
    raise ValueError('expected a number of rows, "N hours", "N days" or "N weeks"')


Block = Annotated[
    Annotated[int, Field(ge=1)] | Period | None,
    BeforeValidator(_block, json_schema_input_type=str | int | None),
]
Budget = Annotated[
    Annotated[int, Field(ge=1)] | Period,
    BeforeValidator(_budget, json_schema_input_type=str | int),
]
Sureness = Annotated[
    Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] | Period,
    BeforeValidator(_sureness, json_schema_input_type=str | int | float),
]


class LearnerTable(_Strict):
    """A learner with parameters, written as a table; every key but ``name`` is a parameter."""

    model_config = ConfigDict(extra="allow", strict=True)
    name: str


class FeatureTable(_Strict):
    """One feature, where it needs more than its kind."""

    kind: Literal["numeric", "categorical"]
    nullable: bool = True


class StrategyTable(_Strict):
    """One standing strategy: fit on the newest ``window`` rows, again after ``refit`` rows."""

    name: str
    window: int = Field(ge=20)
    refit: int = Field(ge=1)
    learner: str | LearnerTable | None = None
    resumes: bool = False


class PolicyTable(_Strict):
    """The user's numbers; see model.Policy."""

    retrain: Literal["standing", "on_alarm"] = "standing"
    threshold: float | None = Field(None, gt=0, lt=1)
    threshold_metric: Literal["accuracy", "brier"] = "accuracy"
    tolerance: float = Field(0.02, ge=0, lt=1)
    drift_tolerance: float = Field(0.03, ge=0, lt=1)
    false_alarms: Budget = 10_000
    false_promotions: Sureness = 0.05
    rows_per_day: float | None = Field(None, gt=0)
    block: Block = None
    hold: int = Field(50, ge=10)
    cooldown: int = Field(0, ge=0)
    fit_seconds: float | None = Field(None, gt=0)
    strategies: list[StrategyTable] | None = None


class ModelTable(_Strict):
    """One model: its schema, its first learner and its policy."""

    kind: Literal["classification", "regression"]
    target: str
    features: dict[str, Literal["numeric", "categorical"] | FeatureTable]
    classes: list[str | int] = []
    bound: float = Field(1.0, gt=0)
    seed: int = 0
    learner: str | LearnerTable = Learner().name
    policy: PolicyTable = PolicyTable()


class NotifyTable(_Strict):
    """What people are told without asking; each key is the setting ``notify_<key>``."""

    ok: Literal["daily", "every_check"] | None = None
    digest_at: str | None = None


class ConfigFile(_Strict):
    """The whole file."""

    default: str | None = None
    notify: NotifyTable = NotifyTable()
    settings: dict[str, str | int | float | bool] = {}
    models: dict[str, ModelTable] = {}


class Settings(BaseSettings):
    """Where things are and how they run; each is an environment variable CONTINUAL_<NAME>.

    The names in the second place of an alias are the familiar bare ones.
    """

    model_config = SettingsConfigDict(
        env_prefix="CONTINUAL_",
        env_file=".env",
        extra="ignore",
        populate_by_name=True,
        env_ignore_empty=True,
    )

    config: Path = Field(Path("continual.toml"), description="the models and their policies")
    data: Path = Field(Path(".continual"), description="directory of log, artifacts and tokens")
    database_url: str = Field("", description="the store; SQLite in the data directory if empty")
    artifacts_url: str = Field(
        "", description="bucket of the artifacts, `s3://bucket/prefix`; the data directory if empty"
    )
    durability: Literal["power", "process"] = Field(
        "power", description="what an answer outlives: a power cut, or only the end of the process"
    )
    host: str = Field("127.0.0.1", description="address that the API listens on")
    port: int = Field(8000, ge=1, le=65535, description="port of the API")
    prefect_port: int = Field(4200, ge=1, le=65535, description="port of the Prefect server")
    mlflow_port: int = Field(5000, ge=1, le=65535, description="port of the MLflow server")
    dashboard_port: int = Field(8501, ge=1, le=65535, description="port of the dashboard")
    workers: int = Field(
        1,
        ge=1,
        le=64,
        validation_alias=AliasChoices("CONTINUAL_WORKERS", "WEB_CONCURRENCY"),
        description="processes that serve",
    )
    max_body_bytes: int = Field(2_000_000, ge=1_000, description="largest request body")
    max_rows: int = Field(1_000, ge=1, description="most rows in one request")
    train_timeout_seconds: float = Field(120.0, gt=0, description="longest time of one fit")
    train_memory_mb: int = Field(4_096, ge=512, description="most memory of one fit")
    job_memory_mb: int = Field(
        640, ge=256, description="most memory of a job's process; less than what the API may take"
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto",
        validation_alias=AliasChoices("CONTINUAL_LOG_FORMAT", "LOG_FORMAT"),
        description="json or text; auto: text in a terminal, else json",
    )
    api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("CONTINUAL_API_KEY", "API_KEY"),
        description="becomes the admin token, instead of a random one",
    )
    dashboard_password: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("CONTINUAL_DASHBOARD_PASSWORD", "DASHBOARD_PASSWORD"),
        description="opens the dashboard, beside tokens; without one only a token does",
    )
    oidc_url: str | None = Field(
        None, description="an OpenID provider whose people may log in to the dashboard: its issuer"
    )
    oidc_client_id: str | None = Field(None, description="what the provider calls the dashboard")
    oidc_client_secret: SecretStr | None = Field(
        None, description="the dashboard's secret at the provider; the API does not need it"
    )
    oidc_allow: str = Field(
        "", description="who of them may: e-mail addresses and @domains, with commas between"
    )
    oidc_name: str = Field(
        "single sign-on", min_length=1, max_length=40, description="what people call the provider"
    )
    discord_webhook_url: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("CONTINUAL_DISCORD_WEBHOOK_URL", "DISCORD_WEBHOOK_URL"),
        description="Discord webhook that people are told through",
    )
    notify_url: SecretStr | None = Field(
        None, description="another channel, as Apprise writes it: Slack, a webhook of your own"
    )
    notify_ok: Literal["daily", "every_check"] = Field(
        "daily", description="OK: a digest a day and one message edited in place, or each check"
    )
    notify_digest_at: str = Field(
        "08:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="when the digest is sent, UTC"
    )
    dashboard_url: str | None = Field(None, description="the dashboard, as people reach it")
    runbook_url: str | None = Field(
        None, description="where docs/runbook.md is published, for links in messages"
    )
    api_url: str | None = Field(
        None, description="the API, as other processes reach it; from host and port if empty"
    )
    kuma_url: str | None = Field(None, description="an Uptime Kuma that watches from outside")
    kuma_username: str = Field("continual", description="its user, made on the first sync")
    kuma_password: SecretStr | None = Field(None, description="that user's password")
    mlflow_tracking_uri: str | None = Field(
        None,
        validation_alias=AliasChoices("CONTINUAL_MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_URI"),
        description="an MLflow server of your own, instead of one that is started",
    )
    prefect_api_url: str | None = Field(
        None,
        validation_alias=AliasChoices("CONTINUAL_PREFECT_API_URL", "PREFECT_API_URL"),
        description="a Prefect server of your own, instead of one that is started",
    )
    performance_threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        validation_alias=AliasChoices("CONTINUAL_PERFORMANCE_THRESHOLD", "PERFORMANCE_THRESHOLD"),
        description="lowest accuracy, for every model; overrides policy.threshold",
    )
    check_interval_seconds: float = Field(
        30.0,
        ge=1,
        validation_alias=AliasChoices("CONTINUAL_CHECK_INTERVAL_SECONDS", "CHECK_INTERVAL_SECONDS"),
        description="period of the scheduled cycle",
    )
    task_retries: int = Field(
        3,
        ge=0,
        validation_alias=AliasChoices("CONTINUAL_TASK_RETRIES", "TASK_RETRIES"),
        description="how often a failed task of the scheduled cycle is tried again",
    )
    retry_delay_seconds: float = Field(
        10.0,
        ge=0,
        validation_alias=AliasChoices("CONTINUAL_RETRY_DELAY_SECONDS", "RETRY_DELAY_SECONDS"),
        description="seconds before it is tried again",
    )

    @property
    def api(self) -> str:
        """Address of the API for other processes."""
        return (self.api_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def oidc_allowed(self) -> frozenset[str]:
        """The e-mail addresses and @domains of the allow list, in small letters."""
        return frozenset(e for part in self.oidc_allow.split(",") if (e := part.strip().lower()))

    @property
    def artifacts(self) -> Path:
        """Directory of the artifacts; of those in a bucket, what this machine has of them."""
        return self.data / "artifacts"

    @property
    def kuma_push(self) -> Path:
        """File that holds the token of the heartbeat at Uptime Kuma, readable by its owner."""
        return self.data / "kuma.push"

    @property
    def admin_token(self) -> Path:
        """File that holds the admin token, readable by its owner alone."""
        return self.data / "admin.token"

    @property
    def page_login(self) -> Path:
        """File that holds the login of Prefect's and MLflow's pages, for its owner's eyes."""
        return self.data / "pages.login"

    @property
    def session_key(self) -> Path:
        """File that holds the key of people's sessions, readable by its owner alone."""
        return self.data / "session.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """All that was configured; ``default`` names the model of ``/predict``."""

    settings: Settings
    models: dict[str, Model]
    default: str

    def shown(self, logged: Collection[str]) -> list[str]:
        """Name the models that people asked for, and the built-in one only where it is in use.

        Parameters
        ----------
        logged
            Models that have rows in the log.
        """
        return [
            name
            for name, model in self.models.items()
            if model is not demo.DEMO or name == self.default or name in logged
        ]


def load(
    config: Path | None = None,
    *,
    declared: bool = False,
    policy: Mapping[str, Any] | None = None,
    **flags: Any,
) -> Project:
    """Read file and environment.

    Parameters
    ----------
    declared
        A file must be there. One that was named must be there anyway; without either, only the
        built-in model is known.
    policy
        Keys of every model's policy that are to be other than in the file.

    Raises
    ------
    ConfigError
        With every fault: file, line, key, what was expected and the nearest known name.
    """
    flags = {name: value for name, value in flags.items() if value is not None}
    if config is not None:
        flags["config"] = config
    named = flags.get("config") or os.environ.get("CONTINUAL_CONFIG")
    path = Path(named or "continual.toml")
    if (named or declared) and not path.exists():
        raise ConfigError(str(path), [f"no {path} here; {_INIT}"])
    file = _read(path)
    notify = {f"notify_{k}": v for k, v in file.notify.model_dump(exclude_none=True).items()}
    settings = _settings(path, {**file.settings, **notify}, flags)
    tables = {name: _changed(path, t, policy or {}) for name, t in file.models.items()}
    models = {name: _model(name, table, settings) for name, table in tables.items()}
    default = file.default or next(iter(models), demo.DEMO.name)
    models.setdefault(demo.DEMO.name, demo.DEMO)
    if file.default and file.default not in models:
        raise ConfigError(str(path), [f"{path}: default: no model {file.default!r} is declared"])
    return Project(settings=settings, models=models, default=default)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of ``continual.toml``."""
    return ConfigFile.model_json_schema()


def environment(settings: Settings) -> dict[str, str]:
    """Write settings as the environment that gives a child process the same ones."""
    written: dict[str, str] = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if name == "config" and not value.exists():
            continue  # whom a file is named, needs it
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if value is not None:
            written[f"CONTINUAL_{name.upper()}"] = str(value)
    return written


def secret_fields() -> list[str]:
    """Name the settings that are secrets."""
    return [n for n, f in Settings.model_fields.items() if SecretStr in get_args(f.annotation)]


def secret_variables() -> set[str]:
    """Name every environment variable that holds a secret setting, or names a file that does."""
    found: set[str] = set()
    for name in secret_fields():
        alias = Settings.model_fields[name].validation_alias
        also = [str(c) for c in alias.choices] if isinstance(alias, AliasChoices) else []
        for variable in (f"CONTINUAL_{name.upper()}", *also):
            found |= {variable, f"{variable}_FILE"}
    return found


def shown(settings: Settings) -> dict[str, Any]:
    """Write settings for people: secrets and the passwords inside URLs are hidden."""
    told = settings.model_dump(mode="json")
    for name in ("database_url", "mlflow_tracking_uri", "prefect_api_url", "kuma_url", "api_url"):
        if told[name]:
            told[name] = _without_password(told[name])
    return told


def _without_password(url: str) -> str:
    try:
        parsed = make_url(url)
    except ArgumentError:  # a directory, or a word such as "databricks"
        return "***" if "@" in url else url
    hidden = {key: "hidden" for key in parsed.query if _SECRET_KEY.search(key)}
    return parsed.update_query_dict(hidden).render_as_string(hide_password=True)


def _read(path: Path) -> ConfigFile:
    if not path.exists():
        return ConfigFile()
    text = path.read_text(encoding="utf-8")
    try:
        return ConfigFile.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), [f"{path}: {error}"]) from None
    except PydanticError as error:
        faults = dict.fromkeys(_fault(path, text, dict(e)) for e in error.errors())
        raise ConfigError(str(path), list(faults)) from None


def _fault(path: Path, text: str, error: dict[str, Any]) -> str:
    where = [str(p) for p in error["loc"] if not _PART_OF_A_UNION.search(str(p))]
    line = line_of(text, where)
    said = f"{path}:{line}: {'.'.join(where)}"
    if error["type"] == "extra_forbidden":
        return f"{said}: {_unknown(where[-1], _names(where[:-1]))}"
    got = "" if error["type"] == "missing" else f", got {error['input']!r}"
    return f"{said}: {str(error['msg']).removeprefix('Value error, ')}{got}"


def _unknown(name: str, known: Iterable[str]) -> str:
    hint = did_you_mean(name, known)
    return "unknown key" + (f"; {hint}" if hint else "")


def _names(where: list[str]) -> list[str]:
    table: type[BaseModel] = ConfigFile
    depth = len(where)
    if depth and where[0] == "settings":
        return list(Settings.model_fields)
    if depth and where[0] == "notify":
        return list(NotifyTable.model_fields)
    if depth >= 2:  # noqa: PLR2004  models.<name>
        table = ModelTable
        if "strategies" in where:
            table = StrategyTable
        elif "policy" in where:
            table = PolicyTable
        elif "features" in where:
            table = FeatureTable
    return list(table.model_fields)


def line_of(text: str, where: list[str]) -> int:
    """Find the line of a key in a TOML text, or that of the nearest table above it."""
    # No library does it: of those that keep positions, toml-rs gives none for a table's header.
    table: list[str] = []
    best, best_depth, seen = 1, 0, -1
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if header := re.match(r"\[+\s*([^\]]+?)\s*\]+", line):
            table = [p.strip().strip("\"'") for p in header[1].split(".")]
            if line.startswith("[["):
                seen = seen + 1 if table[:-1] == where[: len(table) - 1] else -1
                table.append(str(seen))
            path = table
        elif key := re.match(r"([A-Za-z0-9_.\"'-]+)\s*=", line):
            path = [*table, *(p.strip("\"'") for p in key[1].split("."))]
        else:
            continue
        depth = 0
        while depth < min(len(path), len(where)) and path[depth] == where[depth]:
            depth += 1
        if depth == len(path) and depth > best_depth:
            best, best_depth = number, depth
    return best


def _settings(
    path: Path, table: dict[str, str | int | float | bool], flags: dict[str, Any]
) -> Settings:
    unknown = [name for name in table if name not in Settings.model_fields]
    if unknown:
        line = line_of(path.read_text(encoding="utf-8"), ["settings", unknown[0]])
        fault = _unknown(unknown[0], Settings.model_fields)
        raise ConfigError(str(path), [f"{path}:{line}: settings.{unknown[0]}: {fault}"])
    _check_names()
    files = _from_files()
    try:
        said = Settings().model_dump(exclude_unset=True)
        settings = Settings.model_validate({**table, **files, **said, **flags})
    except PydanticError as error:
        faults = [f"{_variable(e['loc'])}: {e['msg']}, got {_shown(e)}" for e in error.errors()]
        raise ConfigError("environment", faults) from None
    if settings.api_key is not None:
        check_key(settings.api_key.get_secret_value())
    if settings.dashboard_password is not None:
        check_password(settings.dashboard_password.get_secret_value())
    if faults := [*_faults_of_oidc(settings), *_faults_of_artifacts(settings.artifacts_url)]:
        raise ConfigError("environment", faults)
    if settings.artifacts_url:
        _export_credentials()
    url = settings.database_url or f"sqlite:///{settings.data / 'log.sqlite'}"
    return settings.model_copy(update={"database_url": url, "config": path})


def check_key(key: str) -> None:
    """Refuse a token that others could guess.

    Raises
    ------
    ConfigError
        If it is short, well known or made of few characters.
    """
    guessable = any(word in key.lower() for word in _WELL_KNOWN)
    if len(key) < _SHORTEST_KEY or len(set(key)) < _FEWEST_CHARACTERS or guessable:
        raise ConfigError(
            "environment",
            [_KEY_REMEDY],
        )


def check_password(password: str) -> None:
    """Refuse a password that others could guess.

    Raises
    ------
    ConfigError
        If it is short, made of few characters or little more than a well-known word.
    """
    rest = password.lower()
    for word in _WELL_KNOWN:
        rest = rest.replace(word, "")
    few = len(set(password)) < _FEWEST_CHARACTERS
    if len(password) < _SHORTEST_PASSWORD or few or len(rest) < _FEWEST_CHARACTERS:
        raise ConfigError(
            "environment",
            [_PASSWORD_REMEDY],
        )


def is_private(url: str) -> bool:
    """Say whether nobody between could read or change what this address answers."""
    parts = urlsplit(url)
    here = parts.hostname in {"127.0.0.1", "localhost", "::1"}
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and here))


def _faults_of_oidc(said: Settings) -> list[str]:
    """Find what is missing or unsafe where an OpenID provider is set; nobody gets in by a slip."""
    if said.oidc_url is None:
        names = ("oidc_client_id", "oidc_client_secret", "oidc_allow")
        lone = [name.upper() for name in names if getattr(said, name)]
        return [f"CONTINUAL_{name}: set, but CONTINUAL_OIDC_URL is not" for name in lone]
    faults = []
    if not is_private(said.oidc_url) or urlsplit(said.oidc_url).username:
        faults += ["CONTINUAL_OIDC_URL: expected https://…, or http:// on loopback, no password"]
    if not said.oidc_client_id:
        faults += ["CONTINUAL_OIDC_CLIENT_ID: expected the id of the dashboard at the provider"]
    if not said.oidc_allowed:
        faults += ["CONTINUAL_OIDC_ALLOW: expected e-mail addresses or @domains, got an empty list"]
    wrong = sorted(e for e in said.oidc_allowed if not _ALLOWED.fullmatch(e))
    faults += [
        f"CONTINUAL_OIDC_ALLOW: expected name@example.org or @example.org, got {e!r}" for e in wrong
    ]
    return faults


def _faults_of_artifacts(url: str) -> list[str]:
    parts = urlsplit(url)
    wrong = parts.scheme != "s3" or not parts.hostname or parts.query or parts.fragment
    if url and (wrong or "@" in parts.netloc):  # what came is not said: it may hold a secret
        who = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL"
        expected = f"expected s3://bucket/prefix; {who} belong into the environment"
        return [f"CONTINUAL_ARTIFACTS_URL: {expected}"]
    if url and find_spec("s3fs") is None:
        return ["CONTINUAL_ARTIFACTS_URL: set, but s3fs is missing; install continualml[s3]"]
    return []


def _from_files() -> dict[str, str]:
    """Read NAME from the file that NAME_FILE names, as secrets are handed to containers."""
    found: dict[str, str] = {}
    for name in _SECRETS:
        for variable in (name, f"CONTINUAL_{name}"):
            if file := os.environ.get(f"{variable}_FILE"):
                try:
                    found[name.lower()] = Path(file).read_text(encoding="utf-8").strip()
                except OSError as error:
                    said = f"{variable}_FILE: {error.strerror}: {file}"
                    raise ConfigError("environment", [said]) from None
    return found


def _export_credentials() -> None:
    """Let the bucket's library see what stands in ``.env``: it reads the environment alone."""
    for name, value in dotenv_values(".env").items():
        if name.startswith("AWS_") and value:
            os.environ.setdefault(name, value)


def _variable(loc: tuple[int | str, ...]) -> str:
    """Name a setting as its variable is documented."""
    name = str(loc[0]).upper().removeprefix("CONTINUAL_")
    bare = Settings.model_fields[name.lower()].validation_alias is not None
    return name if bare else f"CONTINUAL_{name}"


def _check_names() -> None:
    """Refuse a variable that looks like a setting with a slip of the pen; others may be others'."""
    known = [f"CONTINUAL_{name.upper()}" for name in Settings.model_fields]
    known += [
        *(f"CONTINUAL_{name}_FILE" for name in _SECRETS),
        "CONTINUAL_TREE",
        "CONTINUAL_COUNTS",
    ]
    faults = []
    for name in sorted({*os.environ, *dotenv_values(".env")}):
        if name.startswith("CONTINUAL_") and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=_NEAR)
            faults += [f"{name}: unknown setting; did you mean {near[0]}?"] if near else []
    if faults:
        raise ConfigError("environment", faults)


def _shown(error: Any) -> str:
    return json.dumps(error["input"], default=str)[:100]


def _changed(path: Path, table: ModelTable, policy: Mapping[str, Any]) -> ModelTable:
    if not policy:
        return table
    try:
        said = PolicyTable.model_validate(policy)
    except PydanticError as error:
        faults = [_fault(path, "", {**e, "loc": ("policy", *e["loc"])}) for e in error.errors()]
        raise ConfigError(str(path), [f.partition(": ")[2] for f in faults]) from None
    changed = {name: getattr(said, name) for name in said.model_fields_set}
    return table.model_copy(update={"policy": table.policy.model_copy(update=changed)})


def _model(name: str, table: ModelTable, settings: Settings) -> Model:
    policy = table.policy
    periods = {"block", "false_alarms", "false_promotions"}
    numbers = policy.model_dump(exclude={"strategies", *periods})
    if isinstance(policy.block, Period):
        numbers["block_days"] = policy.block.days
    else:
        numbers["block"] = policy.block
    numbers |= _rows_or_days("false_alarm", policy.false_alarms)
    if isinstance(policy.false_promotions, float):
        numbers["false_promotion_chance"] = policy.false_promotions
    else:
        numbers |= _rows_or_days("false_promotion", policy.false_promotions)
    strategies = DEFAULT_STRATEGIES
    learner = _learner(table.learner)
    if policy.strategies is not None:
        strategies = tuple(
            Strategy(
                name=s.name,
                window=s.window,
                refit=s.refit,
                learner=learner if s.learner is None else _learner(s.learner),
                resumes=s.resumes,
            )
            for s in policy.strategies
        )
    elif learner != Learner():
        strategies = tuple(replace(s, learner=learner) for s in strategies)
    if settings.performance_threshold is not None:
        numbers |= {"threshold": settings.performance_threshold, "threshold_metric": "accuracy"}
    return Model(
        name=name,
        kind=table.kind,
        target=table.target,
        features=tuple(_feature(n, f) for n, f in table.features.items()),
        classes=tuple(str(c) for c in table.classes),
        bound=table.bound,
        learner=learner,
        policy=Policy(strategies=strategies, **numbers),
        seed=table.seed,
    )


def _rows_or_days(name: str, budget: int | Period) -> dict[str, float]:
    if isinstance(budget, Period):
        return {f"{name}_days": budget.days}
    return {f"{name}s": budget}


def _feature(name: str, said: str | FeatureTable) -> Feature:
    if isinstance(said, FeatureTable):
        return Feature(name=name, kind=said.kind, nullable=said.nullable)
    return Feature(name=name, kind="categorical" if said == "categorical" else "numeric")


def _learner(said: str | LearnerTable) -> Learner:
    if isinstance(said, str):
        return Learner(name=said)
    return Learner(name=said.name, parameters=tuple(sorted((said.model_extra or {}).items())))
