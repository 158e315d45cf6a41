"""Refold the whole log and hold every decision against the ledger."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from sqlalchemy import Connection

from continualml import decide
from continualml.errors import InputError
from continualml.loop.build import this_build
from continualml.records import Decision, Json, LedgerEntry
from continualml.store import ledger, log

_AT_ONCE = 100
_MOST_SHOWN = 50
_CLOSE = 1e-9
# What the last bits of a number may depend on; the other parts of a build do not calculate.
_CALCULATES = ("numpy", "machine", "cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field of the ledger that is not what the log leads to; ``n`` is None for no entry."""

    n: int | None
    field: str
    recorded: object
    recomputed: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay came to.

    ``equal`` entries agree bit for bit; ``close`` ones were decided on another build and agree but
    for evidence within a relative 1e-9. ``differences`` are the first ones, at most 50.
    """

    model: str
    outcomes: int
    rows: int
    equal: int
    close: int
    differences: tuple[Difference, ...]


def replay(
    conn: Connection,
    name: str,
    advance: Callable[[int], None] = lambda _n: None,
) -> Replayed:
    """Refold one model's outcomes as the loop did; nothing is trained, nothing is written.

    Parameters
    ----------
    advance
        Told after each portion how many outcomes were taken in.
    """
    known, compared = decide.Known(), _Compared(ledger.in_order(conn, name))
    seen = after = rows = 0
    try:
        while some := log.numbered_after(conn, name, after, _AT_ONCE):
            for numbered in some:
                after = numbered.seq
                known, decisions = decide.advance(known, after, numbered.outcome)
                compared.elsewhere = _elsewhere(known.build)
                compared.take(
                    after,
                    [decide.with_provenance(d, known, after, numbered.sha256) for d in decisions],
                )
            seen += len(some)
            rows = known.standing.rows if known.standing else 0
            advance(len(some))
        compared.rest()
    except InputError as error:
        compared.differ(None, f"after outcome {after}", "an outcome that follows", str(error))
    return Replayed(
        model=name,
        outcomes=seen,
        rows=rows,
        equal=compared.equal,
        close=compared.close,
        differences=tuple(compared.differences),
    )


class _Compared:
    """Walks along the ledger beside the decisions that the log leads to."""

    def __init__(self, entries: Iterator[LedgerEntry]) -> None:
        self._entries = entries
        self._next = next(entries, None)
        self.elsewhere = False
        self.equal = self.close = 0
        self.differences: list[Difference] = []

    def take(self, seq: int, decisions: list[Decision]) -> None:
        """Compare what the outcome with the number ``seq`` led to with what is recorded of it."""
        recorded: list[LedgerEntry] = []
        while self._next is not None:
            at = _outcome_of(self._next)
            if at is not None and at > seq:
                break
            if at is not None and at < seq:
                self._unfounded(self._next)
            elif at is None and len(recorded) == len(decisions):
                break
            else:
                recorded.append(self._next)
            self._next = next(self._entries, None)
        # As texts: 1 and 1.0, 0.0 and -0.0 are equal, but not bit for bit.
        was = [ledger.written(_fields(e.decision)) for e in recorded]
        now = [ledger.written(_fields(d)) for d in decisions]
        if was == now:
            self.equal += len(now)
            return
        for _, i, j, k, m in SequenceMatcher(None, was, now, autojunk=False).get_opcodes():
            for entry, old, new in zip(recorded[i:j], was[i:j], now[k:m], strict=False):
                self._compare(entry, json.loads(old), json.loads(new))
            for entry in recorded[i + (m - k) : j]:
                self._unfounded(entry)
            for d in decisions[k + (j - i) : m]:
                self.differ(None, f"entry from outcome {seq}", None, f"{d.kind}: {d.because}")

    def rest(self) -> None:
        """Name what is left in the ledger when the log has ended."""
        while self._next is not None:
            self._unfounded(self._next)
            self._next = next(self._entries, None)

    def differ(self, n: int | None, field: str, recorded: object, recomputed: object) -> None:
        """Note a difference; the first ones are enough."""
        if len(self.differences) < _MOST_SHOWN:
            self.differences.append(
                Difference(n=n, field=field, recorded=recorded, recomputed=recomputed)
            )

    def _unfounded(self, entry: LedgerEntry) -> None:
        said = f"{entry.decision.kind}: {entry.decision.because}"
        self.differ(entry.n, "entry", said, None)

    def _compare(self, entry: LedgerEntry, recorded: Json, recomputed: Json) -> None:
        apart = list(_apart("", recorded, recomputed))
        if not apart:
            self.equal += 1
        elif self.elsewhere and all(_close(a, b) for _, a, b in apart):
            self.close += 1
        else:
            for field, a, b in apart:
                self.differ(entry.n, field, a, b)


def _fields(decision: Decision) -> Json:
    return {
        "kind": decision.kind,
        "seq": decision.seq,
        "version": decision.version,
        "because": decision.because,
        "basis": decision.basis,
    }


def _outcome_of(entry: LedgerEntry) -> int | None:
    known = entry.decision.basis.get("decided_from")
    number = known.get("outcome") if isinstance(known, dict) else None
    return number if isinstance(number, int) else None


def _apart(at: str, recorded: object, recomputed: object) -> Iterator[tuple[str, object, object]]:
    if isinstance(recorded, dict) and isinstance(recomputed, dict):
        for key in sorted(recorded.keys() | recomputed.keys()):
            inner = f"{at}.{key}" if at else str(key)
            yield from _apart(inner, recorded.get(key), recomputed.get(key))
    elif json.dumps(recorded) != json.dumps(recomputed):
        yield at, recorded, recomputed


def _close(a: object, b: object) -> bool:
    return isinstance(a, float) and isinstance(b, float) and math.isclose(a, b, rel_tol=_CLOSE)


def _elsewhere(build: dict[str, str]) -> bool:
    here = this_build()
    return any(build.get(part) != here[part] for part in _CALCULATES)
