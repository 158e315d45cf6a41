"""One job that a person asked for: a verb of the command line, bounded in time and memory.

A process of its own, at the lowest priority, so that it takes only what serving leaves over.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMAND, RESULT, SAID, ERRORS = "command.json", "result.json", "said", "errors"
TIMED_OUT = "timed out"
# It shares the memory of the API that started it: where that is short, this one is to die.
_FIRST_TO_GO = Path("/proc/self/oom_score_adj")


def main() -> None:
    """Run the command in the folder's file, and write what came of it into the same folder."""
    folder, seconds, memory_mb = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    if _FIRST_TO_GO.exists():  # not on macOS
        _FIRST_TO_GO.write_text("1000", encoding="ascii")
    os.nice(19)
    # Not the address space: numpy's and ONNX Runtime's is several times what they take.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_mb << 20, memory_mb << 20))
    command: list[str] = json.loads((folder / COMMAND).read_text("utf-8"))
    began = time.monotonic()
    with (folder / SAID).open("wb") as said, (folder / ERRORS).open("wb") as errors:
        child = subprocess.Popen(  # noqa: S603  our own verbs, no shell
            [sys.executable, "-m", "continualml", *command],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=errors,
        )
        signal.signal(signal.SIGTERM, lambda _n, _f: child.terminate())
        try:
            code: int | str = child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            child.terminate()
            child.wait()
            code = TIMED_OUT
    fresh = folder / f"{RESULT}.new"
    took = round(time.monotonic() - began, 3)
    fresh.write_text(json.dumps({"code": code, "seconds": took}), encoding="utf-8")
    fresh.replace(folder / RESULT)


if __name__ == "__main__":
    main()
