"""The courier: empties the outbox, away from the loop, with retries and back-off.

Each destination has a thread of its own, so that none waits for another that is slow or down.
"""

import importlib.util
import signal
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Protocol

from loguru import logger
from sqlalchemy import Engine

from continualml import settings
from continualml.app import components, logs, tree
from continualml.app.noticing import Noticing
from continualml.app.to_channel import Channel, ToChannel, key_of, links_of
from continualml.errors import UnreachableError
from continualml.integrations.delivery import (
    Closed,
    Delivered,
    Delivery,
    Gone,
    Later,
    Refused,
    Retry,
)
from continualml.settings import Project
from continualml.store import channels, leases, outbox
from continualml.store.artifacts import ArtifactError
from continualml.store.engine import StoreUnavailableError, open_store, read, write
from continualml.store.outbox import Message

_LOOK_S = 1.0
_LONGEST_PAUSE_S = 15.0
# The pauses between them add up to almost a minute: time to put an artifact back.
_MOST_ATTEMPTS = 7
# Longer than a message to people takes; to MLflow the same one may go twice.
_LEASE_S = 20.0


class Route(Protocol):
    """The way to one destination."""

    destination: str

    def place(self, message: Message) -> tuple[str, ...]:
        """Say what a message is about: a later one about the same overtakes it."""
        ...

    def keeps(self, message: Message) -> bool:
        """Say whether a message is kept once it has arrived."""
        ...

    def deliver(self, message: Message) -> Delivery:
        """Deliver one message."""
        ...


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
    """Deliver what is due to every destination that is configured."""
    engine = open_store(project.settings.database_url)
    works: dict[str, Callable[[], None]] = {}
    if (to_mlflow := _to_mlflow(project, engine)) is not None:
        works["mlflow"] = partial(deliver, engine, to_mlflow, stopped)
    for name in components.configured(project):
        works[name] = partial(_tell, engine, *open_channel(project, engine, name), stopped)
    if not works:
        logger.warning(
            "courier: neither MLFLOW_TRACKING_URI nor a channel is set; messages wait in the outbox"
        )
    threads = [
        threading.Thread(target=_work, args=(name, work, stopped), name=name)
        for name, work in works.items()
    ]
    for thread in threads:
        thread.start()
    stopped.wait()
    for thread in threads:
        thread.join()


def open_channel(project: Project, engine: Engine, name: str) -> tuple[Noticing, ToChannel]:
    """Begin to tell a channel what happens from now on, or go on where it is."""
    address = getattr(project.settings, components.CHANNELS[name])
    with write(engine) as conn:
        channels.opened(conn, name, key_of(address))
    noticing = Noticing(engine=engine, project=project, channel=name)
    return noticing, ToChannel(
        destination=name,
        engine=engine,
        project=project,
        channel=channel_of(project, name),
        states=noticing.states,
    )


def deliver(engine: Engine, route: Route, stopped: threading.Event) -> None:
    """Deliver what is due, in order, up to the first message that has to wait.

    While the other side is down the oldest message is tried for as long as it takes; one that is
    itself the fault is set aside as refused, so that the others go on. A channel that is parked
    takes nothing. Of several couriers on one log one sends at a time.
    """
    with read(engine) as conn:
        there = channels.get(conn, route.destination)
        parked = there is not None and there.parked is not None
        messages = [] if parked else outbox.due(conn, route.destination)
    if not messages:
        return
    lease, holder = f"courier:{route.destination}", tree.name_of("courier")
    last = {route.place(m): m.id for m in messages}
    for message in messages:
        if stopped.is_set() or not _is_mine(engine, message, lease, holder):
            break
        overtaken = last[route.place(message)] != message.id
        result = Delivered() if overtaken else _attempt(route, message)
        if not _noted(engine, route, message, result):
            break  # in order: what follows may need it
        if isinstance(result, Delivered) and result.pause_s:
            stopped.wait(result.pause_s)
    leases.release(engine, lease, holder)


