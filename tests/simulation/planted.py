"""``python -m tests.simulation.planted``: plants bugs in a copy, and counts seeds until each shows.

That no seed fails says something only if seeds do fail where something is wrong.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/continualml"
_FAILED = re.compile(r"^seed (\d+): (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """A bug: what it is, and for each edit the file, what stands there, and what is put there."""

    name: str
    edits: tuple[tuple[str, str, str], ...]


BUGS = (
    Bug(
        name="pointers are moved before the decision is recorded",
        edits=(
            (
                "loop/cycle.py",
                "ahead = carry_out.decide_ahead(known, what)",
                """ahead = carry_out.decide_ahead(known, what)
        with write(self.engine) as conn:
            for alias, (version, _) in carry_out._aliases(ahead[0]).items():
                carry_out.pointers.point(conn, name, alias, version, 0)""",
            ),
        ),
    ),
    Bug(
        name="a corrected label is joined once more",
        edits=(
            (
                "store/windows.py",
                "model == model, labels.c.first.is_(True), labels.c.early.is_(False))",
                "model == model, labels.c.early.is_(False))",
            ),
        ),
    ),
    Bug(
        name="a lease that somebody holds is taken",
        edits=(
            (
                "store/leases.py",
                "if row and row.holder != holder and row.taken_at <= now < row.expires_at:",
                "if False:",
            ),
        ),
    ),
    Bug(
        name="a lease that was taken while one waited counts as one of the future",
        edits=(
            (
                "store/leases.py",
                """with write(engine) as conn:
        return acquire_in(conn, name, holder, ttl_s)""",
                """before = clock.now().timestamp()
    with write(engine) as conn:
        return acquire_in(conn, name, holder, ttl_s, before)""",
            ),
            (
                "store/leases.py",
                "def acquire_in(conn: Connection, name: str, holder: str, ttl_s: float) -> bool:",
                "def acquire_in(conn, name, holder, ttl_s, before=None):",
            ),
            (
                "store/leases.py",
                """now = clock.now().timestamp()
    row =""",
                """now = before or clock.now().timestamp()
    row =""",
            ),
        ),
    ),
    Bug(
        name="the snapshot is saved behind the commit, and believed",
        edits=(
            (
                "loop/carry_out.py",
                "_save(conn, after.model, after.standing, after.build, recorded_at)",
                "pass",
            ),
            (
                "loop/carry_out.py",
                "if there and there[0] == log.last_outcome(conn, name, before=before):",
                "if there:",
            ),
            (
                "loop/cycle.py",
                """return carry_out.take_in(
                conn, known, name, what, at=at, recorded_at=recorded_at, ahead=ahead
            )""",
                """known, entries = carry_out.take_in(
                conn, known, name, what, at=at, recorded_at=recorded_at, ahead=ahead
            )
        with write(self.engine) as conn:
            state, build = known.standing, known.build
            carry_out._save(conn, known.model, state, build, recorded_at)
        return known, entries""",
            ),
        ),
    ),
    Bug(
        name="a turn that was overtaken writes all the same",
        edits=(
            (
                "loop/carry_out.py",
                "if log.last_outcome(conn, name) != seen:",
                "if log.last_outcome(conn, name) < seen:",
            ),
        ),
    ),
    Bug(
        name="what could not be written is acknowledged",
        edits=(
            (
                "store/group_commit.py",
                "the thread lives on\n            return [error] * len(tickets)",
                "the thread lives on\n            return [[None] * len(t.rows) for t in tickets]",
            ),
        ),
    ),
    Bug(
        name="a message counts as delivered before it is sent",
        edits=(
            (
                "app/courier.py",
                "result = Delivered() if overtaken else _attempt(route, message)",
                """_noted(engine, route, message, Delivered())
        result = Delivered() if overtaken else _attempt(route, message)""",
            ),
        ),
    ),
    Bug(
        name="a notice is queued in one transaction, and noted as told in another",
        edits=(
            (
                "app/noticing.py",
                """outbox.enqueue(conn, self.channel, body)
                channels.told(""",
                """outbox.enqueue(conn, self.channel, body)
            with write(self.engine) as conn:
                channels.told(""",
            ),
        ),
    ),
    Bug(
        name="two processes begin a model at once",
        edits=(("loop/carry_out.py", "if before.standing is not None:", "if False:"),),
    ),
    Bug(
        name="messages wait for a clock that was set back",
        edits=(
            (
                "store/outbox.py",
                "now < found[0].due_at <= now + _LONGEST_S:",
                "now < found[0].due_at:",
            ),
        ),
    ),
)


def main() -> int:
    """Return 0 if every bug is found."""
    said = argparse.ArgumentParser(description=__doc__)
    said.add_argument("--most", type=int, default=300, help="seeds, at most, for each bug")
    said.add_argument("--bug", default="", help="only those with this in their name")
    asked = said.parse_args()
    missed = 0
    for bug in BUGS:
        if asked.bug not in bug.name:
            continue
        found = hunt(bug, asked.most)
        missed += found is None
        seed, what = found or (None, f"not found in {asked.most} seeds")
        sys.stdout.write(f"{bug.name} | {seed} | {what}\n")
        sys.stdout.flush()
    return 1 if missed else 0


def hunt(bug: Bug, most: int) -> tuple[int, str] | None:
    """Run seeds from 0 on until one fails; return it, and what did not hold."""
    with tempfile.TemporaryDirectory() as there:
        copy = Path(there) / "src/continualml"
        shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        plant(bug, copy)
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seeds", str(most), "--first-failure"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(copy.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
    found = _FAILED.search(done.stdout)
    if found is None and done.returncode not in {0, 1}:
        raise RuntimeError(done.stderr[-2_000:])
    return (int(found[1]), found[2]) if found else None


def plant(bug: Bug, source: Path) -> None:
    """Edit a copy; what an edit is about must stand there once."""
    for name, old, new in bug.edits:
        text = (source / name).read_text("utf-8")
        if text.count(old) != 1:
            raise LookupError(f"{bug.name}: {name} has {text.count(old)} times {old!r}")
        (source / name).write_text(text.replace(old, new), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
