"""The timer: turns the loop when a block of labels or refused rows wait, or nobody else does."""

import signal
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType

from loguru import logger

from continualml import settings
from continualml.app import logs, tree, turns, watching
from continualml.app.place import place_of
from continualml.loop.cycle import Loop
from continualml.loop.training import Limits, Trainer
from continualml.settings import Project
from continualml.store import failed_turns, leases, seals
from continualml.store.engine import StoreUnavailableError, open_store

SCHEDULED = leases.TURNED
_LOOK_S = 0.2
_BEAT_S = 5.0
_SILENT_PERIODS = 3
_LONGEST_PAUSE_S = 60.0
_AWAY_S = 2.0  # between two looks whether the store is back
_MOST_DOUBLINGS = 10


def main() -> None:
    """Turn until told to stop."""
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
    """Turn every model's loop as soon as a block of labelled rows waits.

    Rows that are fewer than a block are left to the scheduled cycle; when that has been silent
    for three periods, they are turned here.
    """
    said = project.settings
    engine = open_store(said.database_url)
    limits = Limits(seconds=said.train_timeout_seconds, memory_mb=said.train_memory_mb)
    with Trainer(limits) as trainer:
        trainer.warm()
        loop = Loop(
            engine=engine,
            artifacts=place_of(said),
            models=project.models,
            trainer=trainer,
            holder=tree.name_of("timer"),
        )
        began, failed, beaten = time.monotonic(), 0, 0.0
        watched = {name: _Watched(last=began) for name in project.models}
        beating = threading.Thread(target=watching.keep_beating, args=(project, engine, stopped))
        beating.start()
        logger.info("timer: watching {}", ", ".join(project.models))
        away = False
        while not stopped.wait(_AWAY_S if away else _pause_s(failed)):
            try:
                if time.monotonic() - beaten > _BEAT_S:
                    leases.beat(engine, leases.TIMER)
                    beaten = time.monotonic()
                _look(loop, watched, said.check_interval_seconds, began)
                seals.seal_next(engine)
                failed, away = 0, False
            except StoreUnavailableError as error:
                away = True
                logger.warning("timer: the store cannot be written, waiting: {}", error)
            except Exception:  # noqa: BLE001  the edge of this process: it goes on, and says so
                failed, away = failed + 1, False
                logger.exception("timer: a look failed")
        beating.join()


@dataclass(slots=True)
class _Watched:
    """When a model was last turned here, how often it failed since, and when it is due again."""

    last: float
    failed: int = 0
    due: float = 0.0


def _pause_s(failed: int) -> float:
    return min(_LOOK_S * 2.0 ** min(failed, _MOST_DOUBLINGS), _LONGEST_PAUSE_S)


def _look(loop: Loop, watched: dict[str, _Watched], period_s: float, began: float) -> None:
    """Look at every model that is due; one that fails is left alone for longer each time."""
    silent_s = _silent(loop, period_s, began)
    for name, one in watched.items():
        if time.monotonic() < one.due:
            continue
        try:
            _look_at(loop, name, one, silent_s=silent_s, period_s=period_s)
            one.failed = 0
        except StoreUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001  the edge of one model: the others are turned
            one.failed += 1
            one.due = time.monotonic() + _pause_s(one.failed)
            logger.exception("timer: {} failed, again in {:g} s", name, _pause_s(one.failed))
            failed_turns.note(loop.engine, name, error)


def _look_at(loop: Loop, name: str, one: _Watched, *, silent_s: float, period_s: float) -> None:
    waiting = loop.waiting(name)
    overdue = silent_s > _SILENT_PERIODS * period_s and time.monotonic() - one.last > period_s
    if one.failed or overdue or waiting >= (loop.block(name) or 1) or loop.refused(name):
        if overdue:
            logger.info("timer: no scheduled cycle for {:.0f} s, turning {} here", silent_s, name)
        turns.turn(loop, name)
        one.last = time.monotonic()


def _silent(loop: Loop, period_s: float, began: float) -> float:
    """Seconds since the scheduler last turned the loop, or since this process began."""
    here = time.monotonic() - began
    beat = leases.last_beat(loop.engine, SCHEDULED)
    if beat is None:
        return here
    ago = _wall() - beat
    # A beat in the future comes from a clock that was set back: then only this clock is believed.
    return min(ago, here) if ago >= -period_s else here


def _wall() -> float:
    return datetime.now(UTC).timestamp()


if __name__ == "__main__":
    main()
