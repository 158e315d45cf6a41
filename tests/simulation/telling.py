"""The courier's process, with its real insides, in simulated time."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from continualml.app import courier
from continualml.app.to_channel import ToChannel
from continualml.app.to_mlflow import ToMlflow
from continualml.store.engine import StoreUnavailableError
from tests.simulation.outside import Mirror
from tests.simulation.processes import LOOK_S, House
from tests.simulation.schedule import Process, Schedule

if TYPE_CHECKING:
    from continualml.app.noticing import Noticing


class _Stopped(threading.Event):
    """Never set; whoever waits for it lets simulated time pass."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self._schedule = schedule

    def wait(self, timeout: float | None = None) -> bool:
        self._schedule.sleep(timeout or 0.0)
        return False


class Courier:
    """The process that empties the outbox: one task for MLflow, one for Discord."""

    def __init__(self, house: House, name: str) -> None:
        self.process = Process(name)
        self._house = house
        self._stopped = _Stopped(house.schedule)
        self._engine = house.open(self.process)
        house.schedule.spawn(self.process, self._to_mlflow, after_s=0.5)
        house.schedule.spawn(self.process, self._to_discord, after_s=0.5)

    def _to_mlflow(self) -> None:
        mirror: Any = Mirror(self._house.outside, self.process)
        route = ToMlflow(project=self._house.project(), engine=self._engine, mirror=mirror)
        self._again(lambda: courier.deliver(self._engine, route, self._stopped))

    def _to_discord(self) -> None:
        there: list[tuple[Noticing, ToChannel]] = []

        def work() -> None:
            if not there:
                project = self._house.project()
                noticing, route = courier.open_channel(project, self._engine, "discord")
                there.append((noticing, replace(route, channel=_Pointed(route, self))))
            noticing, route = there[0]
            noticing.look()
            courier.deliver(self._engine, route, self._stopped)

        self._again(work)

    def point(self, what: str) -> None:
        self._house.schedule.point(self.process, what)

    def _again(self, work: Callable[[], None]) -> None:
        schedule = self._house.schedule
        while True:
            try:
                work()
            except StoreUnavailableError as error:
                schedule.say(self.process.name, f"waits for the store: {error}")
            schedule.sleep(LOOK_S)


class _Pointed:
    """The channel, with points before and after it at which the process may end."""

    def __init__(self, route: ToChannel, courier_: Courier) -> None:
        self._channel = route.channel
        self._courier = courier_
        self.edits = route.channel.edits

    def post(self, notice: Any) -> Any:
        self._courier.point("deliver")
        done = self._channel.post(notice)
        self._courier.point("delivered")
        return done

    def edit(self, message: str, notice: Any) -> Any:
        self._courier.point("deliver")
        done = self._channel.edit(message, notice)
        self._courier.point("delivered")
        return done
