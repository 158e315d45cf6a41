"""The command ``continual``, also as ``python -m continualml``."""

import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command; Ctrl-C while it is still being imported is no fault either."""
    try:
        from continualml.cli import main as run  # noqa: PLC0415  it takes a second

        run()
    except KeyboardInterrupt:
        sys.stderr.write("error: stopped\n")
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
