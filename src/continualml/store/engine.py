"""Opens the store and its transactions; the only place that knows which database it is."""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Connection,
    Engine,
    Table,
    bindparam,
    create_engine,
    event,
    inspect,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from continualml.errors import InputError
from continualml.store.tables import sequence

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

HEAD = "0001"
_MIGRATIONS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x636F6E74
_BUSY_MS = 10_000
_ROWS_AT_ONCE = 64
_TAKE = (
    sequence.update()
    .where(sequence.c.id == 1)
    .values(next=sequence.c.next + bindparam("n"))
    .returning(sequence.c.next)
)
_FULL = ("full", "disk i/o", "readonly", "unable to open", "locked")


class StoreUnavailableError(RuntimeError):
    """The log cannot be written now (disk full, locked, gone); nothing was written. Try again."""


def open_store(url: str, *, migrate: bool = True) -> Engine:
    """Open the store, create its tables or bring them up to date, and return its engine.

    Parameters
    ----------
    url
        ``sqlite:///path`` or ``postgresql+psycopg://…``.

    Raises
    ------
    InputError
        If the URL names another kind of database.
    StoreUnavailableError
        If it cannot be opened.
    """
    parsed = make_url(url)
    kind = parsed.get_backend_name()
    if kind not in {"sqlite", "postgresql"}:
        raise InputError("database_url", expected="sqlite or postgresql", got=kind)
    if kind == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, pool_pre_ping=kind == "postgresql")
    if kind == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    try:
        if migrate:
            _migrate(engine)
    except OperationalError as error:
        raise StoreUnavailableError(f"{parsed.render_as_string()}: {error.orig}") from error
    return engine


@contextmanager
def read(engine: Engine) -> Iterator[Connection]:
    """Open one transaction that sees one state of the store."""
    with engine.connect() as conn, conn.begin():
        yield conn


@contextmanager
def write(engine: Engine) -> Iterator[Connection]:
    """Open the one transaction that writes now; rows become visible in the order of their numbers.

    Raises
    ------
    StoreUnavailableError
        If the disk is full or the database locked or gone; nothing is written then.
    """
    try:
        with engine.connect().execution_options(writes=True) as conn, conn.begin():
            if engine.dialect.name == "postgresql":
                conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            yield conn
    except DBAPIError as error:
        said = str(error.orig).lower()
        if error.connection_invalidated or any(word in said for word in _FULL):
            raise StoreUnavailableError(str(error.orig)) from error
        raise


def take_numbers(conn: Connection, n: int) -> int:
    """Take ``n`` consecutive numbers of the log and return the first of them."""
    following = conn.execute(_TAKE, {"n": n}).scalar_one()
    return int(following) - n


def insert_rows(conn: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert many rows with few statements of the driver's own, each with many rows.

    A statement with many rows gives the interpreter's lock away once; a row at a time gives it
    away for each, and waits for the event loop to give it back.

    Raises
    ------
    IntegrityError
        If a row with the same key is there; the transaction is of no use then.
    """
    names = tuple(c.name for c in table.columns)
    mark = "?" if conn.dialect.paramstyle == "qmark" else "%s"
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[start : start + _ROWS_AT_ONCE]
        values = tuple(row[name] for row in part for name in names)
        conn.exec_driver_sql(_statement(table.name, names, len(part), mark), values)


@cache
def _statement(table: str, names: tuple[str, ...], n: int, mark: str) -> str:
    row = f"({', '.join([mark] * len(names))})"
    columns = ", ".join(f'"{name}"' for name in names)
    return f'INSERT INTO "{table}" ({columns}) VALUES {", ".join([row] * n)}'  # noqa: S608  names of our own tables


def _set_up_sqlite(connection: "DBAPIConnection", _record: Any) -> None:
    # SQLAlchemy begins transactions itself, so that a writer can say IMMEDIATE.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(conn: Connection) -> None:
    writes = conn.get_execution_options().get("writes", False)
    conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(engine: Engine) -> None:
    with engine.connect() as conn:
        if _revision(conn) == HEAD:
            return
    with _alone(engine), write(engine) as conn:
        if _revision(conn) == HEAD:  # another process did it while this one waited
            return
        # Imported here: Alembic is only needed when there is something to do.
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = conn
        command.upgrade(config, "head")


def _revision(conn: Connection) -> str | None:
    if not inspect(conn).has_table("alembic_version"):
        return None
    return conn.execute(text("SELECT version_num FROM alembic_version")).scalar()


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Hold a lock file beside a SQLite database; PostgreSQL's advisory lock is taken by write."""
    database = engine.url.database
    if engine.dialect.name != "sqlite" or not database:
        yield
        return
    with Path(f"{database}.lock").open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
