"""The outside world: an MLflow and a Discord that are slow, down, or do it and do not say so."""

import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from continualml.integrations.delivery import Delivered, Delivery, Refused, Retry
from continualml.records import Version
from tests.discord import Asked, Discord
from tests.simulation.schedule import Process, Schedule

_REQUEST = httpx.Request("GET", "http://127.0.0.1")


@dataclass(slots=True)
class Outside:
    """What is true out there, whatever becomes of our processes.

    Parameters
    ----------
    down_until
        By name: nothing answers until then.
    unsaid
        Chance that something is done there and its answer is lost.
    ambiguous
        How many of Discord's messages were taken whose answer was lost, or may have been.
    """

    schedule: Schedule
    random: np.random.Generator
    discord: Discord
    down_until: dict[str, float] = field(default_factory=dict)
    unsaid: float = 0.0
    registered: dict[int, str] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    posted: int = 0
    ambiguous: int = 0

    def is_down(self, name: str) -> bool:
        return self.schedule.now_s < self.down_until.get(name, 0.0)

    def get(self, url: object, **_asked: Any) -> httpx.Response:
        """Answer whoever asks whether a component is there."""
        del url
        if self.is_down("api"):
            raise httpx.ConnectError("nobody listens")
        return httpx.Response(200, request=_REQUEST)

    def request(self, method: str, url: httpx.URL, **asked: Any) -> httpx.Response:
        """Answer as Discord does, or not at all."""
        self.schedule.sleep(self.schedule.between(0.01, 0.4))
        if self.is_down("discord"):
            if self.schedule.chance(0.5):
                return httpx.Response(502, request=_REQUEST, text="<html>bad gateway</html>")
            raise httpx.ConnectTimeout("no answer")
        body, now_s = asked["json"], self.schedule.now_s
        status, told, headers = self.discord.answer(method, str(url), body)
        self.discord.asked.append(Asked(method=method, at=now_s, status=status, body=body))
        done = method == "POST" and status == 200
        self.posted += done
        if self.schedule.chance(self.unsaid):
            self.ambiguous += done
            raise httpx.ReadTimeout("no answer")
        return httpx.Response(
            status, request=_REQUEST, headers=headers, content=json.dumps(told).encode()
        )


@dataclass(slots=True)
class Mirror:
    """An MLflow server as ``integrations.mlflow`` knows it: the same message twice does no harm."""

    outside: Outside
    process: Process

    def version(self, known: Version, artifact: bytes) -> Delivery:
        return self._done(lambda: self._register(known, artifact))

    def alias(self, model: str, alias: str, version: int) -> Delivery:
        if version not in self.outside.registered and not self.outside.is_down("mlflow"):
            return Refused(because=f"{model} has no version {version} there")
        return self._done(lambda: self.outside.aliases.__setitem__(alias, version))

    def _register(self, known: Version, artifact: bytes) -> None:
        del artifact
        self.outside.registered.setdefault(known.version, known.sha256)

    def _done(self, act: Any) -> Delivery:
        schedule = self.outside.schedule
        schedule.point(self.process, "deliver")
        schedule.sleep(schedule.between(0.01, 2.0))
        if self.outside.is_down("mlflow"):
            return Retry(because="MLflow does not answer")
        act()
        if schedule.chance(self.outside.unsaid):
            return Retry(because="the answer was lost")
        schedule.point(self.process, "delivered")
        return Delivered()
