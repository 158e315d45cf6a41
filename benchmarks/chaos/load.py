"""Clients that ask for predictions and send labels, and note what was acknowledged and when.

Every row has an id of the client's; a request that failed is sent again under the same ids until
it is answered, as a careful client does. What was answered, and how, is kept to be held against
the log.
"""

import http.client
import json
import random
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

_TIMEOUT_S = 5.0
_PAUSE_S = 0.2
_SINGLE, _MANY = 3, 80
_SINGLE_S, _MANY_S, _LABELS_S = 0.06, 1.0, 0.4
_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request for a prediction: when it was sent, how long it took, whether it was answered."""

    at: float
    took_s: float
    answered: bool
    said: str


@dataclass(slots=True)
class Load:
    """Three clients that ask row by row, one that asks for many at once, one that sends labels.

    Parameters
    ----------
    name
        Begins every id, so that the rows of one load are told apart.
    labels_later_s
        Seconds between an answer and its label.
    """

    port: int
    token: str
    name: str
    labels_later_s: float = 0.5
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, dict[str, float]] = field(default_factory=dict)
    labelled: set[str] = field(default_factory=set)
    _due: deque[tuple[float, str, str]] = field(default_factory=deque)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        asks = [(i, 1, _SINGLE_S) for i in range(_SINGLE)] + [(_SINGLE, _MANY, _MANY_S)]
        self._threads = [
            *(threading.Thread(target=self._ask, args=which, daemon=True) for which in asks),
            threading.Thread(target=self._label, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=3 * _TIMEOUT_S)

    def _ask(self, client: int, rows: int, every_s: float) -> None:
        chance = random.Random(client)  # noqa: S311  features, not secrets
        link = _Link(self.port, self.token)
        sent = 0
        again: dict[str, Any] | None = None
        while not self._stopped.wait(every_s):
            body = again or _body(f"{self.name}-{client}-{sent}", rows, chance)
            sent += 1
            began = time.monotonic()
            status, told = link.post("/predict", body)
            took_s = time.monotonic() - began
            self.asked.append(
                Asked(at=began, took_s=took_s, answered=status == _OK, said=str(status or told))
            )
            again = None if status == _OK else body
            if status == _OK:
                self._note(body, told)
            else:
                self._stopped.wait(_PAUSE_S)

    def _note(self, body: dict[str, Any], told: Any) -> None:
        due = time.monotonic() + self.labels_later_s
        for row, one in zip(body["instances"], told["predictions"], strict=True):
            self.answers[one["observation_id"]] = one["probabilities"]
            x = row["features"]
            truth = "yes" if x["x1"] - x["x2"] + 0.5 * x["x3"] > 0 else "no"
            self._due.append((due, one["observation_id"], truth))

    def _label(self) -> None:
        """Send what is due, mixed up; now and then the same twice, and a label before its row."""
        chance = random.Random(7)  # noqa: S311  an order, not a secret
        link = _Link(self.port, self.token)
        again: list[tuple[str, str]] = []
        while not self._stopped.wait(_LABELS_S):
            now = time.monotonic()
            while self._due and self._due[0][0] <= now and len(again) < 500:
                again.append(self._due.popleft()[1:])
            if not again:
                continue
            chance.shuffle(again)
            doubled = [*again, *again[: len(again) // 10]]
            labels = [{"observation_id": i, "label": t} for i, t in doubled]
            status, told = link.post("/labels", {"labels": labels})
            if status == _OK:
                self.labelled |= {
                    one["observation_id"]
                    for one in told["labels"]
                    if one["verdict"] in {"accepted", "duplicate", "pending", "superseded"}
                }
                again = []


class _Link:
    """One connection that is kept, and opened anew after it failed."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: dict[str, Any]) -> tuple[int | None, Any]:
        """Send once; the status and what was said, or None and the fault's name."""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(
                    "127.0.0.1", self._port, timeout=_TIMEOUT_S
                )
            self._connection.request("POST", path, json.dumps(body), self._headers)
            answer = self._connection.getresponse()
            told = answer.read()
            return answer.status, json.loads(told)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if self._connection is not None:
                with suppress(OSError):
                    self._connection.close()
            self._connection = None
            return None, type(error).__name__


def _body(name: str, rows: int, chance: random.Random) -> dict[str, Any]:
    def row(i: int) -> dict[str, Any]:
        features = {f"x{j}": round(chance.gauss(0, 1), 4) for j in range(1, 5)}
        return {"observation_id": f"{name}-{i}", "features": features}

    return {"instances": [row(i) for i in range(rows)]}
