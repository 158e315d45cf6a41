"""What the loop runs on: the versions and the machine that the last bits of a number depend on."""

import platform
from functools import cache
from importlib.metadata import version

import numpy as np

_PARTS = ("continualml", "numpy", "onnxruntime", "msgspec")


@cache
def this_build() -> dict[str, str]:
    """Read once for each process; NumPy's log and exp differ with the CPU's vector unit."""
    config = np.show_config(mode="dicts") or {}
    vectors = config.get("SIMD Extensions", {})
    features = (*vectors.get("baseline", ()), *vectors.get("found", ()))
    return {
        **{name: version(name) for name in _PARTS},
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": ",".join(features),
    }
