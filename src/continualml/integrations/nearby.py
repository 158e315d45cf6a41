"""Whether an address is this machine's own: no proxy of the environment leads there."""

import ipaddress

import httpx


def is_here(url: httpx.URL) -> bool:
    """Say whether the address is a loopback one."""
    try:
        address = ipaddress.ip_address(url.host)
    except ValueError:  # a name
        return url.host == "localhost"
    return address.is_loopback or address.is_unspecified
