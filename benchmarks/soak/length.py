"""Does anything cost more as the log is long? A cycle, a start, and every page, on two logs."""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.soak.long_log import NAME, LongLog, declare, opened

_ROWS = 100
_WARM_UP = 3
ROUTES = (
    f"/models/{NAME}",
    f"/models/{NAME}/performance",
    f"/models/{NAME}/performance/rolling",
    f"/models/{NAME}/evidence",
    f"/models/{NAME}/distributions",
    f"/models/{NAME}/label-lag",
    f"/models/{NAME}/trials",
    f"/models/{NAME}/versions",
    f"/models/{NAME}/compare",
    "/models",
    "/decisions",
    "/predictions/row-000000010",
    "/metrics",
    "/health",
)


def cycles(short: Path, long: Path, *, often: bool, rounds: int) -> dict[str, Any]:
    """Turn both logs in turns, each with a hundred new labelled rows; milliseconds of a turn.

    Parameters
    ----------
    often
        With the default strategies, one of which is fitted anew in each of these turns; else
        nothing is fitted.
    """
    for folder in (short, long):
        declare(folder, often=often)
    took: list[list[float]] = [[], []]
    with ExitStack() as stack:
        logs = [stack.enter_context(opened(folder)) for folder in (short, long)]
        for i in range(rounds + _WARM_UP):
            each = [_turn_ms(log) for log in (logs if i % 2 else logs[::-1])]
            if i >= _WARM_UP:
                for side, ms in zip(took, each if i % 2 else each[::-1], strict=True):
                    side.append(ms)
    medians = [statistics.median(side) for side in took]
    return {
        "short_ms": round(medians[0], 1),
        "long_ms": round(medians[1], 1),
        "ratio": round(medians[1] / medians[0], 3),
        "ratio_of_means": round(statistics.mean(took[1]) / statistics.mean(took[0]), 3),
        "rounds": rounds,
    }


def _turn_ms(log: LongLog) -> float:
    log.add(_ROWS)
    began = time.perf_counter()
    waiting = log.loop.waiting(NAME)
    verdict = log.loop.turn(NAME)
    took_ms = (time.perf_counter() - began) * 1_000
    if verdict.rows != waiting or not waiting:
        raise RuntimeError(f"{waiting} rows waited, {verdict.rows} were read")
    return took_ms


def starts_and_pages(short: Path, long: Path, *, rounds: int) -> dict[str, Any]:
    """Start the API on both logs and ask every page of both; medians, in milliseconds."""
    with ExitStack() as stack:
        apis, starts = [], []
        for folder in (short, long):
            api, start_s = stack.enter_context(_served(folder))
            apis.append(api)
            starts.append(round(start_s, 2))
        took: dict[str, list[list[float]]] = {route: [[], []] for route in ROUTES}
        for _ in range(rounds):
            for route in ROUTES:
                for side, api in zip(took[route], apis, strict=True):
                    began = time.perf_counter()
                    api.get(route).raise_for_status()
                    side.append((time.perf_counter() - began) * 1_000)
            time.sleep(2.5)  # what was looked at is kept for two seconds
    pages = {
        route: {"short_ms": round(a, 1), "long_ms": round(b, 1), "ratio": round(b / a, 2)}
        for route, sides in took.items()
        for a, b in [[statistics.median(side) for side in sides]]
    }
    return {"start_s": {"short": starts[0], "long": starts[1]}, "pages": pages}


@contextmanager
def _served(folder: Path) -> Iterator[tuple[httpx.Client, float]]:
    """Run the API on a log; how long it took to its first yes to whether it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {n: v for n, v in os.environ.items() if not n.startswith(("CONTINUAL_", "API_KEY"))}
    env |= {"CONTINUAL_CONFIG": str(folder / "continual.toml"), "CONTINUAL_PORT": str(port)}
    env |= {"CONTINUAL_DATA": str(folder / "data"), "API_KEY": os.urandom(24).hex()}
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "continualml.app.api"], env=env)
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {env['API_KEY']}"},
            timeout=120,
            trust_env=False,
        ) as api:
            while not _ready(api):
                if child.poll() is not None or time.monotonic() - began > 120:
                    raise RuntimeError("the API did not start")
                time.sleep(0.02)
            yield api, time.monotonic() - began
    finally:
        child.terminate()
        child.wait(timeout=30)


def _ready(api: httpx.Client) -> bool:
    try:
        return api.get("/readyz").is_success
    except httpx.TransportError:
        return False


def size_mb(folder: Path) -> float:
    """Measure the database of a log, in megabytes."""
    return round(sum(f.stat().st_size for f in (folder / "data").glob("log.sqlite*")) / 2**20, 1)


if __name__ == "__main__":
    # On logs that are there: python -m benchmarks.soak.length SHORT LONG
    few, many = Path(sys.argv[1]), Path(sys.argv[2])
    told = {
        "plain": cycles(few, many, often=False, rounds=20),
        "often": cycles(few, many, often=True, rounds=20),
        **starts_and_pages(few, many, rounds=3),
    }
    print(json.dumps(told, indent=2))
