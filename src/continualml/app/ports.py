"""Whether a port can be listened on."""

import socket

from continualml.errors import InputError, Said
from continualml.settings import Settings


def is_free(host: str, port: int) -> bool:
    """Try to take the port, and let go of it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def check(said: Settings) -> None:
    """Check that the API can listen where it is told to.

    Raises
    ------
    InputError
        Naming the setting, if the port is taken or the address is not this machine's.
    """
    if not is_free(said.host, said.port):
        raise InputError(
            "CONTINUAL_PORT",
            expected=f"a free port of {said.host}",
            got=Said(f"{said.port}, which is taken"),
            remedy="end what listens there, or set another one (serve --port)",
        )