def _is_mine(engine: Engine, message: Message, lease: str, holder: str) -> bool:
    """Take or renew the lease, and see that no other courier has sent or tried it meanwhile."""
    with write(engine) as conn:
        if not leases.acquire_in(conn, lease, holder, _LEASE_S):
            return False
        return [one.id for one in outbox.due(conn, message.destination, limit=1)] == [message.id]


def _noted(engine: Engine, route: Route, message: Message, result: Delivery) -> bool:
    """Write down what became of a message; False when the next ones have to wait."""
    name = route.destination
    with write(engine) as conn:
        match result:
            case Delivered():
                if route.keeps(message):
                    outbox.delivered(conn, message.id)
                else:
                    outbox.gone(conn, message.id)
                return True
            case Refused(because=because) | Gone(because=because):
                outbox.refused(conn, message.id, because)
                logger.error("courier: {} refused {}: {}", name, message.body, because)
                return True
            case Closed(because=because, remedy=remedy):
                channels.park(conn, name, f"{because}; {remedy}")
                logger.error("courier: {} is parked: {}; {}", name, because, remedy)
            case Later(after_s=after_s):
                pause_s = _LONGEST_PAUSE_S if after_s is None else after_s
                outbox.postpone(conn, message.id, pause_s)
                logger.info("courier: {} wants to be left alone for {:g} s", name, pause_s)
            case Retry(because=because, after_s=after_s):
                pause_s = min(_LONGEST_PAUSE_S, 2.0 ** min(message.attempts, 10))
                pause_s = max(pause_s, after_s or 0.0)
                outbox.retry(conn, message.id, because, pause_s)
                logger.warning("courier: {}: {}; again in {:g} s", name, because, pause_s)
    return False


def _work(name: str, work: Callable[[], None], stopped: threading.Event) -> None:
    """Work on one destination until told to stop."""
    while not stopped.wait(_LOOK_S):
        try:
            work()
        except StoreUnavailableError as error:
            logger.warning("courier: the store cannot be written, waiting: {}", error)
        except Exception:  # noqa: BLE001  the edge of this thread: it goes on, and says so
            logger.exception("courier: a round for {} failed", name)


def _tell(engine: Engine, noticing: Noticing, route: ToChannel, stopped: threading.Event) -> None:
    noticing.look()
    deliver(engine, route, stopped)


def _attempt(route: Route, message: Message) -> Delivery:
    """Deliver one message; what fails on our side is tried a few times, then refused."""
    try:
        return route.deliver(message)
    except StoreUnavailableError:
        raise
    except UnreachableError as error:  # the bucket of the artifacts: no fault of the message
        return Retry(because=str(error))
    except ArtifactError as error:
        because = str(error)
    except Exception as error:  # noqa: BLE001  the edge of one message: the others go on
        logger.exception("courier: message {} failed", message.id)
        because = f"{type(error).__name__}: {error}"[:200]
    # How often the other side was away before says nothing about this fault.
    tried = message.attempts if message.last_error == because else 0
    refused = tried + 1 >= _MOST_ATTEMPTS
    return Refused(because=because) if refused else Retry(because=because)


def _to_mlflow(project: Project, engine: Engine) -> Route | None:
    uri = project.settings.mlflow_tracking_uri
    if uri is None:
        return None
    if importlib.util.find_spec("mlflow") is None:
        logger.warning("courier: mlflow is not installed; its messages wait in the outbox")
        return None
    from continualml.app.to_mlflow import ToMlflow  # noqa: PLC0415  an extra, and four seconds
    from continualml.integrations.mlflow import Mirror  # noqa: PLC0415  likewise

    return ToMlflow(project=project, engine=engine, mirror=Mirror(uri))


def channel_of(project: Project, name: str) -> Channel:
    """Make the channel of that name, which is configured."""
    address = getattr(project.settings, components.CHANNELS[name])
    if name == "discord":
        from continualml.integrations.discord import Webhook  # noqa: PLC0415  only where it is used

        return Webhook(address, links=links_of(project))
    from continualml.integrations.apprise import Other  # noqa: PLC0415  an extra

    return Other(address, links=links_of(project))


if __name__ == "__main__":
    main()
