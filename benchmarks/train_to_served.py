"""Seconds from "train now" to "swapped in and answering" for 1,000 rows, over HTTP."""

import argparse
import gzip
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import httpx

from continualml import settings
from continualml.learning.table import read
from continualml.loop.begin import from_table
from continualml.loop.cycle import Loop
from continualml.loop.training import Trainer
from continualml.store.engine import open_store

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples/electricity"
FEATURES = ("period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer")
ROW = dict.fromkeys(FEATURES, 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    taken = [_once() for _ in range(asked.rounds)]
    told = {"rounds": asked.rounds, "median_s": round(statistics.median(taken), 3)}
    print(json.dumps({**told, "spread_s": [round(min(taken), 3), round(max(taken), 3)]}))


def _once() -> float:
    """A serving process waits without a champion; the trainer is warm, as in the timer."""
    with tempfile.TemporaryDirectory() as folder, Trainer() as trainer, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        project = settings.load(EXAMPLE / "continual.toml", data=Path(folder), port=port)
        model = project.models["electricity"]
        table = read(EXAMPLE / "electricity.csv.gz", model, limit=1_000)
        loop = Loop(
            engine=open_store(project.settings.database_url),
            artifacts=project.settings.artifacts,
            models=project.models,
            trainer=trainer,
            holder="benchmark",
        )
        env = os.environ | settings.environment(project.settings)
        server = subprocess.Popen((sys.executable, "-m", "continualml.app.api"), env=env)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
                _until(client, "/livez", 200)
                token = project.settings.admin_token.read_text("utf-8").strip()
                client.headers["Authorization"] = f"Bearer {token}"
                _warm(trainer, loop, project)
                began = time.perf_counter()
                from_table(loop, "electricity", table)
                while client.post("/predict", json={"features": ROW}).status_code != 200:
                    time.sleep(0.005)
                return time.perf_counter() - began
        finally:
            server.terminate()
            server.wait(timeout=20)


def _warm(trainer: Trainer, loop: Loop, project: settings.Project) -> None:
    """One fit of other rows, in another store, so that the child has imported what it needs."""
    with tempfile.TemporaryDirectory() as folder:
        other = Loop(
            engine=open_store(f"sqlite:///{folder}/log.sqlite"),
            artifacts=Path(folder),
            models=loop.models,
            trainer=trainer,
            holder="warm",
        )
        with gzip.open(EXAMPLE / "electricity.csv.gz", "rt", encoding="utf-8") as file:
            small = Path(folder) / "small.csv"
            small.write_text("".join(next(file) for _ in range(501)), encoding="utf-8")
        from_table(other, "electricity", read(small, project.models["electricity"]))


def _until(client: httpx.Client, path: str, status: int) -> None:
    for _ in range(400):
        with suppress(httpx.TransportError):  # it does not listen yet
            if client.get(path).status_code == status:
                return
        time.sleep(0.02)
    sys.exit(f"{path} did not answer {status}")


if __name__ == "__main__":
    main()
