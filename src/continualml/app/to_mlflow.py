"""From a message of the outbox to MLflow: versions with their graphs, and where aliases point."""

from dataclasses import dataclass

from sqlalchemy import Engine

from continualml.app.place import place_of
from continualml.integrations.delivery import Delivery, Refused
from continualml.integrations.mlflow import Mirror
from continualml.settings import Project
from continualml.store import artifacts, pointers
from continualml.store.engine import read
from continualml.store.outbox import Message


@dataclass(slots=True)
class ToMlflow:
    """The way to one MLflow server."""

    project: Project
    engine: Engine
    mirror: Mirror
    destination: str = "mlflow"

    def place(self, message: Message) -> tuple[str, ...]:
        """Of two messages about one alias the later one says where it points."""
        body = message.body
        return (body["event"], body["model"], str(body.get("alias") or body["version"]))

    def keeps(self, _message: Message) -> bool:
        """Keep what was delivered."""
        return True

    def deliver(self, message: Message) -> Delivery:
        """Deliver one message.

        Raises
        ------
        ArtifactError
            If the version's bytes are missing or not its own.
        UnreachableError
            If they are in a bucket that does not answer now.
        """
        body = message.body
        if body["event"] == "alias":
            return self.mirror.alias(body["model"], body["alias"], body["version"])
        with read(self.engine) as conn:
            known = pointers.version(conn, body["model"], body["version"])
        if known is None:  # the message was written in the version's own transaction
            return Refused(because=f"no version {body['version']} of {body['model']} is registered")
        found = artifacts.read(place_of(self.project.settings), known.sha256)
        return self.mirror.version(known, found)
