"""The faults, each a few lines: what makes it, what takes it back, when all is as before."""

import random
import sqlite3
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx

from benchmarks.chaos.load import Load
from benchmarks.chaos.trial import Case
from benchmarks.chaos.world import World
from continualml.store import leases

_API, _TIMER = "continualml.app.api", "continualml.app.timer"
_TRAINER, _COURIER = "continualml.app.trainer", "continualml.app.courier"
_SCHEDULED, _WRITER = "continualml.app.scheduled", "writer_process"
_MLFLOW, _PREFECT = ("mlflow", "server"), ("prefect", "server")
# A run is due every 20 s. A message goes at once, or when it is tried again, after 15 s at most;
# on a machine that is short of time those before it take their time.
_LATELY_S, _SOON_S = 45.0, 60.0
_BURST, _AT_ONCE = 20_000, 1_000


def _kill(world: World, _load: Load, *, words: tuple[str, ...]) -> None:
    world.kill(*words)


def _hang(world: World, _load: Load, *, words: tuple[str, ...]) -> None:
    world.hang(*words)


def _go_on(world: World, _load: Load, *, words: tuple[str, ...]) -> None:
    world.go_on(*words)


def _killed(name: str, *words: str, **more: Any) -> Case:
    return Case(name=f"kill -9: {name}", begin=partial(_kill, words=words), **more)


def _hung(name: str, *words: str, **more: Any) -> Case:
    begin, end = partial(_hang, words=words), partial(_go_on, words=words)
    return Case(name=f"hang: {name}", begin=begin, end=end, **more)


def _kill_trainings(world: World, _load: Load) -> None:
    """Kill each training process as soon as it is there, for six seconds."""
    until = time.monotonic() + 6
    while time.monotonic() < until:
        for one in world.found(_TRAINER):
            one.kill()
        time.sleep(0.05)


def prefect_is_well(world: World) -> bool:
    """Tell whether its server answers and a scheduled run came lately, be it only to skip itself.

    On a machine that is short of time a run comes so late that it leaves the turn to the next.
    """
    if "prefect" in world.addresses and not _answers(f"{world.addresses['prefect']}/api/health"):
        return False
    beats = f"name IN ('{leases.TURNED}', '{leases.SKIPPED}')"
    ago_s = _ago_s(world, f"SELECT max(taken_at) FROM leases WHERE {beats}")  # noqa: S608  our own
    return ago_s is not None and ago_s < _LATELY_S


def mirror_is_well(world: World) -> bool:
    """Tell whether MLflow takes messages: the oldest that waits has not failed, nor waited long."""
    waiting = "FROM outbox WHERE destination = 'mlflow' AND state = 'waiting' ORDER BY id LIMIT 1"
    tried = _one(world, f"SELECT attempts {waiting}")
    ago_s = _ago_s(world, f"SELECT recorded_at {waiting}")
    return not tried and (ago_s is None or ago_s < _SOON_S)


def _ago_s(world: World, asked: str) -> float | None:
    at = _one(world, asked)
    return None if at is None else datetime.now(UTC).timestamp() - at


def _one(world: World, asked: str) -> float | None:
    with closing(sqlite3.connect(world.database, timeout=30)) as conn:
        found = conn.execute(asked).fetchone()
    return None if found is None or found[0] is None else float(found[0])


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _spoil_champion(world: World, _load: Load) -> None:
    """Change a byte of the file of the version that answers, and let the API load it anew."""
    path = _artifact(world)
    kept = path.with_suffix(".kept")
    data = path.read_bytes()
    kept.write_bytes(data)
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    world.kill(_API)


def _put_champion_back(world: World, _load: Load) -> None:
    for kept in (world.data / "artifacts").glob("*.kept"):
        kept.rename(kept.with_suffix(".onnx"))


def _artifact(world: World) -> Any:
    told = world.get("/models/stream")
    version = world.get(f"/models/stream/versions/{told['pointers']['champion']}")
    return world.data / "artifacts" / f"{version['sha256']}.onnx"


