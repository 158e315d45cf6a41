"""One fault: load before it, while it lasts and after it, and what became of the load."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from benchmarks.chaos.checks import Held, against_the_log
from benchmarks.chaos.load import Asked, Load
from benchmarks.chaos.world import BrokenWorldError, World, wait

_BEFORE_S, _AFTER_S = 4.0, 1.5
_ROWS_AGAIN = 50


def nothing(_world: World, _load: Load) -> None:
    """Do nothing: the fault ends by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A fault.

    Parameters
    ----------
    begin, end
        What makes it, and what takes it back.
    lasts_s
        Seconds between the two.
    well
        Whether the world is as it was; it has to read new labels too.
    serves
        Whether every request has to be answered while it lasts.
    spoils
        The log itself is broken: ``well`` tells whether somebody says so; no more is asked.
    """

    name: str
    begin: Callable[[World, Load], None]
    end: Callable[[World, Load], None] = nothing
    lasts_s: float = 6.0
    well: Callable[[World], bool] = World.ready
    serves: bool = True
    spoils: bool = False
    patience_s: float = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a case came to; ``because`` says what did not hold."""

    case: str
    held: bool
    because: str
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    labels: int = 0
    labels_lost: int = 0
    p99_before_ms: float | None = None
    p99_while_ms: float | None = None
    errors_before: float = 0.0
    errors_while: float = 0.0
    answers_again_s: float | None = None
    well_again_s: float | None = None
    verified: bool | None = None
    replayed: bool | None = None
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="minutes"))


def tried(case: Case, world: World, number: int) -> Found:
    """Run one case in a running world and say what held."""
    because: list[str] = []
    with Load(port=world.port, token=world.token, name=f"c{number}") as load:
        time.sleep(_BEFORE_S)
        began = time.monotonic()
        try:
            case.begin(world, load)
            time.sleep(case.lasts_s)
            case.end(world, load)
            healed = time.monotonic()
            well_s: float | None = _well(case, world)
        except BrokenWorldError as error:
            because.append(str(error))
            healed, well_s = time.monotonic(), None
        over = time.monotonic()
        time.sleep(_AFTER_S)
    if case.spoils:
        told = "; ".join(because)
        said_s = None if well_s is None else round(well_s + healed - began, 1)
        return Found(case=case.name, held=not because, because=told, well_again_s=said_s)
    held = against_the_log(world.database, world.data / "artifacts", load)
    before = [a for a in load.asked if a.at < began]
    meanwhile = [a for a in load.asked if a.at + a.took_s >= began and a.at < over]
    because += _broken(case, held, meanwhile)
    return Found(
        case=case.name,
        held=not because,
        because="; ".join(because),
        acknowledged=held.acknowledged,
        lost=held.lost,
        doubled=held.doubled,
        labels=held.labels,
        labels_lost=held.labels_lost,
        p99_before_ms=_p99_ms(before),
        p99_while_ms=_p99_ms(meanwhile),
        errors_before=_errors(before),
        errors_while=_errors(meanwhile),
        answers_again_s=_answers_again(load.asked, began),
        well_again_s=None if well_s is None else round(well_s + (healed - began), 1),
        verified=held.verified,
        replayed=held.replayed,
    )


def as_json(found: Sequence[Found]) -> list[dict[str, Any]]:
    return [asdict(one) for one in found]


def _well(case: Case, world: World) -> float:
    """Wait until all is as it was; seconds since the fault was taken back."""
    began = time.monotonic()
    if case.spoils:
        return wait(lambda: case.well(world), case.patience_s, lambda: "nobody says it")
    wait(world.ready, case.patience_s, lambda: "nobody answers")
    read = world.rows_read()

    def well() -> bool:
        return case.well(world) and world.rows_read() >= read + _ROWS_AGAIN

    wait(well, case.patience_s, lambda: f"not as before: {world.get('/health')}"[:600])
    return time.monotonic() - began


def _broken(case: Case, held: Held, meanwhile: Sequence[Asked]) -> list[str]:
    told: list[str] = []
    if not held.acknowledged:
        told.append("nothing was acknowledged")
    if not held.all:
        told.append(f"the log: {held}")
    failed = [a.said for a in meanwhile if not a.answered]
    if case.serves and failed:
        told.append(f"{len(failed)} requests were not answered, the first: {failed[0][:120]}")
    return told


def _p99_ms(asked: Sequence[Asked]) -> float | None:
    answered = [a.took_s for a in asked if a.answered]
    return round(float(np.quantile(answered, 0.99)) * 1_000, 1) if answered else None


def _errors(asked: Sequence[Asked]) -> float:
    return round(sum(not a.answered for a in asked) / len(asked), 4) if asked else 0.0


def _answers_again(asked: Sequence[Asked], began: float) -> float | None:
    """Tell how long after the fault began the last request failed; 0 if none did."""
    failed = [a.at + a.took_s for a in asked if not a.answered and a.at + a.took_s >= began]
    if not failed:
        return 0.0
    after = [a.at + a.took_s for a in asked if a.answered and a.at >= max(failed)]
    return round(min(after) - began, 1) if after else None
