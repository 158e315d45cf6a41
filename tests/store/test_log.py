import resource
from pathlib import Path

import msgspec
import numpy as np
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select, update

from continualml import demo
from continualml.errors import InputError
from continualml.records import Decision
from continualml.store import artifacts, leases, ledger, pointers, tables, tokens, windows
from continualml.store.artifacts import ArtifactError
from continualml.store.engine import open_store, read, write
from continualml.store.log import (
    Labelled,
    Observed,
    append_labels,
    append_observations,
    last_seq,
    recorded,
)
from continualml.store.snapshots import get

MODEL = demo.DEMO


def row(observation_id: str, x: float = 0.0, version: int | None = None) -> Observed:
    return Observed(
        model="demo",
        observation_id=observation_id,
        numeric=np.array([x, 0, 0, 0], dtype="<f8").tobytes(),
        categorical=None,
        version=version,
        answer=None,
        recorded_at=1.0,
    )


def observe(engine: Engine, *ids: str) -> None:
    with write(engine) as conn:
        append_observations(conn, [row(i, float(n)) for n, i in enumerate(ids)])


def ask(engine: Engine, *ids: str) -> None:
    with write(engine) as conn:
        append_observations(
            conn, [msgspec.structs.replace(row(i, version=1), answer=bytes(16)) for i in ids]
        )


def label(engine: Engine, observation_id: str, said: object, revision: int = 0) -> tuple[str, str]:
    item = Labelled(observation_id=observation_id, label=said, revision=revision)
    with write(engine) as conn:
        answer = append_labels(conn, MODEL, [item], 1.0)[0]
    return answer.verdict, answer.reason or ""


def test_each_way_a_label_may_come_has_its_outcome(engine: Engine) -> None:
    observe(engine, "a")
    assert label(engine, "a", "yes")[0] == "accepted"
    assert label(engine, "a", "yes")[0] == "duplicate"
    assert label(engine, "a", "no") == (
        "rejected",
        "revision 0 says 'yes' already; send a correction with a higher revision",
    )
    assert label(engine, "a", "no", revision=2)[0] == "accepted"
    assert label(engine, "a", "yes", revision=1)[0] == "superseded"
    assert label(engine, "later", "no")[0] == "pending"
    verdict, reason = label(engine, "a", "perhaps", revision=9)
    assert (verdict, reason) == ("rejected", "expected one of ['no', 'yes'], got 'perhaps'")


def test_a_rejected_label_leaves_no_trace(engine: Engine) -> None:
    observe(engine, "a")
    before = _last(engine)
    label(engine, "a", "perhaps")
    assert _last(engine) == before


def test_an_observation_is_written_once_and_its_first_form_stands(engine: Engine) -> None:
    with write(engine) as conn:
        first = append_observations(conn, [row("a", 1.0), row("b", 2.0), row("a", 9.0)])
    with write(engine) as conn:
        second = append_observations(conn, [row("a", 5.0)])
    assert first[:2] == [None, None]
    assert first[2] == second[0] == row("a", 1.0)
    with read(engine) as conn:
        assert set(recorded(conn, [("demo", "a"), ("demo", "c")])) == {("demo", "a")}


def test_a_label_that_came_first_joins_when_its_observation_comes(engine: Engine) -> None:
    label(engine, "late", "yes")
    observe(engine, "early")
    label(engine, "early", "no")
    observe(engine, "late")
    with read(engine) as conn:
        window = windows.joined(conn, MODEL, 0)
    assert window.target.tolist() == [0.0, 1.0]  # early first: late was joined by its observation
    assert window.seq.tolist() == sorted(window.seq.tolist())


def test_evidence_reads_first_labels_and_training_the_latest_correction(engine: Engine) -> None:
    observe(engine, "a", "b")
    label(engine, "a", "no")
    label(engine, "b", "no")
    before = _last(engine)
    label(engine, "a", "yes", revision=3)
    label(engine, "a", "no", revision=1)
    with read(engine) as conn:
        evidence = windows.joined(conn, MODEL, 0)
        now = windows.training(conn, MODEL, through=_last(engine), newest=10)
        then = windows.training(conn, MODEL, through=before, newest=10)
    assert evidence.target.tolist() == [0.0, 0.0]
    assert now.target.tolist() == [1.0, 0.0]
    assert then.target.tolist() == [0.0, 0.0]  # what was known then can be read again


