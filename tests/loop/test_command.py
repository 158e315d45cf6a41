import re

import msgspec
import numpy as np
import pytest
from sqlalchemy import delete, select

from continualml import decide, demo
from continualml.errors import InputError
from continualml.loop import carry_out
from continualml.loop.command import accept, command
from continualml.loop.replay import replay
from continualml.records import LedgerEntry
from continualml.scoring.session import Session
from continualml.store import artifacts, ledger, pointers
from continualml.store.engine import read, write
from continualml.store.log import Labelled, Observed, append_labels, append_observations
from continualml.store.tables import outbox, outcomes, snapshots
from tests.conftest import Home


def order(home: Home, version: int | None, said: str = "it answers nonsense") -> LedgerEntry:
    directory = home.directory / "artifacts"
    return command(home.engine, directory, "demo", version=version, said=said, by="ada@desk")


def champion(home: Home) -> int:
    with read(home.engine) as conn:
        return pointers.pointed(conn, "demo")["champion"]


def counts(home: Home) -> tuple[int, int, dict[str, int]]:
    with read(home.engine) as conn:
        n = len(conn.execute(select(outcomes.c.seq)).all())
        return n, len(ledger.entries(conn, limit=10_000)), pointers.pointed(conn, "demo")


def known(home: Home) -> decide.Known:
    with read(home.engine) as conn:
        return carry_out.known(conn, "demo")


@pytest.fixture
def turned(home: Home) -> Home:
    home.send(150, seed=1)
    home.loop.turn("demo")
    return home


def test_a_command_moves_the_pointer_and_is_written_down_and_replayed(turned: Home) -> None:
    entry = order(turned, 2)
    assert champion(turned) == 2
    assert (entry.decision.kind, entry.decision.basis["by_hand"]) == ("promote", "ada@desk")
    turned.send(150, seed=2)
    turned.loop.turn("demo")
    with read(turned.engine) as conn:
        pointer = conn.exec_driver_sql(
            "SELECT decided_by FROM pointers WHERE alias = 'anchor'"
        ).scalar_one()
        assert ledger.verify(conn) is None
        assert replay(conn, "demo").differences == ()
    assert pointer == entry.n


def test_a_lost_snapshot_is_folded_anew_over_a_command(turned: Home) -> None:
    order(turned, 2)
    before = known(turned)
    with write(turned.engine) as conn:
        conn.execute(delete(snapshots))
    assert msgspec.json.encode(known(turned)) == msgspec.json.encode(before)


def test_an_incident_that_a_person_accepts_is_written_down_and_replayed(turned: Home) -> None:
    with pytest.raises(InputError, match="accept: expected a model with an open incident"):
        accept(turned.engine, "demo", said="new sensor", by="ada@desk")
    turned.send(400, seed=2, drift=3.0)  # as good as flipped labels
    turned.loop.turn("demo")
    assert known(turned).standing.incident is not None  # type: ignore[union-attr]
    before = counts(turned)
    with pytest.raises(InputError, match="because: expected a reason"):
        accept(turned.engine, "demo", said=" ", by="ada@desk")
    assert counts(turned) == before
    entry = accept(turned.engine, "demo", said="new sensor", by="ada@desk")
    assert entry.decision.kind == "recover"
    assert known(turned).standing.incident is None  # type: ignore[union-attr]
    turned.send(100, seed=3, drift=3.0)
    turned.loop.turn("demo")
    assert known(turned).standing.incident is None  # type: ignore[union-attr]
    with read(turned.engine) as conn:
        assert replay(conn, "demo").differences == ()


class Lagging:
    """Rows that version 1 answers, labelled 400 rows later; a feature stands still from 700 on."""

    def __init__(self, home: Home) -> None:
        self.home, self.at = home, 0
        self.rows, self.truth = demo.generate(3_000, seed=5, noise=0.5, drift=0.0)
        self.rows.numeric[700:, 0] = 0.0
        with read(home.engine) as conn:
            first = pointers.version(conn, "demo", 1)
        assert first is not None
        session = Session(artifacts.read(home.directory / "artifacts", first.sha256))
        self.answers = session.answer(self.rows).astype(np.float64)

    def serve(self, n: int) -> None:
        for i in range(self.at, self.at + n):
            one = Observed(
                model="demo",
                observation_id=f"lagging-{i}",
                numeric=self.rows.numeric[i].tobytes(),
                categorical=None,
                version=1,
                answer=self.answers[i].tobytes(),
                recorded_at=float(i),
            )
            with write(self.home.engine) as conn:
                append_observations(conn, [one])
                if (j := i - 400) >= 0:
                    label = demo.DEMO.classes[int(self.truth[j])]
                    said = Labelled(observation_id=f"lagging-{j}", label=label)
                    append_labels(conn, demo.DEMO, [said], float(i))
            if i % 100 == 0:  # seldomer, and rows from before let the incident heal
                self.home.loop.turn("demo")
        self.at += n
        self.home.loop.turn("demo")


