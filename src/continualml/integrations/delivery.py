"""What became of a message in the outside world, as values; retrying is the courier's."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """It is there, or was there already.

    Parameters
    ----------
    receipt
        Its id there, by which it can be edited.
    pause_s
        Seconds before the next one may be sent.
    """

    receipt: str | None = None
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Nothing is wrong; it wants to be left alone for ``after_s`` seconds, if it says how long."""

    after_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """It could not be taken now; ``after_s`` is how long the other side wants to be left alone."""

    because: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """It will never be taken as it is; the others may."""

    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """What was to be edited is there no more; a new one may be sent."""

    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """Nothing will be taken any more until somebody acts as ``remedy`` says."""

    because: str
    remedy: str


Delivery = Delivered | Later | Retry | Refused | Gone | Closed