def test_events_say_how_many_rows_each_first_label_waited(engine: Engine) -> None:
    label(engine, "early", "yes")
    ask(engine, "a")
    observe(engine, "file")  # never asked, labelled at once
    label(engine, "file", "yes")
    ask(engine, "never", "b")
    ask(engine, "early")
    label(engine, "a", "no")
    label(engine, "a", "yes", revision=1)  # a correction settles nothing
    label(engine, "unknown", "yes")  # its observation never comes
    ask(engine, "c")
    label(engine, "c", "no")
    label(engine, "b", "no")
    with read(engine) as conn:
        whole = windows.events(conn, MODEL, 0, upto=_last(engine))
        cut = [
            windows.events(conn, MODEL, at, upto=_last(engine), limit=1)
            for at in (whole.seq - 1).tolist()
        ]
        mark = int(whole.seq[4])
        upto = windows.events(conn, MODEL, 0, upto=mark)
        third = windows.nth_observed(conn, MODEL, int(whole.seq[0]), 3)
        assert windows.nth_observed(conn, MODEL, 0, 6) is None
        assert len(windows.events(conn, MODEL, _last(engine), upto=10**9)) == 0
    none = np.nan
    # a, never, b, early (joined already), a's label, c, c's label, b's label
    assert whole.observed.tolist() == [True] * 4 + [False, True, False, False]
    np.testing.assert_array_equal(whole.delay, [none, none, none, 0, 3, none, 0, 2])
    assert (np.diff(whole.seq) > 0).all()
    for part in ("seq", "observed", "delay"):
        together = np.concatenate([getattr(one, part) for one in cut])
        np.testing.assert_array_equal(together, getattr(whole, part))
        np.testing.assert_array_equal(getattr(upto, part), getattr(whole, part)[:5])
    assert third == whole.seq[3]


def test_a_delay_is_counted_up_to_a_largest(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "LONGEST_DELAY", 3)
    ask(engine, *"abcdefgh")
    for one in "hcba":
        label(engine, one, "no")
    ask(engine, "i", "j")
    label(engine, "g", "no")
    with read(engine) as conn:
        whole = windows.events(conn, MODEL, 0, upto=_last(engine))
        alone = [
            windows.events(conn, MODEL, at, upto=_last(engine), limit=1)
            for at in (whole.seq - 1).tolist()
        ]
    delays = [d for d in whole.delay.tolist() if not np.isnan(d)]
    assert delays == [0, 3, 3, 3, 3]  # 0, 5, 6, 7 and 3
    assert [d for one in alone for d in one.delay.tolist() if not np.isnan(d)] == delays


@given(order=st.permutations(range(12)), cut=st.integers(0, 24))
def test_rows_below_a_watermark_never_change(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], cut: int
) -> None:
    engine = open_store(f"sqlite:///{tmp_path_factory.mktemp('store') / 'log.sqlite'}")
    events = [f"{'o' if i % 2 else 'l'}{i // 2}" for i in order]
    seen: list[int] = []
    mark = 0
    for n, event in enumerate(events):
        if event[0] == "o":
            observe(engine, event[1:])
        else:
            label(engine, event[1:], "yes")
        if n == cut:
            with read(engine) as conn:
                part = windows.joined(conn, MODEL, 0)
            seen, mark = part.seq.tolist(), _last(engine)
    with read(engine) as conn:
        whole = windows.joined(conn, MODEL, 0)
        rest = windows.joined(conn, MODEL, mark)
        assert windows.n_joined(conn, MODEL, mark) == len(rest)
    assert seen + rest.seq.tolist() == whole.seq.tolist()
    assert len(whole) == 6
    engine.dispose()


def test_migrated_tables_are_the_tables(engine: Engine) -> None:
    with engine.connect() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []


def test_opening_a_store_again_changes_nothing(url: str) -> None:
    first = open_store(url)
    observe(first, "a")
    first.dispose()
    again = open_store(url)
    assert _last(again) == 1
    again.dispose()


def test_a_read_that_fails_midway_leaves_no_old_view_behind(engine: Engine) -> None:
    observe(engine, "a", "b", "c")
    with pytest.raises(ValueError, match="invalid literal") as kept, read(engine) as conn:
        [int(r.observation_id) for r in conn.execute(select(tables.observations))]
    another = open_store(engine.url.render_as_string(hide_password=False))
    observe(engine, "d")
    observe(another, "e")
    observe(engine, "f")
    another.dispose()
    assert _last(engine) == 6
    assert kept.traceback  # its frames held the statement that was not read to its end