def test_a_feed_is_accepted_only_when_enough_of_its_rows_have_labels(home: Home) -> None:
    world = Lagging(home)
    world.serve(700)
    assert known(home).standing.incident is None  # type: ignore[union-attr]
    world.serve(500)
    incident = known(home).standing.incident  # type: ignore[union-attr]
    assert incident is not None
    assert incident.name == "broken feed"
    before = counts(home)
    wanted = r"accept: expected 300 labelled rows observed since .* the labels of (\d+) more"
    with pytest.raises(InputError, match=wanted) as refused:
        accept(home.engine, "demo", said="new sensor", by="ada@desk")
    assert counts(home) == before
    found = re.search(wanted, str(refused.value))
    assert found is not None
    missing = int(found[1])
    assert 200 <= missing < 300  # 100 rows of the new kind have labels, 500 labels came since
    world.serve(missing)
    accept(home.engine, "demo", said="new sensor", by="ada@desk")
    home.loop.turn("demo")
    drift = known(home).standing.drift  # type: ignore[union-attr]
    assert drift is not None
    assert drift.columns.rows == 300  # none of the 400 and more that were observed before
    world.serve(300)
    assert known(home).standing.incident is None  # type: ignore[union-attr]
    with read(home.engine) as conn:
        assert replay(conn, "demo").differences == ()


def test_a_blend_answers_with_the_weights_that_it_has(turned: Home) -> None:
    state = known(turned).standing
    assert state is not None
    blend = state.heads[decide.BLEND]
    order(turned, blend.version)
    with read(turned.engine) as conn:
        pointer = pointers.pointer(conn, "demo", "champion")
    assert pointer is not None
    assert pointer.version == blend.version
    assert len(pointer.weights) == len(blend.members)
    assert sum(pointer.weights) == pytest.approx(1)


def test_an_old_version_that_the_loop_has_forgotten_may_be_called_back(turned: Home) -> None:
    turned.send(600, seed=3)
    turned.loop.turn("demo")
    state = known(turned).standing
    assert state is not None
    there = [state.champion, state.anchor, state.previous, *state.heads.values(), *state.archive]
    gone = next(v for v in range(2, 50) if v not in {a.version for a in there if a})
    order(turned, gone)
    turned.send(60, seed=4)
    turned.loop.turn("demo")
    with read(turned.engine) as conn:
        assert replay(conn, "demo").differences == ()
    assert champion(turned) == gone


def test_the_mirror_is_told(turned: Home) -> None:
    order(turned, 2)
    with write(turned.engine) as conn:
        bodies = [msgspec.json.decode(b) for b in conn.execute(select(outbox.c.body)).scalars()]
    assert {"event": "alias", "model": "demo", "alias": "champion", "version": 2} in bodies


def test_a_turn_under_way_finds_itself_overtaken(turned: Home) -> None:
    old = known(turned)
    order(turned, 2)
    with read(turned.engine) as conn:
        some = carry_out.known(conn, "demo").standing
    assert some is not None
    outcome = decide.command_of(some.champion, back=False, said="late", by="nobody")
    with pytest.raises(carry_out.OvertakenError), write(turned.engine) as conn:
        carry_out.take_in(conn, old, "demo", outcome, at=0.0, recorded_at="2026-01-01")
    assert champion(turned) == 2


def test_what_cannot_be_carried_out_is_refused_and_changes_nothing(turned: Home) -> None:
    before = counts(turned)
    with pytest.raises(InputError, match="expected a version of demo, got 999"):
        order(turned, 999)
    with pytest.raises(InputError, match="expected a reason"):
        order(turned, 2, said=" ")
    with pytest.raises(InputError, match="expected one that does not answer, got 1"):
        order(turned, 1)
    with pytest.raises(InputError, match="expected a version to go back to"):
        order(turned, None)
    with read(turned.engine) as conn:
        version = pointers.version(conn, "demo", 2)
    assert version is not None
    path = turned.directory / "artifacts" / f"{version.sha256}.onnx"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(InputError, match=r"a version that can be loaded, got 2.*was changed"):
        order(turned, 2)
    path.unlink()
    with pytest.raises(InputError, match=r"a version that can be loaded, got 2.*is missing in"):
        order(turned, 2)
    with pytest.raises(InputError, match=r"models\.other: expected a model with a champion"):
        command(turned.engine, path.parent, "other", version=1, said="so", by="ada")
    assert counts(turned) == before
