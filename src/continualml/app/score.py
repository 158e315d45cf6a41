"""Answers a whole table with the champion, through the same log as ``/predict``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from sqlalchemy import Engine

from continualml.app import tabular
from continualml.app.api import bodies
from continualml.app.api.answering import Answered, observed
from continualml.app.api.asking import of_rows
from continualml.app.api.champion import Champion, Champions
from continualml.app.api.predict import in_log, prediction
from continualml.app.api.problems import ProblemError
from continualml.errors import InputError, Said
from continualml.model import Model
from continualml.records import Json
from continualml.store.artifacts import Place
from continualml.store.engine import Appender, write
from continualml.store.log import Observed, append_observations
from continualml.store.tables import observations

ID: Final = "observation_id"


@dataclass(slots=True, kw_only=True)
class Scored:
    """What was done: rows answered, and how many of them the log had before."""

    model: str
    version: int
    rows: int = 0
    recorded: int = 0
    known: int = 0


def champion_of(engine: Engine, artifacts: Place, model: Model) -> Champion:
    """Load whoever answers for a model.

    Raises
    ------
    InputError
        If nobody does.
    """
    champions = Champions(engine, artifacts, {model.name: model})
    champions.look()
    try:
        return champions.of(model.name)
    except ProblemError as error:
        raise InputError(
            "model",
            expected="a model with a champion",
            got=Said(error.detail),
            remedy="train one first: continual train FILE",
        ) from None


def check(path: Path, model: Model) -> int:
    """Read a whole table and count its rows; nothing is scored unless all of it can be read.

    Raises
    ------
    InputError
        Names the row and the column that are wrong, or says that there is no row.
    """
    n = 0
    made = {"prediction", "version", *(f"probability_{c}" for c in model.classes)}
    for batch in tabular.read(path, model):
        if not n and (taken := sorted(made & set(batch.cells[0]))):
            remedy = "rename it: the output has a column of that name"
            raise InputError(
                str(path), expected=f"no column {taken[0]!r}", got=taken[0], remedy=remedy
            )
        _ids(model, batch)
        n += len(batch.cells)
    if not n:
        raise InputError(str(path), expected="one or more rows", got=Said("none"))
    return n


def score(
    path: Path,
    model: Model,
    champion: Champion,
    engine: Engine | None,
    write_rows: tabular.Writer,
    *,
    advance: Callable[[int], None],
) -> Scored:
    """Answer a table, batch after batch; each batch is on disk before it is written out.

    Parameters
    ----------
    engine
        The log; None leaves the rows out of it.
    advance
        Is told how many rows more are done.
    """
    done = Scored(model=model.name, version=champion.known.version)
    appender = Appender(engine, observations) if engine is not None else None
    try:
        for batch in tabular.read(path, model):
            (answer,) = champion.answers(batch.rows, [len(batch.rows)])
            if isinstance(answer, InputError):
                raise tabular.at_place(answer, batch.places) from None
            if isinstance(answer, Exception):
                raise answer
            asked = of_rows(batch.rows, _ids(model, batch))
            rows = observed(model, asked, done.version, answer, revision=champion.revision)
            if engine is not None and appender is not None:
                logged = _logged(engine, appender, rows, batch.places)
                done.known += sum(a is not b for a, b in logged)
                rows = [b for _, b in logged]
            write_rows(_told(model, batch.cells, rows, logged=engine is not None))
            done.rows += len(rows)
            advance(len(rows))
    finally:
        if appender is not None:
            appender.close()
    done.recorded = done.rows - done.known if engine is not None else 0
    return done


def _logged(
    engine: Engine, appender: Appender, rows: Sequence[Observed], places: Sequence[str]
) -> list[tuple[Observed, Observed]]:
    """Append rows; give each with what stands in the log under its id."""
    if appender.append(rows):
        return [(row, row) for row in rows]
    some = list(rows)
    with write(engine) as conn:
        there = append_observations(conn, some)
    for row, before, place in zip(some, there, places, strict=True):
        try:
            in_log(Answered([row], [before]))
        except ProblemError as error:
            raise InputError(
                f"{place}, column {ID}",
                expected="a new id, or one of a row with the same features",
                got=Said(error.detail.removeprefix("instances[0]: ")),
            ) from None
    return [(row, before or row) for row, before in zip(some, there, strict=True)]


def _ids(model: Model, batch: tabular.Batch) -> list[str | None]:
    """Take the ids from a column of that name, unless it is a feature."""
    if ID not in batch.cells[0] or any(f.name == ID for f in model.features):
        return [None] * len(batch.cells)
    found: list[str | None] = []
    for cells, place in zip(batch.cells, batch.places, strict=True):
        text = str(cells[ID]).strip() if cells[ID] is not None else ""
        try:
            found.append(msgspec.convert(text, bodies.ObservationId))
        except msgspec.ValidationError:
            expected = "a text of 1 to 200 characters that can be printed"
            raise InputError(f"{place}, column {ID}", expected=expected, got=text[:60]) from None
    return found


def _told(
    model: Model, cells: Sequence[Json], rows: Sequence[Observed], *, logged: bool
) -> list[Json]:
    told: list[Json] = []
    for there, row in zip(cells, rows, strict=True):
        said = prediction(model, np.frombuffer(row.answer or b"", "<f8"))
        one: Json = {**there, ID: row.observation_id} if logged else {**there}
        one["prediction"] = said["prediction"]
        for name, value in said.get("probabilities", {}).items():
            one[f"probability_{name}"] = value
        told.append(one | {"version": row.version})
    return told
