"""``python -m continualml`` is the command ``continual``."""

from continualml.cli import main

if __name__ == "__main__":
    main()
