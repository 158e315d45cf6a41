"""The courier: empties the outbox, away from the loop, with retries and back-off."""

import signal
import threading
from types import FrameType

from loguru import logger
from sqlalchemy import Engine

from continualml import settings
from continualml.app import logs
from continualml.integrations.mlflow import Delivered, Delivery, Mirror, Refused, Retry
from continualml.settings import Project
from continualml.store import artifacts, outbox, pointers
from continualml.store.artifacts import ArtifactError
from continualml.store.engine import StoreUnavailableError, open_store, read, write
from continualml.store.outbox import Message

_LOOK_S = 1.0
_LONGEST_PAUSE_S = 15.0
# The pauses between them add up to almost a minute: time to put an artifact back.
_MOST_ATTEMPTS = 7


def main() -> None:
    """Deliver until told to stop."""
    logs.begin()
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    project = settings.load()
    logs.begin(project.settings)
    run(project, stopped)


def run(project: Project, stopped: threading.Event) -> None:
    """Deliver what is due, in order; what fails waits, longer each time."""
    uri = project.settings.mlflow_tracking_uri
    if uri is None:
        logger.warning("courier: MLFLOW_TRACKING_URI is not set; messages wait in the outbox")
        stopped.wait()
        return
    engine, mirror = open_store(project.settings.database_url), Mirror(uri)
    while not stopped.wait(_LOOK_S):
        try:
            deliver(project, engine, mirror, stopped)
        except StoreUnavailableError as error:
            logger.warning("courier: the store cannot be written, waiting: {}", error)
        except Exception:  # noqa: BLE001  the edge of this process: it goes on, and says so
            logger.exception("courier: a round failed")


def deliver(project: Project, engine: Engine, mirror: Mirror, stopped: threading.Event) -> None:
    """Deliver what is due, in order, up to the first message that has to wait.

    While MLflow is down the oldest message is tried for as long as it takes; one that is itself
    the fault is parked as refused, so that the others go on.
    """
    with read(engine) as conn:
        messages = outbox.due(conn, "mlflow")
    last = {_place(m): m.id for m in messages}
    for message in messages:
        if stopped.is_set():
            return
        overtaken = last[_place(message)] != message.id  # a later one says where the alias points
        result = Delivered() if overtaken else _attempt(project, engine, mirror, message)
        with write(engine) as conn:
            if isinstance(result, Delivered):
                outbox.delivered(conn, message.id)
                continue
            if isinstance(result, Refused):
                outbox.refused(conn, message.id, result.because)
                logger.error("courier: MLflow refused {}: {}", message.body, result.because)
                continue
            after_s = min(_LONGEST_PAUSE_S, 2.0 ** min(message.attempts, 10))
            outbox.retry(conn, message.id, result.because, after_s)
        logger.warning("courier: MLflow: {}; again in {:g} s", result.because, after_s)
        return  # in order: what follows may need it


def _place(message: Message) -> tuple[str, ...]:
    body = message.body
    return (body["event"], body["model"], str(body.get("alias") or body["version"]))


def _attempt(project: Project, engine: Engine, mirror: Mirror, message: Message) -> Delivery:
    """Deliver one message; what fails on our side of MLflow is tried a few times, then refused."""
    try:
        return _deliver(project, engine, mirror, message)
    except StoreUnavailableError:
        raise
    except ArtifactError as error:
        because = str(error)
    except Exception as error:  # noqa: BLE001  the edge of one message: the others go on
        logger.exception("courier: message {} failed", message.id)
        because = f"{type(error).__name__}: {error}"[:200]
    refused = message.attempts + 1 >= _MOST_ATTEMPTS
    return Refused(because=because) if refused else Retry(because=because)


def _deliver(project: Project, engine: Engine, mirror: Mirror, message: Message) -> Delivery:
    body = message.body
    if body["event"] == "alias":
        return mirror.alias(body["model"], body["alias"], body["version"])
    with read(engine) as conn:
        known = pointers.version(conn, body["model"], body["version"])
    if known is None:  # the message was written in the version's own transaction
        return Refused(because=f"no version {body['version']} of {body['model']} is registered")
    return mirror.version(known, artifacts.read(project.settings.artifacts, known.sha256))


if __name__ == "__main__":
    main()
