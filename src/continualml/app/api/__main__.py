"""``python -m continualml.app.api`` serves what the environment configures."""

import sys

from continualml import settings
from continualml.app.api.main import serve

if __name__ == "__main__":
    sys.exit(serve(settings.load()))
