"""``python -m continualml.app.api`` serves what the environment configures."""

import sys

from loguru import logger

from continualml import settings
from continualml.app import logs
from continualml.app.api.main import serve
from continualml.errors import InputError


def main() -> int:
    """Return the exit code: 2 for a wrong configuration, which is said without a traceback."""
    logs.begin()
    try:
        project = settings.load()
    except InputError as error:
        logger.error("{}", error)
        return 2
    return serve(project)


if __name__ == "__main__":
    sys.exit(main())
