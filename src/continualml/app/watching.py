"""What Uptime Kuma watches of us: the checks that shall stand there, and our heartbeat."""

import json
import os
import secrets
import time
from threading import Event
from urllib.parse import urlsplit

from loguru import logger
from sqlalchemy import Engine

from continualml.app import components
from continualml.errors import InputError
from continualml.integrations import kuma
from continualml.integrations.kuma import Change, Check, Kuma
from continualml.records import Json
from continualml.settings import Project, Settings
from continualml.store import private, tokens
from continualml.store.engine import StoreUnavailableError, open_store, read, write

PREFIX = "Continual ML: "
HEALTH, HEARTBEAT, DISCORD = f"{PREFIX}health", f"{PREFIX}heartbeat", f"{PREFIX}Discord"
_READER = "kuma"  # name of the token that it reads with
_PERIODS = 3
_BETWEEN_S = 60


def sync(project: Project) -> dict[str, Change]:
    """Let checks, heartbeat and the notification stand there as they shall; twice is as once.

    Returns
    -------
    What became of each, by its name.

    Raises
    ------
    InputError
        If Kuma's address or password is not set, or it takes neither.
    UnreachableError
        If it does not answer.
    """
    said = project.settings
    if not said.kuma_url:
        raise InputError("CONTINUAL_KUMA_URL", expected="the address of Uptime Kuma", got=None)
    if said.kuma_password is None:
        expected = "a password for its user, who is made on the first sync"
        raise InputError("CONTINUAL_KUMA_PASSWORD", expected=expected, got=None)
    password = said.kuma_password.get_secret_value()
    with kuma.opened(said.kuma_url, said.kuma_username, password) as there:
        return _put_all(project, there)


def beat(said: Settings, *, up: bool, because: str, took_ms: float | None = None) -> None:
    """Tell Kuma that the loop turned, or why not; without a Kuma, nothing happens.

    A heartbeat that cannot be sent is a warning: it harms neither a turn nor who calls.
    """
    if not said.kuma_url:
        return
    try:
        token = said.kuma_push.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return  # nobody has asked it yet to listen
    except (OSError, ValueError) as error:
        logger.warning("heartbeat: {} cannot be read: {}", said.kuma_push, error)
        return
    if failed := kuma.push(said.kuma_url, token, up=up, said=because, took_ms=took_ms):
        logger.warning("heartbeat: Uptime Kuma did not take it: {}", failed)


def keep_beating(project: Project, engine: Engine, stopped: Event) -> None:
    """Beat once a check interval, up or down, until told to stop.

    The loop's state is the one of ``/health``: the heartbeat of a process that lives while its
    loop does not says so, at once and in words.
    """
    said, began = project.settings, time.monotonic()
    while not stopped.wait(said.check_interval_seconds):
        try:
            with read(engine) as conn:
                told = components.loop(conn, project, up_for_s=time.monotonic() - began)
            up, because = told["status"] == "ok", str(told.get("because", "OK"))
        except StoreUnavailableError as error:
            up, because = False, f"the store cannot be read: {error}"
        except Exception:  # noqa: BLE001  the edge of this thread: it goes on, and says so
            logger.exception("heartbeat: a look failed")
            up, because = False, "the loop's state cannot be read; see the timer's log"
        beat(said, up=up, because=because)


def _put_all(project: Project, there: Kuma) -> dict[str, Change]:
    said, done = project.settings, dict[str, Change]()
    numbers: list[int] = []
    if said.discord_webhook_url is not None:
        webhook = said.discord_webhook_url.get_secret_value()
        number, done[DISCORD] = there.put_discord(DISCORD, webhook)
        numbers.append(number)
    known = there.monitors()
    for check in _checks(project, known):
        done[check.name] = there.put(check, known.get(check.name), numbers)
    return done


def _checks(project: Project, known: dict[str, Json]) -> list[Check]:
    said = project.settings
    checks = [
        Check(name=f"{PREFIX}ready", url=f"{said.api}/readyz", interval_s=_BETWEEN_S),
        Check(
            name=HEALTH,
            url=f"{said.api}/health",
            headers=_headers(project, known.get(HEALTH)),
            path="status",
            expected="ok",
            interval_s=_BETWEEN_S,
        ),
        Check(
            name=HEARTBEAT,
            push_token=_push_token(said, known.get(HEARTBEAT)),
            interval_s=max(kuma.SHORTEST_S, round(_PERIODS * said.check_interval_seconds)),
        ),
    ]
    mlflow = said.mlflow_tracking_uri or f"http://127.0.0.1:{said.mlflow_port}"
    prefect = said.prefect_api_url or f"http://127.0.0.1:{said.prefect_port}/api"
    others = {"MLflow": f"{mlflow}/health", "Prefect": f"{prefect}/health"}
    if said.dashboard_url:
        others["dashboard"] = f"{said.dashboard_url}/_stcore/health"
    checks += [
        Check(name=f"{PREFIX}{name}", url=url, interval_s=_BETWEEN_S)
        for name, url in others.items()
        if urlsplit(url).scheme in {"http", "https"}  # MLflow may be a directory
    ]
    return checks


def _headers(project: Project, there: Json | None) -> str:
    """Give Kuma a token that may read; the one that it has, while that holds."""
    engine = open_store(project.settings.database_url)
    with read(engine) as conn:
        known = _secret(there)
        token = tokens.check(conn, known) if known else None
        if there is not None and token is not None and token.allows("read"):
            return str(there["headers"])
    with write(engine) as conn:
        for old in tokens.listed(conn):
            if old.name == _READER and old.revoked_at is None:
                tokens.revoke(conn, old.id)
        _, secret = tokens.create(conn, _READER, ("read",))
    return json.dumps({"Authorization": f"Bearer {secret}"})


def _secret(there: Json | None) -> str | None:
    try:
        headers = json.loads((there or {}).get("headers") or "{}")
    except ValueError:
        return None  # somebody has written something else there
    return str(headers.get("Authorization", "")).removeprefix("Bearer ") or None


def _push_token(said: Settings, there: Json | None) -> str:
    """Read the heartbeat's token, or take over Kuma's, or draw one; it stays in its file."""
    path = said.kuma_push
    if path.exists():
        return path.read_text(encoding="utf-8").strip()
    token = str((there or {}).get("pushToken") or secrets.token_urlsafe(24))
    private.make_folder(path.parent)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(f"{token}\n")
    return token
