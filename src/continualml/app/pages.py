"""The login of Prefect's and MLflow's pages where ``up`` starts them: drawn once, never a default.

Their servers and those who ask them get it through the environment, never through a command line.
"""

import configparser
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from continualml.store import private

_USER = "admin"
_BYTES = 24
# MLflow hashes a password slowly; what was right is right for a minute without that.
_REMEMBERED_S = "60"


@dataclass(frozen=True, slots=True)
class Login:
    """A user's name, and a password that nobody reads by chance."""

    user: str
    password: str = field(repr=False)


def login_in(path: Path, mlflow: Path) -> Login:
    """Read the login from its file, or draw one.

    Parameters
    ----------
    path
        Holds ``user:password``, for its owner's eyes.
    mlflow
        MLflow's directory: what it knows of an older login goes with that.

    Raises
    ------
    InputError
        If others may read the file.
    """
    there = private.read_own(path)
    if not there:
        _users(mlflow).unlink(missing_ok=True)
        there = f"{_USER}:{secrets.token_urlsafe(_BYTES)}"
        private.write_own(path, there)
    user, _, password = there.partition(":")
    return Login(user, password)


def of_prefect_server(login: Login) -> dict[str, str]:
    """Let Prefect's server ask for the login."""
    return {"PREFECT_SERVER_API_AUTH_STRING": _pair(login), **of_prefect_client(login)}


def of_prefect_client(login: Login) -> dict[str, str]:
    """Let a client of Prefect say it."""
    return {"PREFECT_API_AUTH_STRING": _pair(login)}


def of_mlflow_server(login: Login, mlflow: Path) -> dict[str, str]:
    """Let MLflow's server ask for the login; its settings for that are written beside its data."""
    written = configparser.RawConfigParser()
    written["mlflow"] = {
        "default_permission": "NO_PERMISSIONS",
        "database_uri": f"sqlite:///{_users(mlflow)}".replace("%", "%%"),
        "admin_username": login.user,
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        "auth_cache_ttl_seconds": _REMEMBERED_S,
    }
    private.make_folder(mlflow)
    path = mlflow / "login.ini"
    with path.open("w", encoding="utf-8") as file:
        written.write(file)
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(path),
        "MLFLOW_AUTH_ADMIN_PASSWORD": login.password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_urlsafe(_BYTES),  # of its forms, one worker
    }


def of_mlflow_client(login: Login) -> dict[str, str]:
    """Let a client of MLflow say it."""
    return {"MLFLOW_TRACKING_USERNAME": login.user, "MLFLOW_TRACKING_PASSWORD": login.password}


def _pair(login: Login) -> str:
    return f"{login.user}:{login.password}"


def _users(mlflow: Path) -> Path:
    return mlflow / "users.sqlite"