def _champion_is_well(world: World) -> bool:
    return world.component("champion").get("status") == "ok"


def _burst(world: World, load: Load) -> None:
    """Answer 20,000 rows, then send all their labels as fast as they are taken."""
    names = [f"{load.name}-burst-{i}" for i in range(_BURST)]
    with world.client() as api:
        for start in range(0, _BURST, _AT_ONCE):
            _predict(api, load, names[start : start + _AT_ONCE])
        for start in range(0, _BURST, _AT_ONCE):
            _label(api, load, names[start : start + _AT_ONCE])


def _over_and_over(world: World, load: Load) -> None:
    """Send rows by six clients at once, and labels before, twice, late and in any order."""
    names = [f"{load.name}-over-{i}" for i in range(600)]

    def send(client: int) -> None:
        chance = random.Random(client)  # noqa: S311  an order, not a secret
        parts = [names[i : i + 20] for i in range(0, len(names), 20)]
        chance.shuffle(parts)
        with world.client() as api:
            for part in parts:
                for work in chance.sample((_predict, _label), 2):
                    work(api, load, part)

    threads = [threading.Thread(target=send, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _predict(api: httpx.Client, load: Load, names: list[str]) -> None:
    rows = [{"observation_id": n, "features": _features(n)} for n in names]
    told = api.post("/predict", json={"instances": rows}).raise_for_status().json()
    for one in told["predictions"]:
        before = load.answers.setdefault(one["observation_id"], one["probabilities"])
        if before != one["probabilities"]:
            raise RuntimeError(f"{one['observation_id']} was answered twice, differently")


def _label(api: httpx.Client, load: Load, names: list[str]) -> None:
    labels = [
        {"observation_id": n, "label": "yes" if _score(n) > 0 else "no", "revision": 0}
        for n in names
    ]
    api.post("/labels", json={"labels": labels}).raise_for_status()
    load.labelled |= set(names)


def _features(name: str) -> dict[str, float]:
    chance = random.Random(name)  # noqa: S311  features, not secrets
    return {f"x{i}": round(chance.gauss(0, 1), 4) for i in range(1, 5)}


def _score(name: str) -> float:
    x = _features(name)
    return x["x1"] - x["x2"] + 0.5 * x["x3"]


WHOLE_TREE = (
    Case(name="nothing (for comparison)", begin=lambda _w, _l: None),
    _killed("API", _API, serves=False),
    _killed("process that commits", _WRITER, serves=False),
    _killed("timer", _TIMER),
    Case(name="kill -9: training, each time for 6 s", begin=_kill_trainings, lasts_s=0),
    _killed("courier", _COURIER, well=mirror_is_well),
    _killed("MLflow", *_MLFLOW, well=mirror_is_well, patience_s=150),
    _killed("Prefect server", *_PREFECT, well=prefect_is_well, patience_s=180),
    _hung("API", _API, serves=False),
    _hung("process that commits", _WRITER, serves=False),
    _hung("timer", _TIMER, lasts_s=10),
    _hung("training", _TRAINER, lasts_s=10),
    _hung("courier", _COURIER, well=mirror_is_well),
    _hung("scheduled cycle", _SCHEDULED, lasts_s=10),
    _hung("MLflow", *_MLFLOW, lasts_s=12, well=mirror_is_well),
    _hung("Prefect server", *_PREFECT, lasts_s=12, well=prefect_is_well, patience_s=120),
    Case(
        name="corrupt artifact of the champion, API killed",
        begin=_spoil_champion,
        end=_put_champion_back,
        well=_champion_is_well,
        serves=False,
    ),
    Case(name="100x labels: 20,000 at once", begin=_burst, lasts_s=0, patience_s=180),
    Case(name="duplicates, in any order, by six clients", begin=_over_and_over, lasts_s=0),
)
