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


def check(said: Settings, name: str = "port") -> None:
    """Check that the API, or what else has a port of this name, can listen where it is told to.

    Raises
    ------
    InputError
        Naming the setting, if the port is taken or the address is not this machine's.
    """
    port = getattr(said, name)
    if not is_free(said.host, port):
        verb = "serve" if name == "port" else name.removesuffix("_port")
        raise InputError(
            f"CONTINUAL_{name.upper()}",
            expected=f"a free port of {said.host}",
            got=Said(f"{port}, which is taken"),
            remedy=f"end what listens there, or set another one ({verb} --port)",
        )