def test_another_kind_of_database_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="database_url: expected sqlite or postgresql"):
        open_store("mysql://somewhere/else")


def test_a_changed_ledger_entry_is_found(engine: Engine) -> None:
    with write(engine) as conn:
        for n in range(5):
            ledger.record(conn, Decision(model="m", kind="keep", seq=n, because="so"), "2026-01-01")
    with read(engine) as conn:
        assert ledger.verify(conn) is None
    with write(engine) as conn:
        conn.execute(update(tables.ledger).where(tables.ledger.c.n == 3).values(because="other"))
    with read(engine) as conn:
        assert ledger.verify(conn) == 3
        assert get(conn, "m") is None


def test_an_artifact_with_changed_bytes_is_refused(tmp_path: Path) -> None:
    sha256 = artifacts.write(tmp_path, b"graph")
    assert artifacts.read(tmp_path, sha256) == b"graph"
    (tmp_path / f"{sha256}.onnx").write_bytes(b"grapH")
    with pytest.raises(ArtifactError, match="was changed"):
        artifacts.read(tmp_path, sha256)
    with pytest.raises(ArtifactError, match="expected a SHA-256"):
        artifacts.read(tmp_path, "../../etc/passwd")


def test_an_artifact_that_did_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            artifacts.write(tmp_path, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []

    artifacts.write(tmp_path, bytes(100_000))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_lease_is_held_by_one_and_ends_when_the_clock_was_set_back(engine: Engine) -> None:
    assert leases.acquire(engine, "cycle", "one", 60)
    assert leases.acquire(engine, "cycle", "one", 60)
    assert not leases.acquire(engine, "cycle", "two", 60)
    leases.release(engine, "cycle", "two")  # not its own
    assert not leases.acquire(engine, "cycle", "two", 60)
    leases.release(engine, "cycle", "one")
    assert leases.acquire(engine, "cycle", "two", 0.0)
    assert leases.acquire(engine, "cycle", "one", 60)  # the other has run out
    future = {"taken_at": 4e9, "expires_at": 4e9 + 60}
    with write(engine) as conn:
        conn.execute(update(tables.leases).values(**future))
    assert leases.acquire(engine, "cycle", "two", 60)


def test_a_lease_that_was_taken_while_another_waited_to_write_is_held(engine: Engine) -> None:
    taken: list[bool] = []

    def first(*_connection: object) -> None:
        if not taken:  # "two" is about to begin, and does not hold the store yet
            taken.append(True)
            assert leases.acquire(engine, "cycle", "one", 60)

    sqlalchemy.event.listen(engine, "checkout", first)
    assert not leases.acquire(engine, "cycle", "two", 60)


def test_a_way_back_that_is_a_blend_has_the_revision_that_it_had_as_champion(
    engine: Engine,
) -> None:
    first, second = (0.25, 0.75), (0.5, 0.5)
    with write(engine) as conn:
        pointers.point(conn, "m", "champion", 1, 0, revision=5, weights=first)
        pointers.point(conn, "m", "champion", 2, 1, revision=9, weights=second)
        pointers.point(conn, "m", "previous", 1, 1, revision=9, weights=first)
    with read(engine) as conn:
        back = pointers.pointer(conn, "m", "previous")
        assert back == pointers.Pointer(version=1, revision=5, weights=first)
        assert pointers.weights_of(conn, "m", 5) == first
        assert pointers.pointer(conn, "m", "anchor") is None


def test_a_token_opens_until_it_is_revoked_and_is_kept_as_a_hash(engine: Engine) -> None:
    with write(engine) as conn:
        token, secret = tokens.create(conn, "app", ("predict",))
        assert secret not in repr(tokens.listed(conn))
        assert tokens.check(conn, secret) == token
        assert tokens.check(conn, secret + "x") is None
        assert token.allows("predict")
        assert not token.allows("read")
        assert tokens.revoke(conn, token.id)
        assert tokens.check(conn, secret) is None
        with pytest.raises(InputError, match="scopes: expected one or more of"):
            tokens.create(conn, "app", ("everything",))


def _last(engine: Engine) -> int:
    with read(engine) as conn:
        return last_seq(conn)
