"""Keep the model and the settings as MLServer reads them, in the folder that is named."""

import json
import os
import sys
from pathlib import Path

import joblib
from estimator import load

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    joblib.dump(load(), folder / "model.joblib")
    workers = int(os.environ["SERVING_WORKERS"])
    port, other, metrics = (int(p) for p in os.environ["SERVING_PORTS"].split())
    told = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": other,
        "metrics_port": metrics,
        "parallel_workers": workers if workers > 1 else 0,
        "debug": False,
    }
    (folder / "settings.json").write_text(json.dumps(told), encoding="utf-8")
    model = {
        "name": "electricity",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib"},
    }
    (folder / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
