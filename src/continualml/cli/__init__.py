"""The command ``continual``: verbs, exit codes, ``--json``."""

from continualml.cli.exits import (
    CONFIGURATION,
    FAILED,
    INTERRUPTED,
    OK,
    RUNNING,
    UNREACHABLE,
    USAGE,
)
from continualml.cli.verbs import app, main

__all__ = [
    "CONFIGURATION",
    "FAILED",
    "INTERRUPTED",
    "OK",
    "RUNNING",
    "UNREACHABLE",
    "USAGE",
    "app",
    "main",
]
