"""Uptime Kuma: takes checks that shall stand there, and heartbeats; gives what it changed.

It watches from outside, so nothing here needs it: while it is down a heartbeat is not sent, and
that is all. It has no API but its pages' own (socket.io), which only this file knows, by a library
that is pinned.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import httpx

from continualml.errors import InputError, Said, UnreachableError
from continualml.integrations import nearby, quiet
from continualml.records import Json

if TYPE_CHECKING:
    from uptime_kuma_api import UptimeKumaApi

T = TypeVar("T")
Change = Literal["made", "changed", "as it was"]
SHORTEST_S = 20  # Kuma takes no shorter interval
_TIMEOUT_S = 10.0
_FIRST_S = 1.0
_LULL_S = 0.05  # the lists that we read come in one message each
_TRIES = 5
_LONGEST_MESSAGE = 250
_REMEDY = "CONTINUAL_KUMA_USERNAME and CONTINUAL_KUMA_PASSWORD must be those of its user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check as it shall stand there.

    Parameters
    ----------
    path
        JSON query whose answer must be ``expected``; None: any answer that is a success.
    push_token
        We beat ourselves, under this token; ``url`` is not asked then.
    """

    name: str
    interval_s: int
    url: str | None = None
    headers: str | None = None
    path: str | None = None
    expected: str | None = None
    push_token: str | None = None


class Kuma:
    """One Uptime Kuma, logged in; only what was named by us is ever touched."""

    def __init__(self, api: "UptimeKumaApi") -> None:
        self._api = api

    def monitors(self) -> dict[str, Json]:
        """Read every monitor by its name."""
        return {m["name"]: m for m in _asked(self._api.get_monitors)}

    def put(self, check: Check, there: Json | None, notifications: list[int]) -> Change:
        """Let a check stand there as it shall; other people's settings of it stay.

        Parameters
        ----------
        there
            The monitor of that name, if there is one.
        notifications
            Numbers of those that it shall cause, beside others.
        """
        wanted = _fields(check)
        if there is None:
            wanted["notificationIDList"] = notifications
            number = _asked(lambda: self._api.add_monitor(**wanted))["monitorID"]
            if check.push_token is not None:  # the library draws one of its own
                _asked(lambda: self._api.edit_monitor(number, pushToken=check.push_token))
            return "made"
        if check.push_token is not None:
            wanted["pushToken"] = check.push_token
        known = set(there["notificationIDList"])
        if set(notifications) - known:
            wanted["notificationIDList"] = sorted(known | set(notifications))
        differs = {k: v for k, v in wanted.items() if there.get(k) != v}
        if not differs:
            return "as it was"
        _asked(lambda: self._api.edit_monitor(there["id"], **differs))
        return "changed"

    def put_discord(self, name: str, webhook: str) -> tuple[int, Change]:
        """Let a notification to Discord stand there; return its number."""
        from uptime_kuma_api import NotificationType  # noqa: PLC0415  an extra

        found = [n for n in _asked(self._api.get_notifications) if n["name"] == name]
        wanted = {"name": name, "type": NotificationType.DISCORD, "discordWebhookUrl": webhook}
        if not found:
            return int(_asked(lambda: self._api.add_notification(**wanted))["id"]), "made"
        number = int(found[0]["id"])
        if found[0].get("discordWebhookUrl") == webhook:
            return number, "as it was"
        _asked(lambda: self._api.edit_notification(number, **wanted))
        return number, "changed"


@contextmanager
def opened(url: str, username: str, password: str) -> Iterator[Kuma]:
    """Connect, make the first user if there is none yet, and log in.

    Raises
    ------
    UnreachableError
        If it does not answer.
    InputError
        If it knows another user or password, or takes the password for too weak.
    """
    from uptime_kuma_api import UptimeKumaApi, UptimeKumaException  # noqa: PLC0415  an extra

    try:
        api = UptimeKumaApi(url, timeout=_TIMEOUT_S, wait_events=_LULL_S)
    except UptimeKumaException as error:
        raise UnreachableError(f"Uptime Kuma at {url} does not answer: {error}") from None
    try:
        needed = _first(api)
        if needed:
            _accepted(lambda: api.setup(username, password))
        _accepted(lambda: api.login(username, password))
        yield Kuma(api)
    finally:
        api.disconnect()


def push(url: str, token: str, *, up: bool, said: str, took_ms: float | None = None) -> str | None:
    """Beat once; return why it was not taken, or None."""
    path = f"/api/push/{token}"
    quiet.about(path)
    query: dict[str, str] = {"status": "up" if up else "down", "msg": said[:_LONGEST_MESSAGE]}
    if took_ms is not None:
        query["ping"] = f"{took_ms:.0f}"
    try:
        there = httpx.URL(f"{url.rstrip('/')}{path}")
        answer = httpx.get(there, params=query, timeout=3.0, trust_env=not nearby.is_here(there))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return type(error).__name__  # its text holds the token
    return None if answer.is_success else f"it answers {answer.status_code}: {answer.text[:100]}"


def _fields(check: Check) -> Json:
    """Write a check in Kuma's words."""
    from uptime_kuma_api import MonitorType  # noqa: PLC0415  an extra

    wanted: Json = {"name": check.name, "interval": check.interval_s}
    if check.push_token is not None:
        # Silent for as long as the interval: down. It was three periods already.
        return {**wanted, "type": MonitorType.PUSH, "maxretries": 0}
    wanted |= {"url": check.url, "headers": check.headers, "retryInterval": SHORTEST_S}
    if check.path is None:
        return {**wanted, "type": MonitorType.HTTP, "maxretries": 1}
    query = {"jsonPath": check.path, "jsonPathOperator": "==", "expectedValue": check.expected}
    return {**wanted, "type": MonitorType.JSON_QUERY, "maxretries": 1, **query}


def _first(api: "UptimeKumaApi") -> bool:
    """Ask whether there is a user yet; a call right after connecting may get lost."""
    from uptime_kuma_api import Timeout  # noqa: PLC0415  an extra

    patient, api.timeout = api.timeout, _FIRST_S
    try:
        for _ in range(_TRIES):
            try:
                return bool(api.need_setup())
            except Timeout:
                time.sleep(0.1)
    finally:
        api.timeout = patient
    raise UnreachableError("Uptime Kuma took the connection, but answers nothing")


def _accepted(call: Callable[[], Any]) -> None:
    """Call what depends on user and password."""
    from uptime_kuma_api import Timeout, UptimeKumaException  # noqa: PLC0415  an extra

    try:
        call()
    except Timeout as error:
        raise UnreachableError(f"Uptime Kuma: {error}") from None
    except UptimeKumaException as error:
        expected = "a user and password that Uptime Kuma takes"
        got = Said(f"its answer: {error}")
        raise InputError("kuma", expected=expected, got=got, remedy=_REMEDY) from None


def _asked(call: Callable[[], T]) -> T:
    """Ask something, and call it unreachable if it will not."""
    from uptime_kuma_api import UptimeKumaException  # noqa: PLC0415  an extra

    try:
        return call()
    except UptimeKumaException as error:
        raise UnreachableError(f"Uptime Kuma refused: {error}") from None
