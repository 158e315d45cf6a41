"""What every process writes about itself, and what never gets into it."""

import sys

from loguru import logger


def begin() -> None:
    """Log to standard error; a traceback shows its lines, never the values of its variables.

    Those hold passwords of URLs, tokens and people's features. Call it where a process starts.
    """
    logger.remove()
    logger.add(sys.stderr, diagnose=False)
