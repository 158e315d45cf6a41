"""What is found when the machine is on again: opened by Python's own SQLite and by our store."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.power_loss.disk import Event, Said
from benchmarks.power_loss.load import LOG, content, row
from continualml.store import ledger, log, pages
from continualml.store.engine import StoreUnavailableError, open_store, read, write
from continualml.store.tables import labels, observations, outcomes, pointers


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """After one cut: what was said to be recorded and is not, and what is not sound.

    ``gap`` counts numbers that are missing below the last one; ``broken`` says the first fault.
    """

    said: int
    lost: int
    lost_below_a_decision: int = 0
    gap: int = 0
    broken: str | None = None


def look(folder: Path, left: dict[str, bytes], events: Sequence[Event], cut: int) -> Found:
    """Put the files there, open the store, and hold it against what was said before the cut."""
    for old in folder.iterdir():
        old.unlink()
    for name, data in left.items():
        (folder / name).write_bytes(data)
    said = [w for e in events[:cut] if isinstance(e, Said) for w in e.what]
    try:
        return _opened(folder / LOG, said)
    except (StoreUnavailableError, SQLAlchemyError, ValueError) as error:
        n = sum(w[0] != "upto" for w in said)
        return Found(said=n, lost=n, broken=f"{type(error).__name__}: {error}")


def _opened(path: Path, said: list[tuple[Any, ...]]) -> Found:
    engine = open_store(f"sqlite:///{path}")
    try:
        with read(engine) as conn:
            _, broken = pages.damage(conn, thorough=True)
            rows = conn.execute(
                select(observations.c.seq, observations.c.observation_id, observations.c.numeric)
            ).all()
            told = conn.execute(select(labels.c.seq, labels.c.observation_id)).all()
            made = conn.execute(select(outcomes.c.seq)).scalars().all()
            entries = list(ledger.in_order(conn, "demo"))
            pointed = conn.execute(select(pointers.c.decided_by)).scalars().all()
            chain = ledger.verify(conn)
        with write(engine) as conn:  # and it goes on
            first = log.append_observations(conn, [row("after")])
        wrong = [r.observation_id for r in rows if r.numeric != content(str(r.observation_id))]
        faults = {
            "pages": broken,
            "chain": None if chain is None else f"entry {chain}",
            "rows": f"{wrong[0]} has other bytes" if wrong else None,
            "doubled": "a row" if len({r.observation_id for r in rows}) != len(rows) else None,
            "pointer": None if pointed == [e.n for e in entries[-1:]] else str(pointed),
            "writable": None if first == [None] else str(first),
        }
    finally:
        engine.dispose()
    seqs = sorted([*(r.seq for r in rows), *(t.seq for t in told), *made])
    there: set[tuple[Any, ...]] = {("row", r.observation_id) for r in rows}
    there |= {("label", t.observation_id) for t in told}
    there |= {("entry", e.n, e.hash) for e in entries}
    missing = [w for w in said if w[0] != "upto" and w not in there]
    decided = max((w[1] for w in said if w[0] == "upto"), default=0)
    fault = next((f"{name}: {what}" for name, what in faults.items() if what), None)
    return Found(
        said=sum(w[0] != "upto" for w in said),
        lost=len(missing),
        lost_below_a_decision=decided - sum(s <= decided for s in seqs),
        gap=(seqs[-1] if seqs else 0) - len(seqs),
        broken=fault,
    )
