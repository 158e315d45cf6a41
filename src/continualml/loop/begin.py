"""The first champion, from a user's file: its rows go into the log like all others."""

import hashlib

import msgspec

from continualml import clock
from continualml.errors import InputError, Said
from continualml.learning.table import Table
from continualml.loop import carry_out
from continualml.loop.cycle import Loop
from continualml.records import LedgerEntry
from continualml.store.engine import read, write
from continualml.store.log import (
    Labelled,
    Observed,
    append_labels,
    append_observations,
    last_seq,
)


def from_table(loop: Loop, name: str, table: Table) -> LedgerEntry:
    """Log the file's rows and labels, and train the first champion on them.

    Rows are named by their content and place, so reading the same file again adds nothing.

    Raises
    ------
    InputError
        If the model has a champion already, or no version comes of the rows.
    """
    model = loop.models[name]
    with read(loop.engine) as conn:
        if carry_out.known(conn, name).standing is not None:
            raise InputError(
                f"models.{name}",
                expected="a model without a champion",
                got=Said("one with"),
                remedy="the loop trains the next ones by itself; to begin again, name another "
                "data directory (--data, or CONTINUAL_DATA)",
            )
    now = clock.now().timestamp()
    numeric = table.rows.numeric.astype("<f8")
    texts_of = table.rows.categorical.tolist()
    content = numeric.tobytes() + msgspec.json.encode((texts_of, table.labels))
    file = hashlib.sha256(content).hexdigest()[:12]
    seen = [
        Observed(
            model=name,
            observation_id=f"file-{file}-{i}",
            numeric=numeric[i].tobytes(),
            categorical=msgspec.json.encode(texts).decode() if model.categorical else None,
            version=None,
            answer=None,
            recorded_at=now,
        )
        for i, texts in enumerate(texts_of)
    ]
    labels = [
        Labelled(observation_id=o.observation_id, label=float(t) if not model.classes else t)
        for o, t in zip(seen, table.labels, strict=True)
    ]
    with write(loop.engine) as conn:
        append_observations(conn, seen)
        append_labels(conn, model, labels, now)
        through = last_seq(conn)
    return loop.first(name, through=through)
