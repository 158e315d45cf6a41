"""What must always hold: at each commit, and when everything has come to rest.

It keeps its own account of what clients were told, and reads the store with plain SQL: what it
holds the product against is not computed by the product.
"""

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from sqlalchemy import Engine

from continualml import decide
from continualml.app.noticing import Noticing
from continualml.loop import carry_out
from continualml.loop.replay import replay
from continualml.model import Model
from continualml.records import Json, Merged, Scored, Trained
from continualml.store import ledger, log, windows
from continualml.store.engine import read
from continualml.store.log import Labelled, Observed
from continualml.store.verify import verify
from tests.simulation.outside import Outside
from tests.simulation.schedule import Broken

_NUMBERED = ("observations", "labels", "outcomes")
_INSTALLS = {"first", "promote", "follow", "rollback"}


@dataclass(slots=True)
class Oracle:
    """The account of one run.

    Parameters
    ----------
    rows, labels
        What was acknowledged: rows by id, labels by (id, revision).
    sent
        Ids and (id, revision) that were ever sent.
    """

    path: Path
    model: Model
    rows: dict[str, Observed] = field(default_factory=dict)
    labels: dict[tuple[str, int], str] = field(default_factory=dict)
    sent: set[object] = field(default_factory=set)
    commits: int = 0
    failure: Broken | None = None
    _seen: dict[str, int] = field(default_factory=dict)
    _counted: dict[str, int] = field(default_factory=dict)
    _lease: tuple[str, float, float] | None = None
    _ledger: int = 0
    _champion: int | None = None
    _conn: sqlite3.Connection | None = None

    def acknowledged(self, row: Observed) -> None:
        """Note a row that a client was answered with; a second answer is the first one's."""
        before = self.rows.setdefault(row.observation_id, row)
        if before != row:
            raise self.broken(f"{row.observation_id} was answered twice, and differently")

    def labelled(self, item: Labelled, verdict: str) -> None:
        """Note what a client was told of a label."""
        if verdict == "rejected":
            return
        key, said = (item.observation_id, item.revision), str(item.label)
        if self.labels.setdefault(key, said) != said:
            raise self.broken(f"two labels of {key} were acknowledged: {said}")

    def broken(self, what: str) -> Broken:
        self.failure = self.failure or Broken(what)
        return self.failure

    def require(self, holds: bool, what: str) -> None:
        if not holds:
            raise self.broken(what)

    # At each commit.

    def committed(self, who: str) -> None:
        """Check what must hold in every state that others can see."""
        self.commits += 1
        conn = self._connection()
        top = max(self._seen.values(), default=0)
        for table in _NUMBERED:
            new, lowest, last = conn.execute(
                f"SELECT count(*), min(seq), max(seq) FROM {table} WHERE seq > ?",  # noqa: S608  names of ours
                (self._seen.get(table, 0),),
            ).fetchone()
            if new:
                self.require(lowest > top, f"{who}: {table} has {lowest}, {top} was read already")
                self._seen[table], self._counted[table] = last, self._counted.get(table, 0) + new
        self._pointed(conn, who)
        self._leased(conn, who)

    def _leased(self, conn: sqlite3.Connection, who: str) -> None:
        """Nobody takes the lease of a turn from whom it has not run out for."""
        now = conn.execute(
            "SELECT holder, taken_at, expires_at FROM leases WHERE name LIKE 'cycle:%'"
        ).fetchone()
        before, self._lease = self._lease, now
        if before and now and before[0] != now[0]:
            held = before[1] <= now[1] < before[2]
            self.require(not held, f"{who}: {now[0]} took the lease of {before[0]}, who held it")

    def _pointed(self, conn: sqlite3.Connection, who: str) -> None:
        """The champion is whoever the ledger installed last, in every state."""
        new = conn.execute(
            "SELECT n, kind, version FROM ledger WHERE n > ? ORDER BY n", (self._ledger,)
        ).fetchall()
        for n, kind, version in new:
            self.require(n == self._ledger + 1, f"{who}: entry {n} follows {self._ledger}")
            self._ledger = n
            self._champion = version if kind in _INSTALLS else self._champion
        there = conn.execute(
            "SELECT version, decided_by FROM pointers WHERE alias = 'champion'"
        ).fetchone()
        champion = there[0] if there else None
        said = f"{who}: the champion is {champion}, the ledger installed {self._champion}"
        self.require(champion == self._champion, said)
        if new and there:
            exists = there[1] <= self._ledger
            self.require(exists, f"{who}: the champion is decided by no entry: {there[1]}")

    # When everything has come to rest.

    def at_rest(self, engine: Engine, noticing: Noticing, outside: Outside) -> None:
        """Check the whole history."""
        self._numbered()
        self._log()
        self._joined(engine)
        self._decided(engine)
        self._carried_out(engine)
        self._told(engine, noticing, outside)

    def _numbered(self) -> None:
        """No row came or went below a number that was visible already."""
        for table in _NUMBERED:
            asked = f"SELECT count(*) FROM {table}"  # noqa: S608  names of ours
            n, seen = self._connection().execute(asked).fetchone()[0], self._counted.get(table, 0)
            self.require(n == seen, f"{table} has {n} rows, {seen} came in order")

    def _log(self) -> None:
        """Each acknowledged row and label is there once, as it was acknowledged; nothing else."""
        conn = self._connection()
        columns = "observation_id, numeric, version, revision, answer, recorded_at"
        there: dict[str, tuple[object, ...]] = {}
        for one in conn.execute(f"SELECT {columns} FROM observations WHERE answer IS NOT NULL"):  # noqa: S608  names of ours
            self.require(one[0] not in there, f"row {one[0]} is there twice")
            self.require(one[0] in self.sent, f"row {one[0]} was never sent")
            there[one[0]] = one[1:]
        for key, row in self.rows.items():
            said = (row.numeric, row.version, row.revision, row.answer, row.recorded_at)
            self.require(key in there, f"row {key} was acknowledged and is lost")
            self.require(there[key] == said, f"row {key} is not as it was acknowledged")
        told: dict[tuple[str, int], str] = {}
        asked = "SELECT observation_id, revision, label FROM labels"
        for one, revision, label in conn.execute(asked):
            self.require((one, revision) not in told, f"label {one} {revision} is there twice")
            told[one, revision] = label
        for pair, said_label in self.labels.items():
            self.require(told.get(pair) == said_label, f"label {pair} was acknowledged and is lost")
        firsts = conn.execute(
            "SELECT observation_id, count(*), sum(first), min(seq), sum(first * seq) "
            "FROM labels GROUP BY model, observation_id"
        )
        for one, _, first, lowest, seq in firsts:
            self.require((first, lowest) == (1, seq), f"{one} has {first} first labels")

    def _joined(self, engine: Engine) -> None:
        """Each row met each watched version once, in the order of the log, by its first label."""
        conn = self._connection()
        pairs = conn.execute(
            "SELECT max(o.seq, l.seq) AS joined FROM observations o JOIN labels l "
            "ON o.model = l.model AND o.observation_id = l.observation_id "
            "WHERE l.first = 1 ORDER BY joined"
        ).fetchall()
        with read(engine) as some:
            joined = windows.joined(some, self.model, 0).seq.tolist()
            first = ledger.entries(some, kinds=("first",), limit=2)
            outcomes = log.outcomes_after(some, self.model.name, 0, 100_000)
        self.require(joined == [j for (j,) in pairs], "the loop's join is not that of the log")
        self.require(len(first) == 1, f"there are {len(first)} first champions")
        taken, known, n_before = list[int](), decide.Known(), 0
        for number, outcome in outcomes:
            before = known.standing.read if known.standing else 0
            known, _ = decide.advance(known, number, outcome)
            if isinstance(outcome, Scored) and known.standing:
                # Where something was decided, the rest of the rows meets the versions of then.
                seq = np.frombuffer(outcome.seq, "<i8")
                new = seq[(seq > before) & (seq <= known.standing.read)].tolist()
                taken += new
                n_before += len(new)
                self.require(known.standing.rows == n_before, "rows are counted otherwise")
        expected = [j for j in joined if j > first[0].decision.seq]
        twice = [s for s, n in Counter(taken).items() if n > 1]
        missing = sorted(set(expected) - set(taken))
        said = f"labelled rows were not taken in once each: twice {twice}, never {missing}"
        self.require(taken == expected, said)

    def _decided(self, engine: Engine) -> None:
        """What is known is the fold of the log, and so is the ledger, bit for bit."""
        name = self.model.name
        with read(engine) as conn:
            for one in verify(conn, self.path.parent / "artifacts"):
                self.require(one.broken is None, f"verify: {one.check}: {one.broken}")
            again = replay(conn, name)
            self.require(not again.differences, f"replay differs: {again.differences[:2]}")
            n = len(ledger.entries(conn, limit=100_000))
            self.require(again.equal == n, f"{again.equal} of {n} entries replay to the bit")
            kept, known = carry_out.known(conn, name), decide.Known()
            for seq, outcome in log.outcomes_after(conn, name, 0, 100_000):
                known, _ = decide.advance(known, seq, outcome)
            encoded = msgspec.json.encode
            self.require(encoded(known) == encoded(kept), "the snapshot is not the fold")

    def _carried_out(self, engine: Engine) -> None:
        """Each decision has its effects once: versions, pointers, revisions, messages."""
        conn = self._connection()
        made = [v for (v,) in conn.execute("SELECT version FROM versions ORDER BY version")]
        self.require(made == list(range(1, len(made) + 1)), f"versions are numbered {made}")
        with read(engine) as some:
            outcomes = log.outcomes_after(some, self.model.name, 0, 100_000)
            known = carry_out.known(some, self.model.name)
        of = [o.version for _, o in outcomes if isinstance(o, Trained | Merged)]
        self.require(sorted(of) == made, f"outcomes brought versions {sorted(of)}, not {made}")
        there = {
            alias: (version, tuple(json.loads(weights or "[]")))
            for alias, version, weights in conn.execute(
                "SELECT alias, version, weights FROM pointers"
            )
        }
        if known.standing is not None:
            state = known.standing
            wanted = {
                "champion": (state.champion.version, tuple(decide.champion_weights(state))),
                "anchor": (state.anchor.version, tuple(state.anchor.weights)),
            }
            if state.previous:
                wanted["previous"] = (state.previous.version, tuple(state.previous.weights))
            for alias, one in wanted.items():
                said = f"{alias} points to {there.get(alias)}, the fold says {one}"
                self.require(there.get(alias) == one, said)
            self.require(
                state.previous is not None or "previous" not in there, "a previous is left"
            )
        for model, version, revision, weights in conn.execute(
            "SELECT DISTINCT model, version, revision, answer IS NULL FROM observations "
            "WHERE revision IS NOT NULL"
        ):
            del model, weights
            found = conn.execute(
                "SELECT count(*) FROM revisions WHERE version = ? AND revision = ?",
                (version, revision),
            ).fetchone()[0]
            said = f"version {version} answered with weights {revision}: {found} such are kept"
            self.require(found == 1, said)

    def _told(self, engine: Engine, noticing: Noticing, outside: Outside) -> None:
        """Each message was written once and arrived; the mirrors show what is true."""
        conn = self._connection()
        messages = conn.execute(
            "SELECT destination, body, state FROM outbox ORDER BY id"
        ).fetchall()
        left = [m for m in messages if m[2] != "delivered"]
        self.require(not left, f"messages are not delivered: {left[:3]}")
        mirrored = [json.loads(body) for to, body, _ in messages if to == "mlflow"]
        made = [v for (v,) in conn.execute("SELECT version FROM versions ORDER BY version")]
        versions = [m["version"] for m in mirrored if m["event"] == "version"]
        self.require(versions == made, f"MLflow is told of versions {versions}, not {made}")
        self.require(sorted(outside.registered) == made, "MLflow has not every version")
        pointed = dict(conn.execute("SELECT alias, version FROM pointers").fetchall())
        for alias, version in pointed.items():
            has = outside.aliases.get(alias)
            self.require(has == version, f"MLflow's {alias} is {has}, not {version}")
        with read(engine) as some:
            entries = ledger.entries(some, limit=100_000)[::-1]
            wanted: list[Json] = []
            for entry in entries:
                wanted += noticing._bodies(some, entry)  # noqa: SLF001  what people are to be told
        bodies = [json.loads(body) for to, body, _ in messages if to == "discord"]
        said = [b for b in bodies if b["event"] == "decision"]
        self.require(said == wanted, f"people are told {len(said)} things, not {len(wanted)}")
        self.require(
            outside.posted >= len(bodies), f"{len(bodies)} messages, {outside.posted} arrived"
        )

    def _connection(self) -> sqlite3.Connection:
        if self._conn is None:
            self._conn = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        return self._conn

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()
