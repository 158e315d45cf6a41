"""Discord: takes a notice for a webhook, gives what became of it, and the message's id to edit it.

While Discord is down, slow or wants to be left alone, notices wait in the outbox. The webhook's
address is the secret: whoever has it can write; it is in no log, error or exception of ours.
"""

import json
import re
from typing import Any

import httpx
from pydantic import SecretStr

from continualml.integrations import nearby, quiet
from continualml.integrations.delivery import (
    Closed,
    Delivered,
    Delivery,
    Gone,
    Later,
    Refused,
    Retry,
)
from continualml.notices.notice import Links, Notice, Tone
from continualml.records import Json

_TIMEOUT_S = 10.0
# https://discord.com/developers/docs/resources/message#embed-object-embed-limits, in characters.
TITLE, DESCRIPTION, FIELDS, NAME, VALUE, FOOTER, ALTOGETHER = 256, 4096, 25, 256, 1024, 2048, 6000
_COLOURS: dict[Tone, int] = {
    "good": 0x2E9E5B,
    "bad": 0xD64545,
    "warning": 0xE0A021,
    "plain": 0x5B7FA6,
}
_DAY_S = 86_400.0
_UNKNOWN_MESSAGE = 10008
_NARROW = 40  # characters that stand beside others
_MARKDOWN = re.compile(r"([\\*_~`|>#\[\]])")
_CLOSED = {
    401: "the webhook's token is wrong",
    403: "the webhook may not write there",
    404: "the webhook is gone",
}
_REMEDY = (
    "make a new webhook (channel settings, Integrations), set DISCORD_WEBHOOK_URL to it and "
    "restart; if this one works again: continual notify unpark discord"
)


class Webhook:
    """One webhook; what the network or Discord does comes back as a value."""

    edits = True

    def __init__(self, address: SecretStr, *, links: Links, timeout_s: float = _TIMEOUT_S) -> None:
        self._links = links
        self._timeout_s = timeout_s
        self._certificates = httpx.create_ssl_context()  # reading them takes a quarter of a second
        self._address: httpx.URL | None = None
        try:
            address_there = httpx.URL(address.get_secret_value())
        except (httpx.InvalidURL, TypeError):
            return  # its text holds the address; every notice is told so
        if address_there.scheme in {"http", "https"} and address_there.host:
            self._address = address_there
            quiet.about(address_there.path)

    def post(self, notice: Notice) -> Delivery:
        """Send a notice as a message of its own; the receipt is the message's id."""
        if self._address is None:
            return Closed(because="the address is none", remedy=_REMEDY)
        # Discord answers when the message is there, and with it.
        return self._send("POST", self._address.copy_merge_params({"wait": "true"}), notice)

    def edit(self, message: str, notice: Notice) -> Delivery:
        """Put a notice in the place of a message of ours; gone if somebody has deleted that."""
        if self._address is None:
            return Closed(because="the address is none", remedy=_REMEDY)
        path = f"{self._address.path.rstrip('/')}/messages/{message}"
        return self._send("PATCH", self._address.copy_with(path=path), notice)

    def _send(self, method: str, url: httpx.URL, notice: Notice) -> Delivery:
        body = {"embeds": [embed(notice, self._links)], "allowed_mentions": {"parse": []}}
        try:
            answer = httpx.request(
                method,
                url,
                json=body,
                timeout=self._timeout_s,
                verify=self._certificates,
                trust_env=not nearby.is_here(url),
            )
        except httpx.HTTPError as error:
            return Retry(because=f"Discord: {type(error).__name__}")  # its text may hold the URL
        return _became(answer)


def _became(answer: httpx.Response) -> Delivery:
    told = _told(answer)
    code, said = told.get("code"), f"{answer.status_code}: {told.get('message', '')}"[:200]
    if answer.is_success:
        number = str(told.get("id"))  # it becomes a part of an address
        return Delivered(receipt=number if number.isdecimal() else None, pause_s=_pause_s(answer))
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return Later(after_s=_after_s(answer, told))
    if answer.status_code == httpx.codes.NOT_FOUND and code == _UNKNOWN_MESSAGE:
        return Gone(because="the message was deleted")
    if closed := _CLOSED.get(answer.status_code):
        return Closed(because=f"{closed} (Discord answered {said})", remedy=_REMEDY)
    if answer.is_client_error and answer.status_code != httpx.codes.REQUEST_TIMEOUT:
        return Refused(
            because=f"Discord answered {said} {json.dumps(told.get('errors', {}))}"[:300]
        )
    return Retry(because=f"Discord answered {said}", after_s=_after_s(answer, told))


def _told(answer: httpx.Response) -> Json:
    """Read the answer's document; what stands before Discord also answers with pages."""
    try:
        told: Any = answer.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _pause_s(answer: httpx.Response) -> float:
    """Seconds until the next message, when this one was the last of its window."""
    if answer.headers.get("X-RateLimit-Remaining") != "0":
        return 0.0
    return _seconds(answer.headers.get("X-RateLimit-Reset-After")) or 0.0


def _after_s(answer: httpx.Response, told: Json) -> float | None:
    """Say how long to leave it alone: the longest that any part of the answer says."""
    said = (
        told.get("retry_after"),
        answer.headers.get("Retry-After"),
        answer.headers.get("X-RateLimit-Reset-After"),
    )
    return max((s for x in said if (s := _seconds(x)) is not None), default=None)


def _seconds(said: object) -> float | None:
    try:
        seconds = float(str(said))
    except ValueError:
        return None  # nothing, or a date
    return seconds if 0 <= seconds <= _DAY_S else None  # whatever else that is, no pause


def embed(notice: Notice, links: Links) -> Json:
    """Write a notice as an embed within Discord's limits; what is cut off ends in an ellipsis."""
    evidence = "\n".join(f"• {_plain(w)}" for w in notice.why)
    told: Json = {
        "title": _cut(_plain(notice.title), TITLE),
        "description": _cut(_plain(notice.what), DESCRIPTION // 2),
        "color": _COLOURS[notice.tone],
        "timestamp": notice.at,
        "footer": {"text": _cut(f"Continual ML · {notice.event}", FOOTER)},
    }
    look = {"name": "Look", "value": _cut(_look(notice, links), VALUE), "inline": False}
    left = ALTOGETHER - len(told["title"]) - len(told["description"]) - len(told["footer"]["text"])
    left -= len(str(look["name"])) + len(str(look["value"]))
    said = [(name, _plain(value)) for name, value in notice.facts]
    said = [*said[: FIELDS - 2], *([("Why", evidence)] if evidence else [])]
    told["fields"] = [*_fields(said, left), look]
    return told


def _fields(facts: list[tuple[str, str]], left: int) -> list[Json]:
    """Write as many facts as there is room for, in characters."""
    kept: list[Json] = []
    for name, value in facts:
        short = _cut(_plain(name), NAME)
        room = min(VALUE, left - len(short))
        if room < 2:  # noqa: PLR2004  a letter and the ellipsis
            break
        said = _cut(value or "none", room)
        left -= len(short) + len(said)
        kept.append({"name": short, "value": said, "inline": len(said) <= _NARROW})
    return kept


def _look(notice: Notice, links: Links) -> str:
    said = [f"[dashboard]({links.dashboard})"] if links.dashboard else []
    said.append(
        f"[what to do]({links.runbook}#{notice.section})"
        if links.runbook
        else f"docs/runbook.md#{notice.section}"
    )
    return " · ".join(said)


def _plain(text: str) -> str:
    """Let names such as ``a_b_c`` stand as they are."""
    return _MARKDOWN.sub(r"\\\1", text)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
