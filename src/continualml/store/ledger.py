"""The ledger: decisions in order, each chained to the one before by SHA-256."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection, Row, func, insert, select

from continualml.records import Decision, Json, LedgerEntry
from continualml.store import artifacts
from continualml.store.tables import ledger

GENESIS = "0" * 64
# Kinds of decisions after which a version answers.
INSTALLS = ("first", "promote", "follow", "rollback")


def record(conn: Connection, decision: Decision, recorded_at: str) -> LedgerEntry:
    """Append a decision and return it as it stands in the ledger."""
    last = conn.execute(
        select(ledger.c.n, ledger.c.hash).order_by(ledger.c.n.desc()).limit(1)
    ).one_or_none()
    values: dict[str, object] = {
        "n": last.n + 1 if last else 1,
        "model": decision.model,
        "kind": decision.kind,
        "seq": decision.seq,
        "version": decision.version,
        "because": decision.because,
        "basis": written(decision.basis),
        "recorded_at": recorded_at,
        "previous_hash": last.hash if last else GENESIS,
    }
    values["hash"] = _hash(values)
    conn.execute(insert(ledger).values(**values))
    return LedgerEntry(
        n=last.n + 1 if last else 1,
        decision=decision,
        recorded_at=recorded_at,
        previous_hash=str(values["previous_hash"]),
        hash=str(values["hash"]),
    )


def written(basis: Json) -> str:
    """Write a basis the one way in which it stands in the ledger."""
    return json.dumps(basis, sort_keys=True, separators=(",", ":"))


def entry(conn: Connection, n: int) -> LedgerEntry | None:
    """Read one entry."""
    row = conn.execute(select(ledger).where(ledger.c.n == n)).one_or_none()
    return None if row is None else _entry(row)


def entries(
    conn: Connection,
    *,
    model: str | None = None,
    kinds: tuple[str, ...] = (),
    version: int | None = None,
    before: int | None = None,
    after: int | None = None,
    limit: int = 50,
) -> list[LedgerEntry]:
    """Read entries, the newest first, below the cursor ``before`` and above ``after``."""
    asked = select(ledger).order_by(ledger.c.n.desc()).limit(limit)
    asked = asked if model is None else asked.where(ledger.c.model == model)
    asked = asked if before is None else asked.where(ledger.c.n < before)
    asked = asked if after is None else asked.where(ledger.c.n > after)
    asked = asked if version is None else asked.where(ledger.c.version == version)
    asked = asked.where(ledger.c.kind.in_(kinds)) if kinds else asked
    return [_entry(row) for row in conn.execute(asked)]


def last_until(conn: Connection, at: str) -> LedgerEntry | None:
    """Read the last entry that was recorded at or before ``at`` (UTC, ISO 8601)."""
    asked = select(ledger).where(ledger.c.recorded_at <= at).order_by(ledger.c.n.desc()).limit(1)
    row = conn.execute(asked).one_or_none()
    return None if row is None else _entry(row)


def installed_by(conn: Connection, model: str) -> int:
    """Return the number of the outcome that let the champion answer; 0 before there is one."""
    last = entries(conn, model=model, kinds=INSTALLS, limit=1)
    return int(last[0].decision.basis.get("decided_from", {}).get("outcome", 0)) if last else 0


def counts(conn: Connection, model: str, *, after: int) -> dict[str, int]:
    """Count a model's decisions by kind, those made at rows after the number ``after``."""
    asked = (
        select(ledger.c.kind, func.count())
        .where(ledger.c.model == model, ledger.c.seq > after)
        .group_by(ledger.c.kind)
    )
    return {kind: n for kind, n in conn.execute(asked)}  # noqa: C416  rows, not pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Tallied:
    """How many entries there are of one kind, and when the last was recorded (ISO 8601)."""

    n: int
    last_at: str


@dataclass(slots=True)
class Tally:
    """Entries counted by (model, kind), read on from where it was read to: they never change."""

    of: dict[tuple[str, str], Tallied] = field(default_factory=dict)
    read: int = 0

    def read_on(self, conn: Connection) -> None:
        """Count the entries that have come."""
        asked = (
            select(
                ledger.c.model,
                ledger.c.kind,
                func.count(),
                func.max(ledger.c.n),
                func.max(ledger.c.recorded_at),
            )
            .where(ledger.c.n > self.read)
            .group_by(ledger.c.model, ledger.c.kind)
        )
        for model, kind, n, last, at in conn.execute(asked).all():
            before = self.of[model, kind].n if (model, kind) in self.of else 0
            self.of[model, kind] = Tallied(n=before + n, last_at=at)
            self.read = max(self.read, last)


