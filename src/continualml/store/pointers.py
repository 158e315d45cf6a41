"""Versions, and the pointers that name them: champion, challenger, previous, anchor."""

import json

from sqlalchemy import Connection, Row, delete, func, insert, select

from continualml.records import Json, Version
from continualml.store.tables import pointers, versions


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


def point(conn: Connection, model: str, alias: str, number: int, decided_by: int) -> None:
    """Move one pointer; ``decided_by`` is the ledger entry that says why."""
    conn.execute(delete(pointers).where(pointers.c.model == model, pointers.c.alias == alias))
    conn.execute(
        insert(pointers).values(model=model, alias=alias, version=number, decided_by=decided_by)
    )


def pointed(conn: Connection, model: str) -> dict[str, int]:
    """Read where every pointer of a model points."""
    asked = select(pointers.c.alias, pointers.c.version).where(pointers.c.model == model)
    return {alias: number for alias, number in conn.execute(asked)}  # noqa: C416  rows, not pairs


def _version(row: Row[tuple[object, ...]]) -> Version:
    return Version(
        model=row.model,
        version=row.version,
        sha256=row.sha256,
        strategy=row.strategy,
        manifest=json.loads(row.manifest),
        recorded_at=row.recorded_at,
    )
