"""The processor that a figure was measured on."""

import platform
from pathlib import Path


def cpu() -> str:
    """Name it as the kernel does, where that tells."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
