"""What has to hold after every fault: the log has what was acknowledged, once, as it was said."""

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.chaos.load import Load
from continualml.loop.replay import replay
from continualml.store.engine import open_store, read
from continualml.store.verify import verify

_CLOSE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What was acknowledged and what stands in the log; ``other`` answers are not those given."""

    acknowledged: int
    lost: int
    doubled: int
    other: int
    labels: int
    labels_lost: int
    verified: bool
    replayed: bool
    said: str

    @property
    def all(self) -> bool:
        wrong = self.lost + self.doubled + self.other + self.labels_lost
        return not wrong and self.verified and self.replayed


def against_the_log(database: Path, artifacts: Path, load: Load) -> Held:
    """Hold what clients were told against the log, check the ledger, and replay every decision."""
    with closing(sqlite3.connect(database, timeout=30)) as conn:
        like = f"{load.name}-%"
        rows = conn.execute(
            "SELECT observation_id, answer FROM observations WHERE observation_id LIKE ?", (like,)
        ).fetchall()
        labelled = {
            i
            for (i,) in conn.execute(
                "SELECT observation_id FROM labels WHERE observation_id LIKE ?", (like,)
            )
        }
        models = [name for (name,) in conn.execute("SELECT DISTINCT model FROM ledger")]
    there = dict(rows)
    times = Counter(name for name, _ in rows)
    engine = open_store(f"sqlite:///{database}", migrate=False)
    try:
        with read(engine) as conn_:
            broken = [c.broken for c in verify(conn_, artifacts) if c.broken]
            differences = [d for name in models for d in replay(conn_, name).differences]
    finally:
        engine.dispose()
    said = [*broken, *(str(d) for d in differences[:3])]
    return Held(
        acknowledged=len(load.answers),
        lost=sum(1 for name in load.answers if name not in there),
        doubled=sum(n - 1 for n in times.values()),
        other=sum(
            1 for name, told in load.answers.items() if name in there and _other(told, there[name])
        ),
        labels=len(load.labelled),
        labels_lost=len(load.labelled - labelled),
        verified=not broken,
        replayed=bool(models) and not differences,
        said="; ".join(said),
    )


def _other(told: dict[str, float], logged: bytes | None) -> bool:
    if logged is None:
        return True
    return not np.allclose(list(told.values()), np.frombuffer(logged, "<f8"), rtol=0, atol=_CLOSE)
