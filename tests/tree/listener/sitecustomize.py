"""Imported by every Python that starts with this folder on its path: notes whom it asks."""

import os
import socket
import sys

_HERE = {"", "localhost", "ip6-localhost", "::", "::1", "0.0.0.0", socket.gethostname()}  # noqa: S104


def _note(line: str) -> None:
    with open(os.environ["HEARD_IN"], "a", encoding="utf-8") as log:  # noqa: PTH123  quick to load
        log.write(f"{line} | {' '.join(sys.orig_argv)}\n")


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        whom = address[0] if isinstance(address, tuple) else ""  # a path of this machine
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        whom = arguments[0]
    else:
        return
    name = whom.decode() if isinstance(whom, bytes) else str(whom or "")
    if name not in _HERE and not name.startswith("127."):
        _note(f"asked {name} ({event})")


if "HEARD_IN" in os.environ:
    sys.addaudithook(_hear)
    _note("began")
