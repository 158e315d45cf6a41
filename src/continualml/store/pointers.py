"""Versions, and the pointers that name them: champion, challenger, previous, anchor."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, Row, delete, func, insert, select

from continualml.records import Json, Version
from continualml.store import artifacts, ledger
from continualml.store.tables import pointers, revisions, versions


def register(
    conn: Connection,
    model: str,
    sha256: str,
    *,
    strategy: str,
    manifest: Json,
    recorded_at: str,
) -> Version:
    """Give an artifact the model's next number."""
    last = conn.execute(
        select(func.max(versions.c.version)).where(versions.c.model == model)
    ).scalar()
    number = int(last or 0) + 1
    conn.execute(
        insert(versions).values(
            model=model,
            version=number,
            sha256=sha256,
            strategy=strategy,
            manifest=json.dumps(manifest),
            recorded_at=recorded_at,
        )
    )
    return Version(
        model=model,
        version=number,
        sha256=sha256,
        strategy=strategy,
        manifest=manifest,
        recorded_at=recorded_at,
    )


def version(conn: Connection, model: str, number: int) -> Version | None:
    """Read one version."""
    row = conn.execute(
        select(versions).where(versions.c.model == model, versions.c.version == number)
    ).one_or_none()
    return None if row is None else _version(row)


def versions_of(
    conn: Connection, model: str, *, before: int | None = None, limit: int = 50
) -> list[Version]:
    """Read a model's versions, the newest first, below the cursor ``before``."""
    asked = select(versions).where(versions.c.model == model)
    asked = asked if before is None else asked.where(versions.c.version < before)
    found = conn.execute(asked.order_by(versions.c.version.desc()).limit(limit))
    return [_version(row) for row in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """An artifact that a version needs: its graph, or what its learner needs to go on."""

    model: str
    version: int
    sha256: str
    kind: str


def named_in(body: str, model: str) -> int | None:
    """Read which version of a model a message is about; None of another one's, or none."""
    told = json.loads(body)
    version = told.get("version") if told.get("model") == model else None
    return version if isinstance(version, int) else None


def artifacts_named(conn: Connection) -> Iterator[Named]:
    """Name every artifact that the versions need, but for those that were collected."""
    gone = ledger.collected(conn)
    asked = select(versions).order_by(versions.c.model, versions.c.version)
    for row in conn.execute(asked.execution_options(yield_per=100)):
        needed = {artifacts.GRAPH: row.sha256}
        if (state := json.loads(row.manifest).get("state")) is not None:
            needed[artifacts.LEARNER] = state
        for kind, sha256 in needed.items():
            if (row.model, row.version, kind) in gone:
                continue
            yield Named(model=row.model, version=row.version, sha256=sha256, kind=kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Where an alias points; a blend's has the weights of its members and their revision."""

    version: int
    revision: int | None = None
    weights: tuple[float, ...] = ()


def point(
    conn: Connection,
    model: str,
    alias: str,
    number: int,
    decided_by: int,
    *,
    revision: int | None = None,
    weights: tuple[float, ...] = (),
) -> None:
    """Move one pointer; ``decided_by`` is the ledger entry that says why.

    A champion's weights are kept for ever under their revision, so that what was answered with
    them can be computed again.
    """
    conn.execute(delete(pointers).where(pointers.c.model == model, pointers.c.alias == alias))
    written = json.dumps(weights) if weights else None
    conn.execute(
        insert(pointers).values(
            model=model,
            alias=alias,
            version=number,
            decided_by=decided_by,
            revision=revision,
            weights=written,
        )
    )
    if alias == "champion" and weights:
        conn.execute(
            insert(revisions).values(
                model=model, revision=revision, version=number, weights=written
            )
        )


def lift(conn: Connection, model: str, alias: str) -> None:
    """Let an alias point nowhere."""
    conn.execute(delete(pointers).where(pointers.c.model == model, pointers.c.alias == alias))


def pointed(conn: Connection, model: str) -> dict[str, int]:
    """Read where every pointer of a model points."""
    asked = select(pointers.c.alias, pointers.c.version).where(pointers.c.model == model)
    return {alias: number for alias, number in conn.execute(asked)}  # noqa: C416  rows, not pairs


def pointer(conn: Connection, model: str, alias: str) -> Pointer | None:
    """Read where one alias points, and with which weights."""
    row = conn.execute(
        select(pointers).where(pointers.c.model == model, pointers.c.alias == alias)
    ).one_or_none()
    if row is None:
        return None
    revision = row.revision
    if row.weights and alias != "champion":
        # Its own number is another champion's: it had these weights as a champion before.
        revision = conn.execute(
            select(func.max(revisions.c.revision)).where(
                revisions.c.model == model,
                revisions.c.version == row.version,
                revisions.c.weights == row.weights,
            )
        ).scalar()
    weights = tuple(json.loads(row.weights)) if row.weights else ()
    return Pointer(version=row.version, revision=revision, weights=weights)


def weights_of(conn: Connection, model: str, revision: int) -> tuple[float, ...] | None:
    """Read the weights that a blend had at a revision."""
    asked = select(revisions.c.weights).where(
        revisions.c.model == model, revisions.c.revision == revision
    )
    found = conn.execute(asked).scalar()
    return None if found is None else tuple(json.loads(found))


def last_weights(conn: Connection, model: str, number: int) -> tuple[float, ...] | None:
    """Read the last weights with which a blend's version answered; None if it never did."""
    asked = (
        select(revisions.c.weights)
        .where(revisions.c.model == model, revisions.c.version == number)
        .order_by(revisions.c.revision.desc())
        .limit(1)
    )
    found = conn.execute(asked).scalar()
    return None if found is None else tuple(json.loads(found))


def _version(row: Row[tuple[object, ...]]) -> Version:
    return Version(
        model=row.model,
        version=row.version,
        sha256=row.sha256,
        strategy=row.strategy,
        manifest=json.loads(row.manifest),
        recorded_at=row.recorded_at,
    )
