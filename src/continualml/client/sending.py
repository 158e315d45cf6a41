"""The client that waits and the one that is awaited: the same calls, sent until answered."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import httpx

from continualml.client import calls
from continualml.client.calls import (
    Again,
    Call,
    LabelAnswer,
    Pauses,
    Prediction,
    Truth,
    UnavailableError,
    Value,
)

Features = Mapping[str, Value]
T = TypeVar("T")
H = TypeVar("H", httpx.Client, httpx.AsyncClient)


class _Of(Generic[H]):
    """Where the API is, and how often to try."""

    _kind: ClassVar[type[httpx.Client | httpx.AsyncClient]]

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        token: str,
        model: str | None = None,
        timeout_s: float = 10.0,
        tries: int = 8,
        rows_at_once: int = 500,
    ) -> None:
        """Set it up; nothing is sent yet.

        Parameters
        ----------
        token
            With the scopes of what shall be called: predict, label, read.
        model
            Default: the API's default model.
        timeout_s
            For one try.
        tries
            In all, at least one; with eight the client gives up after some 13 to 40 seconds.
        rows_at_once
            Rows of one request, where many are given; the API has a limit (``max_rows``).
        """
        if tries < 1 or rows_at_once < 1:
            raise ValueError("tries and rows_at_once: expected at least 1")
        self._model = model
        self._tries = tries
        self._rows_at_once = rows_at_once
        headers = {"Authorization": f"Bearer {token}"}
        made = self._kind(base_url=url, headers=headers, timeout=timeout_s)
        self._http: H = cast("H", made)

    def _asked(
        self, rows: Iterable[Features], ids: Iterable[str | None] | None
    ) -> Iterable[Call[list[Prediction]]]:
        some = list(rows)
        names: list[str | None] = [None] * len(some) if ids is None else list(ids)
        if len(names) != len(some):
            raise ValueError(f"ids: expected {len(some)}, one for each row, got {len(names)}")
        for at in range(0, len(some), self._rows_at_once):
            part = slice(at, at + self._rows_at_once)
            yield calls.predictions(self._model, some[part], names[part])

    def _told(self, truths: Iterable[Truth]) -> Iterable[Call[list[LabelAnswer]]]:
        some = list(truths)
        for at in range(0, len(some), self._rows_at_once):
            yield calls.labels(self._model, some[at : at + self._rows_at_once])

    def _given_up(self, because: str) -> UnavailableError:
        return UnavailableError(f"given up after {self._tries} tries: {because}")


class Client(_Of[httpx.Client]):
    """Calls the API and waits for its answer; use it as a context, or close it.

    Every call raises ``RefusedError`` if the API refuses it, ``UnavailableError`` if it could not
    be answered in all tries.
    """

    _kind = httpx.Client

    def __enter__(self) -> Self:
        """Open no connection yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(self, features: Features, *, observation_id: str | None = None) -> Prediction:
        """Answer one row; it is recorded."""
        return self.predict_many([features], ids=[observation_id])[0]

    def predict_many(
        self, rows: Iterable[Features], *, ids: Iterable[str | None] | None = None
    ) -> list[Prediction]:
        """Answer rows, in their order; each is recorded."""
        return [one for call in self._asked(rows, ids) for one in self._send(call)]

    def label(
        self, observation_id: str, label: str | bool | float, revision: int = 0
    ) -> LabelAnswer:
        """Tell the truth for one observation."""
        return self.label_many(
            [Truth(observation_id=observation_id, label=label, revision=revision)]
        )[0]

    def label_many(self, truths: Iterable[Truth]) -> list[LabelAnswer]:
        """Tell the truth for many observations."""
        return [one for call in self._told(truths) for one in self._send(call)]

    def status(self) -> dict[str, Any]:
        """Tell versions, champion, detectors and alarms of the model."""
        return self._send(calls.status(self._model))

    def _send(self, call: Call[T]) -> T:
        pauses = Pauses(self._tries)
        said = ""
        for left in pauses:
            try:
                found = calls.outcome(
                    call, self._http.request(call.method, call.path, content=call.body)
                )
            except httpx.TransportError as error:
                found = Again(f"{type(error).__name__}: {error}")
            if not isinstance(found, Again):
                return found
            said = found.because
            if left:
                time.sleep(pauses.pause_s(found))
        raise self._given_up(said)


class AsyncClient(_Of[httpx.AsyncClient]):
    """The same for asyncio: every call is awaited."""

    _kind = httpx.AsyncClient

    async def __aenter__(self) -> Self:
        """Open no connection yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def predict(self, features: Features, *, observation_id: str | None = None) -> Prediction:
        """Answer one row; it is recorded."""
        return (await self.predict_many([features], ids=[observation_id]))[0]

    async def predict_many(
        self, rows: Iterable[Features], *, ids: Iterable[str | None] | None = None
    ) -> list[Prediction]:
        """Answer rows, in their order; each is recorded."""
        return [one for call in self._asked(rows, ids) for one in await self._send(call)]

    async def label(
        self, observation_id: str, label: str | bool | float, revision: int = 0
    ) -> LabelAnswer:
        """Tell the truth for one observation."""
        truth = Truth(observation_id=observation_id, label=label, revision=revision)
        return (await self.label_many([truth]))[0]

    async def label_many(self, truths: Iterable[Truth]) -> list[LabelAnswer]:
        """Tell the truth for many observations."""
        return [one for call in self._told(truths) for one in await self._send(call)]

    async def status(self) -> dict[str, Any]:
        """Tell versions, champion, detectors and alarms of the model."""
        return await self._send(calls.status(self._model))

    async def _send(self, call: Call[T]) -> T:
        pauses = Pauses(self._tries)
        said = ""
        for left in pauses:
            try:
                answer = await self._http.request(call.method, call.path, content=call.body)
                found = calls.outcome(call, answer)
            except httpx.TransportError as error:
                found = Again(f"{type(error).__name__}: {error}")
            if not isinstance(found, Again):
                return found
            said = found.because
            if left:
                await asyncio.sleep(pauses.pause_s(found))
        raise self._given_up(said)
