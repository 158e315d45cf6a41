"""The machine and the versions that a run was made with."""

import os
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.cpu import cpu
from benchmarks.serving import environments

_OURS = ("continualml", "onnxruntime", "fastapi", "uvicorn", "scikit-learn", "lightgbm", "numpy")
_THEIRS = {
    "tutorial": ("fastapi", "uvicorn", "scikit-learn"),
    "mlflow": ("mlflow", "scikit-learn"),
    "bentoml": ("bentoml", "scikit-learn"),
    "mlserver": ("mlserver", "mlserver-sklearn", "scikit-learn"),
    "litserve": ("litserve", "scikit-learn"),
}


def described(folder: Path) -> dict[str, Any]:
    """Describe the machine; ``folder`` is on the disk that the log is written to."""
    return {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "fsync_ms": round(_fsync_ms(folder), 3),
        "load_before": round(os.getloadavg()[0], 2),
        "ours": {name: version(name) for name in _OURS},
        "peers": {
            peer: {name: environments.versions(peer)[name] for name in names}
            for peer, names in _THEIRS.items()
        },
    }


def _fsync_ms(folder: Path, times: int = 200) -> float:
    """Time, in the middle, of syncing one page that was appended."""
    took: list[float] = []
    path = folder / "fsync"
    with path.open("wb") as file:
        for _ in range(times):
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    path.unlink()
    return statistics.median(took) * 1e3
