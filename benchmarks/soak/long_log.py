"""A log of millions of labelled rows, as serving and late labels leave it, and the loop over it.

Observations go in as serving writes them in batches, packed by column, each answered; labels come
a thousand rows later. One in a hundred comes before its observation, one in two hundred is
corrected: rare rows are where a query may look through all others.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, func, select

from benchmarks.stream_model import CONFIG
from continualml import demo, settings
from continualml.learning.table import Table
from continualml.loop import begin
from continualml.loop.cycle import Loop
from continualml.loop.training import Trainer
from continualml.records import Rows
from continualml.scoring.session import Session
from continualml.store import artifacts, pointers
from continualml.store.engine import Appender, insert_rows, open_store, read, take_numbers, write
from continualml.store.packed import Packed
from continualml.store.tables import labels, observations

NAME = "stream"
_FIRST = 1_000
_BATCH = 1_000
_EARLY, _CORRECTED = 100, 200
# 5,000,000 rows in a week.
_BETWEEN_S = 0.12
# While the log is made, one strategy that is hardly ever fitted anew: what is made is the log.
_SELDOM = """
[[models.stream.policy.strategies]]
name = "seldom"
window = 2000
refit = 500000
"""


@dataclass(slots=True)
class LongLog:
    """A store in a directory of its own; rows are drawn from the built-in problem."""

    home: Path
    engine: Engine
    loop: Loop
    session: Session
    version: int
    rng: np.random.Generator
    n: int = 0
    _waiting: list[dict[str, Any]] = field(default_factory=list)

    def add(self, n: int) -> None:
        """Log n answered rows, and the labels of those that have waited long enough."""
        appender = Appender(self.engine, observations)
        for start in range(0, n, _BATCH):
            size = min(_BATCH, n - start)
            rows, target = demo.generate(
                size, seed=int(self.rng.integers(2**31)), noise=0.5, drift=0.0
            )
            self._add(appender, rows, target)
        appender.close()

    def label_the_rest(self) -> None:
        """Log the labels that still wait."""
        with write(self.engine) as conn:
            _append_labels(conn, self._waiting)
        self._waiting = []

    def _add(self, appender: Appender, rows: Rows, target: NDArray[np.float64]) -> None:
        ids = [f"row-{self.n + i:09d}" for i in range(len(target))]
        at = self.n * _BETWEEN_S
        new = [
            {
                "model": NAME,
                "observation_id": name,
                "revision": 0,
                "label": demo.DEMO.classes[int(t)],
                "first": True,
                "early": False,
                "recorded_at": at,
                "trace": None,
            }
            for name, t in zip(ids, target, strict=True)
        ]
        early = new[::_EARLY]
        with write(self.engine) as conn:
            _append_labels(conn, [{**one, "early": True} for one in early])
        packed = Packed(
            model=NAME,
            ids=ids,
            numeric=rows.numeric.astype("<f8").tobytes(),
            version=self.version,
            answer=self.session.answer(rows).astype("<f8").tobytes(),
            recorded_at=at,
        )
        if not appender.append(packed):
            raise RuntimeError(f"{ids[0]} is there already")
        corrected = [
            {**one, "revision": 1, "first": False, "label": demo.DEMO.classes[0]}
            for one in self._waiting[1::_CORRECTED]
        ]
        with write(self.engine) as conn:
            _append_labels(conn, [*self._waiting, *corrected])
        self._waiting = [one for i, one in enumerate(new) if i % _EARLY]
        self.n += len(ids)


def begin_log(folder: Path) -> None:
    """Make a log with a first champion, trained on a thousand rows of a file."""
    folder.mkdir(parents=True)
    declare(folder, often=False)
    with _loop(folder) as loop:
        rows, target = demo.generate(_FIRST, seed=0, noise=0.5, drift=0.0)
        table = Table(rows=rows, labels=tuple(demo.DEMO.classes[int(t)] for t in target))
        begin.from_table(loop, NAME, table)


@contextmanager
def opened(folder: Path) -> Iterator[LongLog]:
    """Open a log as a new process would, with the policy that is declared now."""
    with _loop(folder) as loop, read(loop.engine) as conn:
        known = pointers.version(conn, NAME, 1)
        if known is None:
            raise RuntimeError("the first champion is not registered")
        there = conn.execute(select(func.max(observations.c.observation_id))).scalar_one()
    n = int(there.removeprefix("row-")) + 1 if there.startswith("row-") else 0
    session = Session(artifacts.read(folder / "data" / "artifacts", known.sha256))
    with _loop(folder) as loop:
        yield LongLog(folder, loop.engine, loop, session, 1, np.random.default_rng(n), n)


@contextmanager
def _loop(folder: Path) -> Iterator[Loop]:
    project = settings.load(folder / "continual.toml", data=folder / "data")
    engine = open_store(project.settings.database_url)
    with Trainer() as trainer:
        yield Loop(
            engine=engine,
            artifacts=project.settings.artifacts,
            models=project.models,
            trainer=trainer,
            holder="soak",
            most_s=3_600.0,
        )
    engine.dispose()


def grow(log: LongLog, rows: int, say: Callable[[str], None]) -> float:
    """Log that many rows and turn the loop until it has read them; return the seconds."""
    began = time.monotonic()
    portion = min(rows, 250_000)
    while log.n < rows:
        log.add(min(portion, rows - log.n))
        log.loop.turn(NAME)
        say(f"{log.n:,} rows after {time.monotonic() - began:.0f} s")
    log.label_the_rest()
    log.loop.turn(NAME)
    return time.monotonic() - began


def declare(folder: Path, *, often: bool) -> None:
    """Write the configuration: with the default strategies, or with one seldom fitted anew."""
    (folder / "continual.toml").write_text(CONFIG + ("" if often else _SELDOM), encoding="utf-8")


def _append_labels(conn: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        first = take_numbers(conn, len(rows))
        insert_rows(conn, labels, [{"seq": first + i, **row} for i, row in enumerate(rows)])
