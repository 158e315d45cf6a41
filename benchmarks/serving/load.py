"""wrk, the client of all servers: one thread, one body again and again, for some seconds."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FOUND = "FOUND "
_SCRIPT = """
local file = assert(io.open({body}, "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "application/json"
{token}
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n{found}{{"requests":%d,"duration_us":%d,"refused":%d,"broken":%d,"late":%d,'
    .. '"p50_us":%d,"p99_us":%d}}\\n',
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write, e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What became of one load; ``rate`` counts requests that were answered with 2xx or 3xx.

    ``errors`` are other answers, broken connections and requests that waited for over ten seconds.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    requests: int
    errors: int


def script(folder: Path, name: str, body: dict[str, Any], token: str | None) -> Path:
    """Write what wrk sends; with ``token`` as a bearer."""
    kept = folder / f"{name}.json"
    kept.write_text(json.dumps(body, separators=(",", ":")), encoding="utf-8")
    said = "" if token is None else f'wrk.headers["Authorization"] = "Bearer {token}"'
    lua = folder / f"{name}.lua"
    text = _SCRIPT.format(body=json.dumps(str(kept)), token=said, found=_FOUND)
    lua.write_text(text, encoding="utf-8")
    return lua


def put_on(url: str, lua: Path, connections: int, seconds: int) -> Load:
    """Load a server."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    run = subprocess.run(
        [*command, "-s", str(lua), url],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
    )
    return read(run.stdout)


def read(said: str) -> Load:
    """Read what wrk's script says at the end.

    Raises
    ------
    ValueError
        If it said nothing.
    """
    line = next((x for x in said.splitlines() if x.startswith(_FOUND)), None)
    if line is None:
        raise ValueError(f"wrk did not say what it found: {said[-300:]}")
    found = json.loads(line.removeprefix(_FOUND))
    good = found["requests"] - found["refused"]
    return Load(
        rate=good / (found["duration_us"] / 1e6),
        p50_ms=found["p50_us"] / 1e3,
        p99_ms=found["p99_us"] / 1e3,
        requests=found["requests"],
        errors=found["refused"] + found["broken"] + found["late"],
    )
