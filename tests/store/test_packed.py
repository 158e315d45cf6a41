"""Rows that are packed by column come out of the log as rows that came one by one."""

from collections.abc import Sequence

import numpy as np
import pytest
from sqlalchemy import Engine, select

from continualml.app.api.answering import new_ids
from continualml.store import log
from continualml.store.engine import Appender, read
from continualml.store.packed import Packed, answers, ids
from continualml.store.tables import observations

N = 70


def packed(names: Sequence[str], *, version: int | None = 3) -> Packed:
    n = len(names)
    rng = np.random.default_rng(n)
    return Packed(
        model="m",
        ids=names,
        numeric=rng.normal(size=(n, 3)).tobytes(),
        version=version,
        answer=rng.random((n, 2)).tobytes() if version else None,
        recorded_at=1.5,
        revision=4 if version else None,
    )


@pytest.mark.parametrize(
    "names",
    [
        new_ids(1.0, N),
        [f"night/{i}" for i in range(N)],
        [f"Zürich {i} 🌙 " for i in range(N)],
        ["a"],
    ],
)
@pytest.mark.parametrize("version", [3, None])
def test_each_packed_row_stands_in_the_log_in_its_order(
    engine: Engine, names: Sequence[str], version: int | None
) -> None:
    rows, appender = packed(names, version=version), Appender(engine, observations)

    assert appender.append(rows)

    appender.close()
    with read(engine) as conn:
        asked = select(observations).order_by(observations.c.seq)
        found = conn.execute(asked).all()
        last = log.last_seq(conn)
    assert [r.observation_id for r in found] == list(names)
    assert [r.seq for r in found] == list(range(last - len(names) + 1, last + 1))
    names_of = [c.name for c in observations.c if c.name != "seq"]
    there = [log.Observed(**{name: getattr(r, name) for name in names_of}) for r in found]
    assert there == list(rows)
    assert all(isinstance(r.numeric, bytes) for r in found)
    assert (answers(rows), list(ids(rows))) == (answers(there), ids(there))


def test_rows_that_are_there_leave_the_whole_batch_out_and_the_numbers_go_on(
    engine: Engine,
) -> None:
    appender = Appender(engine, observations)
    assert appender.append(packed(["a", "b"]))
    assert not appender.append(packed(["c", "b"]))
    assert not appender.append(packed(["d", "d"]))

    assert appender.append(packed(["e"]))

    appender.close()
    with read(engine) as conn:
        found = conn.execute(select(observations.c.seq, observations.c.observation_id)).all()
    assert [name for _, name in found] == ["a", "b", "e"]
    assert [seq - found[0].seq for seq, _ in found] == [0, 1, 2]


def test_a_part_of_packed_rows_is_rows() -> None:
    rows = packed(["a", "b", "c"])
    assert rows[1:] == list(rows)[1:]
    assert rows[-1] == list(rows)[-1]
    with pytest.raises(IndexError):
        rows[3]


def test_many_new_ids_are_each_their_own_and_ascend() -> None:
    made = [i for _ in range(50) for i in new_ids(1_700_000_000.0, 100)]
    assert len(set(made)) == 5_000
    assert {len(i) for i in made} == {32}
    for at in range(0, 5_000, 100):
        assert made[at : at + 100] == sorted(made[at : at + 100])
    assert max(new_ids(1_699_999_999.0, 100)) < min(made)
    few = new_ids(1.0, 3)
    assert few.together.decode() == "".join(few)
    assert (few[1:], few[-1]) == (list(few)[1:], list(few)[-1])
