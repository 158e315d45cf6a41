"""Whose fault an error is, and what to do about it; nothing here knows HTTP."""

import difflib
from collections.abc import Iterable


class Said(str):
    """What came, in words: it stands in a message as it is, and not as a quoted text."""

    __slots__ = ()


class InputError(ValueError):
    """A value from outside is not what was expected.

    Parameters
    ----------
    where
        The field, as its owner would write it.
    expected, got
        What belongs there, and what came.
    remedy
        What to do, if that is known.

    Attributes
    ----------
    rows
        How many rows are refused with it; 1 where nobody counted them.
    """

    rows: int = 1

    def __init__(
        self, where: str, *, expected: str, got: object, remedy: str | None = None
    ) -> None:
        self.where = where
        self.expected = expected
        self.got = got
        self.remedy = remedy
        tail = f"; {remedy}" if remedy else ""
        super().__init__(f"{where}: expected {expected}, got {came(got)}{tail}")


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Ask for the known name that is nearest to one that is unknown; None if none is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else None


def came(got: object) -> str:
    """Write what came, with its type in the words of JSON."""
    match got:
        case Said():
            return str(got)
        case None | True | False:
            return {None: "null", True: "true", False: "false"}[got]
        case str():
            kind = "a string"
        case int() | float():
            kind = "a number"
        case list() | tuple():
            kind = "a list"
        case dict():
            kind = "an object"
        case _:
            kind = type(got).__name__
    return f"{got!r} ({kind})"


class AlreadyRunningError(RuntimeError):
    """A tree runs on this data directory; ``pid`` is its first process. Stop that one first."""

    def __init__(self, data: str, pid: int | None) -> None:
        self.pid = pid
        super().__init__(f"already running here, pid {pid}; its data directory is {data}")


class UnreachableError(RuntimeError):
    """Something outside that is needed now does not answer; trying again later may help."""