def bases(
    conn: Connection, model: str, *, kinds: tuple[str, ...], seqs: tuple[int, int], limit: int
) -> list[tuple[int, str]]:
    """Read (number, basis as JSON) of decisions at numbers in ``seqs`` (inclusive), ascending.

    Of more than ``limit`` the newest ones.
    """
    asked = (
        select(ledger.c.seq, ledger.c.basis)
        .where(ledger.c.model == model, ledger.c.kind.in_(kinds))
        .where(ledger.c.seq >= seqs[0], ledger.c.seq <= seqs[1])
        .order_by(ledger.c.n.desc())
        .limit(limit)
    )
    return [(row.seq, row.basis) for row in conn.execute(asked)][::-1]


def collected(conn: Connection) -> set[tuple[str, int, str]]:
    """Name the artifacts that were collected: (model, version, kind)."""
    kinds = {"graphs": artifacts.GRAPH, "learners": artifacts.LEARNER}
    asked = select(ledger.c.model, ledger.c.basis).where(ledger.c.kind == "collect")
    return {
        (model, version, kind)
        for model, basis in conn.execute(asked)
        for name, kind in kinds.items()
        for version in json.loads(basis)["collected"][name]
    }


def horizon(conn: Connection, model: str | None = None) -> tuple[int, int]:
    """Find the number below which rows were collected, and how many labelled rows that were."""
    asked = select(ledger.c.basis).where(ledger.c.kind == "collect")
    asked = asked if model is None else asked.where(ledger.c.model == model)
    gone = [json.loads(basis)["collected"] for basis in conn.execute(asked).scalars()]
    below = max((g["below"] for g in gone if g["observations"]), default=0)
    return below, sum(g["labelled"] for g in gone)


def left_of(conn: Connection) -> dict[int, str]:
    """Give the hash of what is left of each sealed stretch in which rows were collected.

    Stretches are named by their last number; what was said last holds.
    """
    asked = select(ledger.c.basis).where(ledger.c.kind == "collect").order_by(ledger.c.n)
    bases = (json.loads(basis) for basis in conn.execute(asked).scalars())
    return {last: left for basis in bases for last, left in basis["collected"].get("seals", ())}


def last_n(conn: Connection) -> int:
    """Return the number of the last entry; 0 before there is one."""
    return int(conn.execute(select(func.max(ledger.c.n))).scalar() or 0)


def collected_after(conn: Connection, n: int) -> bool:
    """Tell whether anything, of any model, was collected after an entry."""
    asked = select(ledger.c.n).where(ledger.c.n > n, ledger.c.kind == "collect").limit(1)
    return conn.execute(asked).first() is not None


def in_order(conn: Connection, model: str) -> Iterator[LedgerEntry]:
    """Read a model's entries, the oldest first."""
    asked = select(ledger).where(ledger.c.model == model).order_by(ledger.c.n)
    for row in conn.execute(asked.execution_options(yield_per=1_000)):
        yield _entry(row)


def verify(conn: Connection) -> int | None:
    """Recompute the whole chain; return the first entry that breaks it, or None."""
    previous, expected = GENESIS, 1
    for row in conn.execute(select(ledger).order_by(ledger.c.n)):
        values = dict(row._mapping)  # noqa: SLF001  SQLAlchemy's public name for it
        stated = values.pop("hash")
        if row.n != expected or row.previous_hash != previous or stated != _hash(values):
            return int(row.n)
        previous, expected = stated, expected + 1
    return None


def _hash(values: dict[str, object]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _entry(row: Row[tuple[object, ...]]) -> LedgerEntry:
    return LedgerEntry(
        n=row.n,
        decision=Decision(
            model=row.model,
            kind=row.kind,
            seq=row.seq,
            because=row.because,
            basis=json.loads(row.basis),
            version=row.version,
        ),
        recorded_at=row.recorded_at,
        previous_hash=row.previous_hash,
        hash=row.hash,
    )
