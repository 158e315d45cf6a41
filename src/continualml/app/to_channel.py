"""From a message of the outbox to a notice, and to the channel that shows it."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from pydantic import SecretStr
from sqlalchemy import Connection, Engine

from continualml.app import gathering, noticing
from continualml.integrations.delivery import Delivered, Delivery, Gone, Refused
from continualml.notices import of_components, of_day, of_decision
from continualml.notices.notice import Links, Notice
from continualml.notices.of_components import Component
from continualml.settings import Project
from continualml.store import channels, ledger
from continualml.store.engine import read, write
from continualml.store.outbox import Message


class Channel(Protocol):
    """A place that shows notices; ``edits`` says whether one can be put in another's place."""

    edits: bool

    def post(self, notice: Notice) -> Delivery:
        """Show a notice."""
        ...

    def edit(self, message: str, notice: Notice) -> Delivery:
        """Show a notice in the place of one that was shown; ``Gone`` where it is not there."""
        ...


@dataclass(slots=True)
class ToChannel:
    """The way to one channel."""

    destination: str
    engine: Engine
    project: Project
    channel: Channel
    states: Callable[[], Mapping[str, Component]]

    def place(self, message: Message) -> tuple[str, ...]:
        """Of two messages that all is well the later one says it."""
        event = message.body["event"]
        return (event,) if event == noticing.OK_EVENT else (event, str(message.id))

    def keeps(self, message: Message) -> bool:
        """Keep what was told, but not that all was well, twice a minute."""
        return bool(message.body["event"] != noticing.OK_EVENT)

    def deliver(self, message: Message) -> Delivery:
        """Show a message; that all is well is edited in place, unless each check is to be told."""
        notice = self._notice(message)
        if notice is None:
            return Refused(because=f"nothing is known of {message.body}")
        daily = self.project.settings.notify_ok == "daily"
        if message.body["event"] != noticing.OK_EVENT or not daily:
            return self.channel.post(notice)
        if not self.channel.edits:
            return Delivered()  # twice a minute is for those who asked for it
        with read(self.engine) as conn:
            there = channels.get(conn, self.destination)
        if there is not None and there.living is not None:
            result = self.channel.edit(there.living, notice)
            if not isinstance(result, Gone):
                return result
        result = self.channel.post(notice)
        if isinstance(result, Delivered):
            with write(self.engine) as conn:
                channels.living(conn, self.destination, result.receipt)
        return result

    def _notice(self, message: Message) -> Notice | None:
        body, event = message.body, message.body["event"]
        if event == noticing.COMPONENT:
            change = noticing.change_of(body)
            at = datetime.fromtimestamp(change.since_s, UTC).isoformat(timespec="seconds")
            return of_components.notice_of(change, at=at)
        if event == noticing.DECISION:
            with read(self.engine) as conn:
                return self._of_decision(conn, body["what"], body["n"])
        since = body.get("since")
        with read(self.engine) as conn:
            day = gathering.day(conn, self.project, self.states(), since=since)
        return of_day.digest(day) if event == noticing.DIGEST else of_day.ok(day)

    def _of_decision(self, conn: Connection, what: str, n: int) -> Notice | None:
        entry = ledger.entry(conn, n)
        if entry is None:
            return None
        return of_decision.notice_of(what, entry, gathering.seen(conn, self.project, entry))


def key_of(address: SecretStr) -> str:
    """Name an address without giving it away: the random part of a webhook cannot be guessed."""
    return hashlib.sha256(address.get_secret_value().encode()).hexdigest()[:16]


def links_of(project: Project) -> Links:
    """Say where people look."""
    said = project.settings
    return Links(dashboard=said.dashboard_url, runbook=said.runbook_url)
