"""Whether the store is what it says: pages, ledger, outcomes, rows by their seals, artifacts."""

from dataclasses import dataclass
from functools import partial

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from continualml.records import LedgerEntry
from continualml.store import artifacts, ledger, log, pointers, seals
from continualml.store.artifacts import Place
from continualml.store.engine import REPAIR
from continualml.store.pages import damage
from continualml.store.tables import ledger as entries


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One check: how many things it looked at, and the first that is broken, if one is."""

    check: str
    looked_at: int
    broken: str | None


def verify(conn: Connection, place: Place) -> tuple[Checked, ...]:
    """Check everything whose hash is known; what is whole may still be wrong, see replay.

    Raises
    ------
    UnreachableError
        If the artifacts are in a bucket that does not answer.
    """
    checks = (
        ("pages", partial(_pages, conn)),
        ("ledger", partial(_chain, conn)),
        ("outcomes", partial(_outcomes, conn)),
        ("rows", partial(_rows, conn)),
        ("artifacts", partial(_artifacts, conn, place)),
    )
    told: list[Checked] = []
    for name, look in checks:
        try:
            one = look()
        except (DBAPIError, ValueError, msgspec.MsgspecError) as error:
            reason = error.orig if isinstance(error, DBAPIError) else error
            one = Checked(check=name, looked_at=0, broken=f"cannot be read: {reason}; {REPAIR}")
        told.append(one)
        if name == "pages" and one.broken:  # what is read from broken pages says nothing
            break
    return tuple(told)


def _pages(conn: Connection) -> Checked:
    """Let the database check how its pages hang together, and its indexes against its rows."""
    n, broken = damage(conn, thorough=True)
    return Checked(check="pages", looked_at=n, broken=broken)


def _chain(conn: Connection) -> Checked:
    broken = ledger.verify(conn)
    said = None if broken is None else f"entry {broken}: number, link or hash is not its own"
    n = conn.execute(select(entries.c.n).order_by(entries.c.n.desc()).limit(1)).scalar()
    return Checked(check="ledger", looked_at=int(n or 0), broken=said)


def _outcomes(conn: Connection) -> Checked:
    """Hold each outcome against the hash in the decisions that came of it."""
    seen = 0
    for model in log.models(conn):
        named = {}
        for entry in ledger.in_order(conn, model):
            if (known := _named(entry)) is not None:
                named[known[0]] = (entry.n, known[1])
        for seq, sha256 in log.outcome_hashes(conn, model):
            n, expected = named.pop(seq, (0, sha256))
            seen += 1
            if sha256 != expected:
                said = f"outcome {seq}: changed since entry {n} was decided from it"
                return Checked(check="outcomes", looked_at=seen, broken=said)
        for seq, (n, _) in named.items():
            said = f"outcome {seq}: missing, and entry {n} was decided from it"
            return Checked(check="outcomes", looked_at=seen, broken=said)
    return Checked(check="outcomes", looked_at=seen, broken=None)


def _rows(conn: Connection) -> Checked:
    """Hold the rows against their seals; the newest ones have none yet."""
    seen, one = seals.broken(conn, ledger.left_of(conn))
    said = None
    if one is not None:
        said = f"rows {one.first} to {one.last}: not what they were when sealed; {REPAIR}"
    return Checked(check="rows", looked_at=seen * seals.ROWS, broken=said)


def _artifacts(conn: Connection, place: Place) -> Checked:
    seen = 0
    for one in pointers.artifacts_named(conn):
        seen += 1
        try:
            artifacts.read_kept(place, one.sha256, kind=one.kind)
        except artifacts.ArtifactError as error:
            said = f"version {one.version} of {one.model}: {error}"
            return Checked(check="artifacts", looked_at=seen, broken=said)
    return Checked(check="artifacts", looked_at=seen, broken=None)


def _named(entry: LedgerEntry) -> tuple[int, str] | None:
    known = entry.decision.basis.get("decided_from")
    return (known["outcome"], known["sha256"]) if known else None
