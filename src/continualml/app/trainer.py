"""The child process in which fits run; started by name, asked through its standard input."""

import os
import sys

from continualml.app import logs
from continualml.loop.training import serve


def main() -> None:
    """Fit until the parent goes; what a library prints goes to standard error."""
    logs.begin()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin.buffer, answers, memory_mb=int(sys.argv[1]))


if __name__ == "__main__":
    main()
