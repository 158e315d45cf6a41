"""The client of MLflow before a server that takes what it is asked and never answers."""

import json
import os
import socket
import subprocess
import sys

ASK = """
import json, sys, time
from mlflow import environment_variables as mlflow
from continualml.integrations.mlflow import Mirror
mirror = Mirror(sys.argv[1])
tries = 1 + mlflow.MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()
patience = mlflow.MLFLOW_HTTP_REQUEST_TIMEOUT.get() * tries
mlflow.MLFLOW_HTTP_REQUEST_TIMEOUT.set(1)
began = time.monotonic()
said = mirror.alias("m", "champion", 1)
print(json.dumps([patience, time.monotonic() - began, type(said).__name__, said.because]))
"""


def test_a_silent_server_holds_a_request_for_seconds_not_minutes() -> None:
    env = {n: v for n, v in os.environ.items() if not n.startswith("MLFLOW_")}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        run = subprocess.run(
            [sys.executable, "-c", ASK, url], env=env, capture_output=True, check=True, timeout=120
        )
    patience_s, took_s, kind, because = json.loads(run.stdout)
    assert patience_s <= 30
    assert took_s < 10
    assert kind == "Retry"
    assert "Read timed out" in because
