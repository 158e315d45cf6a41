"""How many rows were answered and refused, and for which fields: windows that go into the log.

A refused row is never logged itself, and yet a feed that breaks shows itself in nothing else. What
is logged is bounded by time, not by requests: who sends only what is refused makes it no larger.
"""

import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from loguru import logger
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from continualml.app.api import problems
from continualml.app.api.counts import PREDICTIONS, Counts
from continualml.errors import InputError
from continualml.evidence.refusals import joined
from continualml.store import intake
from continualml.store.engine import CommitUnknownError, StoreUnavailableError, write

_REFUSED: Final = 422
_PERIOD_S: Final = 30.0
_FEWEST_ROWS: Final = 20
_MOST_FIELDS: Final = 8
_LONGEST: Final = 40
_INDEX: Final = re.compile(r"\[\d+\]")
_TENSOR: Final = re.compile(r"inputs\[(.*?)\]")
_NO_NAME: Final = re.compile(r"[^\w .:/-]")


@dataclass(slots=True)
class _Window:
    """What one model has had since its last window; ``before`` were answered until then."""

    before: int
    began: float
    refused: int = 0
    fields: dict[str, int] = field(default_factory=dict)


class Refusals:
    """Counts refused rows, and logs them with the answered ones: once in 30 s for each model.

    When a window ends depends on the clock and on the number of its rows, never on how many of
    them were refused: else windows with many would be logged sooner, and evidence would be biased.

    Parameters
    ----------
    counts
        This process's; it holds the answered rows already, so that they are counted once.
    """

    def __init__(self, engine: Engine, counts: Counts, models: Iterable[str]) -> None:
        self._engine = engine
        self._counts = counts
        self._lock = threading.Lock()
        now = time.monotonic()
        self._windows = {name: _Window(self._answered(name), now) for name in models}
        self._unwritten = False

    def count(self, model: str, error: Exception, *, rows: int = 1) -> None:
        """Count a request that could not be read, if its content was at fault (422).

        Parameters
        ----------
        rows
            That it had, where the error does not know it better.
        """
        if problems.of(error).status != _REFUSED:
            return
        n = max(error.rows, rows) if isinstance(error, InputError) else rows
        name = at_fault(error)
        with self._lock:
            window = self._windows[model]
            window.refused += n
            window.fields = joined(window.fields, {name: n}, _MOST_FIELDS)

    def look(self) -> None:
        """Log the windows that are due; what cannot be written now stays for the next look."""
        now = time.monotonic()
        for name, window in self._windows.items():
            if now - window.began >= _PERIOD_S:
                self._log(name, now, fewest=_FEWEST_ROWS)

    def end(self) -> None:
        """Log what was counted since the last windows."""
        for name in self._windows:
            self._log(name, time.monotonic(), fewest=1)

    def _log(self, name: str, now: float, *, fewest: int) -> None:
        window, total = self._windows[name], self._answered(name)
        answered = total - window.before
        if answered + window.refused < fewest:
            return
        with self._lock:
            self._windows[name] = _Window(total, now)
        at = datetime.now(UTC).timestamp()
        try:
            with write(self._engine) as conn:
                intake.append(
                    conn,
                    name,
                    answered=answered,
                    refused=window.refused,
                    fields=window.fields,
                    recorded_at=at,
                )
        except CommitUnknownError as error:  # rows that count twice are worse than rows that do not
            logger.warning("Refused rows may not have been logged, they are dropped: {}", error)
        except (SQLAlchemyError, StoreUnavailableError) as error:
            self._put_back(name, window)
            if not self._unwritten:
                logger.warning("Refused rows cannot be logged now, they are kept: {}", error)
            self._unwritten = True
        else:
            self._unwritten = False

    def _put_back(self, name: str, window: _Window) -> None:
        with self._lock:
            newer = self._windows[name]
            newer.before = window.before
            newer.refused += window.refused
            newer.fields = joined(newer.fields, window.fields, _MOST_FIELDS)

    def _answered(self, name: str) -> int:
        return self._counts.value((PREDICTIONS, name))


def at_fault(error: Exception) -> str:
    """Name the field that a request was refused for, without the row's place in it."""
    where = str(problems.of(error).parts.get("where", ""))
    _, found, name = f".{where}".partition(".features.")
    tensor = _TENSOR.match(where)
    told = name if found else tensor[1] if tensor else _INDEX.sub("", where)
    return _NO_NAME.sub("?", told)[:_LONGEST] or "body"
