"""Requests a second and latency of ``/predict``, side by side in interleaved rounds.

Four servers, one at a time, each a process of its own: ours with the durable log; the same
application whose log acknowledges at once without writing; what a good tutorial teaches, FastAPI
with pydantic and a plain logistic regression on a NumPy row; and the same with a scikit-learn
pipeline on a DataFrame. Only the first logs anything. One row a request, wrk as the client.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples/electricity"
ROW = {
    "period": 0.1,
    "nswprice": 0.05,
    "nswdemand": 0.4,
    "vicprice": 0.003,
    "vicdemand": 0.42,
    "transfer": 0.41,
}
SERVERS = {
    "durable log": (sys.executable, "-m", "continualml.app.api"),
    "without log": (sys.executable, str(ROOT / "benchmarks/servers.py"), "unlogged"),
    "tutorial": (sys.executable, str(ROOT / "benchmarks/servers.py"), "tutorial"),
    "pipeline": (sys.executable, str(ROOT / "benchmarks/servers.py"), "pipeline"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One server, one number of connections."""

    rate: float
    p50_ms: float
    p99_ms: float
    errors: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/serving.json")
    asked = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        env, script = _prepare(Path(folder))
        rounds: dict[str, dict[int, list[Round]]] = {s: {} for s in SERVERS}
        process: dict[str, list[tuple[float, float]]] = {s: [] for s in SERVERS}
        for _ in range(asked.rounds):
            for name, command in SERVERS.items():
                with_server(name, command, env, script, asked, rounds, process)
    report = _report(asked, rounds, process)
    asked.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


def with_server(
    name: str,
    command: tuple[str, ...],
    env: dict[str, str],
    script: Path,
    asked: argparse.Namespace,
    rounds: dict[str, dict[int, list[Round]]],
    process: dict[str, list[tuple[float, float]]],
) -> None:
    """Start one server, load it, note memory and start, and end it."""
    url = f"http://127.0.0.1:{env['CONTINUAL_PORT']}/predict"
    began = time.monotonic()
    child = subprocess.Popen(command, env=env)
    try:
        headers = {"Authorization": f"Bearer {env['API_KEY']}"}
        while True:
            with suppress(httpx.TransportError):  # it does not listen yet
                if httpx.post(url, json={"features": ROW}, headers=headers).is_success:
                    break
            if child.poll() is not None or time.monotonic() - began > 60:
                sys.exit(f"{name} did not start")
            time.sleep(0.01)
        start_s = time.monotonic() - began
        _wrk(url, script, 16, 1)
        for connections in asked.connections:
            found = _wrk(url, script, connections, asked.seconds)
            rounds[name].setdefault(connections, []).append(found)
        process[name].append((start_s, psutil.Process(child.pid).memory_info().rss / 2**20))
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(timeout=20)


def _wrk(url: str, script: Path, connections: int, seconds: int) -> Round:
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "-s",
        str(script),
        url,
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return Round(
        rate=float(re.findall(r"Requests/sec:\s+([\d.]+)", said)[0]),
        p50_ms=_ms(re.findall(r" 50%\s+(\S+)", said)[0]),
        p99_ms=_ms(re.findall(r" 99%\s+([\d.]+[mu]?s)", said)[0]),
        errors=int(wrong[1]) if wrong else 0,
    )


def _ms(text: str) -> float:
    scale = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    value, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(value) * scale[unit]


def _prepare(folder: Path) -> tuple[dict[str, str], Path]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {
        "CONTINUAL_CONFIG": str(EXAMPLE / "continual.toml"),
        "CONTINUAL_DATA": str(folder / "data"),
        "CONTINUAL_PORT": str(port),
        "API_KEY": os.urandom(24).hex(),
        "BENCHMARK_DATA": str(EXAMPLE / "electricity.csv.gz"),
    }
    train = (sys.executable, "-m", "continualml", "train", env["BENCHMARK_DATA"], "--rows", "1000")
    subprocess.run(train, env=env, check=True)
    body = json.dumps({"features": ROW})
    script = folder / "post.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = '{body}'\n"
        f"wrk.headers['Authorization'] = 'Bearer {env['API_KEY']}'\n"
        "wrk.headers['Content-Type'] = 'application/json'\n",
        encoding="utf-8",
    )
    return env, script


def _report(
    asked: argparse.Namespace,
    rounds: dict[str, dict[int, list[Round]]],
    process: dict[str, list[tuple[float, float]]],
) -> dict[str, object]:
    def median(some: list[float]) -> float:
        return round(statistics.median(some), 3)

    servers: dict[str, object] = {}
    for name, by_connections in rounds.items():
        servers[name] = {
            "start_s": median([s for s, _ in process[name]]),
            "memory_mb": median([m for _, m in process[name]]),
            **{
                f"{c} connections": {
                    "requests_s": median([r.rate for r in some]),
                    "spread": [min(r.rate for r in some), max(r.rate for r in some)],
                    "p50_ms": median([r.p50_ms for r in some]),
                    "p99_ms": median([r.p99_ms for r in some]),
                    "errors": sum(r.errors for r in some),
                }
                for c, some in by_connections.items()
            },
        }
    ours, bare, tutorial, pipeline = (rounds[n] for n in SERVERS)
    last = max(asked.connections)
    first = min(asked.connections)

    def over(part: str, of: dict[int, list[Round]], c: int) -> list[float]:
        """Ours over another's, of the medians and, as a spread, within each round."""
        pairs = [(getattr(a, part), getattr(b, part)) for a, b in zip(ours[c], of[c], strict=True)]
        both = [statistics.median(some) for some in zip(*pairs, strict=True)]
        each = sorted(a / b for a, b in pairs)
        return [round(x, 3) for x in (both[0] / both[1], each[0], each[-1])]

    ratios = {
        f"requests/s over the tutorial, {last} connections": over("rate", tutorial, last),
        f"requests/s over the pipeline, {last} connections": over("rate", pipeline, last),
        f"kept of our own speed without the log, {last} connections": over("rate", bare, last),
        f"p99 over the tutorial's, {last} connections": over("p99_ms", tutorial, last),
        f"p50 over the tutorial's, {first} connection": over("p50_ms", tutorial, first),
    }
    return {
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "versions": {
            n: version(n) for n in ("onnxruntime", "fastapi", "uvicorn", "scikit-learn", "numpy")
        },
        "load over the last 15 minutes": round(os.getloadavg()[2], 1),
        "rounds": asked.rounds,
        "seconds": asked.seconds,
        "servers": servers,
        "ratios: of the medians, least and most of a round": ratios,
    }


if __name__ == "__main__":
    main()
