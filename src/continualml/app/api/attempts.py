"""How often somebody may still guess a secret: pure, with bounded memory, the clock passed in."""

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

_KEPT: Final = 16  # newest wrong secrets of each that are known again
_NETWORK: Final = 64  # leading bits of an IPv6 address that one host is given


@dataclass(frozen=True, slots=True)
class _Account:
    """What one has left at an instant, and the wrong secrets seen last (their digests)."""

    left: float
    at: float
    wrong: tuple[str, ...]


class Attempts:
    """A token bucket of guesses for each who asks; the same wrong secret again is no new guess.

    So a client with an outdated secret does not use up what others behind the same address have.
    Of those who guess, the ones seen longest ago are forgotten first.

    Parameters
    ----------
    burst
        How many different wrong secrets one may try at once, at least 1.
    per_s
        How many more become free in a second, above 0.
    most
        How many who guess are remembered, at least 1.
    """

    def __init__(self, *, burst: int, per_s: float, most: int) -> None:
        self._burst, self._per_s, self._most = burst, per_s, most
        self._known: OrderedDict[str, _Account] = OrderedDict()

    def wait_s(self, who: str, now: float) -> float:
        """Say how long it takes until this one may guess again; 0.0 if at once.

        Parameters
        ----------
        now
            Seconds of a monotonic clock.
        """
        account = self._known.get(who)
        if account is None:
            return 0.0
        return max(0.0, (1.0 - self._left(account, now)) / self._per_s)

    def failed(self, who: str, digest: str, now: float) -> bool:
        """Count a wrong secret; True if this one had no guess left for it.

        Parameters
        ----------
        digest
            A hash of the secret; the secret itself is not to be kept.
        """
        account = self._known.get(who) or _Account(float(self._burst), now, ())
        if digest in account.wrong:
            self._known.move_to_end(who)
            return False
        left = self._left(account, now)
        if left < 1.0:
            return True
        wrong = (*account.wrong, digest)[-_KEPT:]
        self._known[who] = _Account(left - 1.0, now, wrong)
        self._known.move_to_end(who)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return False

    def succeeded(self, who: str) -> None:
        """Forget the failures of one who knew the secret."""
        self._known.pop(who, None)

    def __len__(self) -> int:
        """Count those who are remembered."""
        return len(self._known)

    def _left(self, account: _Account, now: float) -> float:
        refilled = max(0.0, now - account.at) * self._per_s
        return min(float(self._burst), account.left + refilled)


def whom(address: str) -> str:
    """Name who asks from an address: IPv6 hosts own a whole network and may use all of it."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # no address at all, as over a socket file
        return address
    if parsed.version == 6 and parsed.ipv4_mapped is not None:  # noqa: PLR2004  IPv6
        return str(parsed.ipv4_mapped)
    if parsed.version == 6:  # noqa: PLR2004  IPv6
        return str(ipaddress.ip_network((parsed, _NETWORK), strict=False))
    return str(parsed)
