"""Opens the store and its transactions; the only place that knows which database it is."""

import fcntl
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import (
    ColumnElement,
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
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from continualml.errors import InputError
from continualml.store import private
from continualml.store.tables import sequence

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext

# What a commit outlives: a power cut, or the end of this process alone.
Durability = Literal["power", "process"]

HEAD = "0003"
REPAIR = "stop everything, keep a copy of it, and restore a backup: docs/backup.md"
_MIGRATIONS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x636F6E74
_BUSY_MS = 10_000
_ROWS_AT_ONCE = 64
_PAD = 31
_PADDING = bytes([_PAD])
_TAKE = (
    sequence.update()
    .where(sequence.c.id == 1)
    .values(next=sequence.c.next + bindparam("n"))
    .returning(sequence.c.next)
)
# SQLSTATE's classes of a lost connection, of full disks and memory, of a server that is stopped.
_AWAY = ("08", "53", "57")
_PLACES = "CREATE TEMP TABLE places (i INTEGER PRIMARY KEY);"
_SYNCHRONOUS = {"power": "FULL", "process": "NORMAL"}
# A server that is stricter than "on" by its own configuration stays so.
_SYNCHRONOUS_COMMIT = {
    "power": "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') = 'off'",
    "process": "SET synchronous_commit TO OFF",
}
_DAMAGED = ("malformed", "not a database")
_ONLY_READS = "25006"  # another server was made the primary
_POOL: dict[str, dict[str, Any]] = {"postgresql": {"pool_pre_ping": True, "pool_timeout": 5.0}}
_FULL = ("full", "disk i/o", "readonly", "unable to open", "locked")


class StoreUnavailableError(RuntimeError):
    """The log cannot be written now (disk full, locked, gone); nothing was written. Try again."""


class StoreDamagedError(StoreUnavailableError):
    """The database's pages are not what was written. No waiting heals that; a backup does."""

    def __init__(self, said: object) -> None:
        super().__init__(f"the log is damaged ({said}); {REPAIR}")


class CommitUnknownError(StoreUnavailableError):
    """The database was lost while it committed: whether all was written, or nothing, is unknown.

    Whoever holds the writers' lock next finds it out, as what was under way then is through.
    """


def open_store(url: str, *, migrate: bool = True, durability: Durability = "power") -> Engine:
    """Open the store, create its tables or bring them up to date, and return its engine.

    Parameters
    ----------
    url
        ``sqlite:///path`` or ``postgresql://…``, which psycopg speaks.
    durability
        What its commits outlive. One that outlives a power cut takes with it all that were made
        before it, whoever made them.

    Raises
    ------
    InputError
        If the URL names another kind of database, or its driver is not installed.
    StoreUnavailableError
        If it cannot be opened.
    """
    parsed = make_url(url)
    kind = parsed.get_backend_name()
    if kind not in {"sqlite", "postgresql"}:
        raise InputError("database_url", expected="sqlite or postgresql", got=kind)
    if kind == "sqlite" and parsed.database:
        _make_private(Path(parsed.database))
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        # An error's text goes into logs: what a statement was about to write does not belong there.
        engine = create_engine(
            parsed,
            hide_parameters=True,
            execution_options={"durability": durability},
            **_POOL.get(kind, {}),
        )
    except ModuleNotFoundError as error:
        remedy = "install the extra postgresql" if kind == "postgresql" else None
        raise InputError(
            "database_url", expected="a driver that is installed", got=error.name, remedy=remedy
        ) from None
    set_up = _set_up_sqlite if kind == "sqlite" else _set_up_postgresql
    event.listen(engine, "connect", partial(set_up, durability))
    if kind == "sqlite":
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "do_connect", _connect_patiently)
        event.listen(engine, "handle_error", _leave_who_only_reads)
    try:
        if migrate:
            _migrate(engine)
    except DBAPIError as error:
        if is_damage(error.orig):
            raise StoreDamagedError(f"{parsed.render_as_string()}: {error.orig}") from error
        if not isinstance(error, OperationalError):
            raise
        raise StoreUnavailableError(f"{parsed.render_as_string()}: {error.orig}") from error
    return engine


def _make_private(database: Path) -> None:
    """Create the file before SQLite does, which would let everybody read what clients sent."""
    try:
        private.make_folder(database.parent)
        if str(database) != ":memory:" and not database.exists():
            private.make_file(database)
    except OSError as error:
        raise StoreUnavailableError(f"{database}: {error.strerror}") from error


@contextmanager
def read(engine: Engine) -> Iterator[Connection]:
    """Open one transaction that sees one state of the store.

    Raises
    ------
    StoreUnavailableError
        If the database is gone.
    """
    level = {"isolation_level": "REPEATABLE READ"} if _is_postgresql(engine) else {}
    with _told(), engine.connect().execution_options(**level) as conn, conn.begin():
        try:
            yield conn
        except Exception:
            # In the pool a statement that was not read to its end would go on seeing this state,
            # and SQLite lets nobody write from an old one.
            conn.invalidate()
            raise


@contextmanager
def write(engine: Engine) -> Iterator[Connection]:
    """Open the one transaction that writes now; rows become visible in the order of their numbers.

    Raises
    ------
    StoreUnavailableError
        If the disk is full or the database locked or gone; nothing is written then.
    CommitUnknownError
        If the database is lost while it commits.
    """
    with _told(), engine.connect().execution_options(writes=True) as conn, conn.begin() as whole:
        if _is_postgresql(engine):
            conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        yield conn
        try:
            whole.commit()
        except BaseException as error:
            if isinstance(error, DBAPIError) and error.connection_invalidated:
                raise CommitUnknownError(str(error.orig)) from error
            # What could not be committed is not rolled back by itself, and would hold the lock.
            conn.invalidate()
            raise


@contextmanager
def _told() -> Iterator[None]:
    """Say of an error of the database whether trying again may heal it."""
    try:
        yield
    except DBAPIError as error:
        if is_damage(error.orig):
            raise StoreDamagedError(error.orig) from error
        if error.connection_invalidated or _heals(error):
            raise StoreUnavailableError(str(error.orig)) from error
        raise
    except PoolTimeoutError as error:  # every connection is in use
        raise StoreUnavailableError(str(error)) from error


def is_damage(error: BaseException | None) -> bool:
    """Tell whether an error of the driver's says that SQLite's pages are broken."""
    return any(word in str(error).lower() for word in _DAMAGED)


def _heals(error: DBAPIError) -> bool:
    raised = error.orig
    if not hasattr(raised, "sqlstate"):
        return _passes(raised)
    # psycopg's; without a state the server was not reached
    state: str | None = getattr(raised, "sqlstate", None)
    return isinstance(error, OperationalError) and (not state or state[:2] in _AWAY)


def _is_postgresql(engine: Engine) -> bool:
    return engine.dialect.name == "postgresql"


class Unindexed(FunctionElement[Any]):
    """A column that no index is looked up by: the rows are found by something better.

    SQLite knows nothing of how many rows there are of a kind, and would rather read all rows of a
    model by an index that begins with it than the few above a number.
    """

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(Unindexed)
def _as_it_is(element: Unindexed, compiler: SQLCompiler, **how: Any) -> str:
    return str(compiler.process(element.clauses, **how))


@compiles(Unindexed, "sqlite")
def _without_index(element: Unindexed, compiler: SQLCompiler, **how: Any) -> str:
    return f"+{compiler.process(element.clauses, **how)}"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Rows of a table, by column.

    Parameters
    ----------
    n
        How many rows, at least one.
    same
        Columns that have one value in all rows.
    cut
        Columns of bytes: those of all rows, in pieces of equal length.
    texts
        Columns of texts without control characters.
    cut_texts
        Columns of ASCII texts: those of all rows, in pieces of equal length.
    """

    n: int
    same: Mapping[str, object]
    cut: Mapping[str, bytes]
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    cut_texts: Mapping[str, bytes] = field(default_factory=dict)


class Appender:
    """Appends rows to one table of the log, each batch in a transaction of its own.

    On SQLite a batch is one statement on a connection that stays open: numbers, rows and commit
    happen in one call of the driver, which gives the interpreter's lock away once. With a call for
    each of them the thread waits for the lock again and again, and the event loop beside it too.

    Parameters
    ----------
    waits
        Whether to wait while another process writes; if not, SQLite's is unavailable then.
    """

    def __init__(self, engine: Engine, table: Table, *, waits: bool = True) -> None:
        self._engine = engine
        self._table = table
        self._waits = waits
        self._names = tuple(c.name for c in table.columns if c.name != "seq")
        self._values = attrgetter(*self._names)
        self._connection: Any = None
        self._places = 0
        self._views: dict[tuple[tuple[str, ...], ...], tuple[str, tuple[str, ...]]] = {}

    def append(self, rows: Sequence[object]) -> bool:
        """Append rows, which have the table's columns as attributes, and commit them.

        Rows that have ``columns`` together are written from there, without looking at each.

        Returns
        -------
        Whether they were written; none was, if one with the same key is there.

        Raises
        ------
        StoreUnavailableError
            If the disk is full or the database locked or gone; nothing is written then.
        """
        if self._engine.dialect.name != "sqlite":
            named = [dict(zip(self._names, self._values(row), strict=True)) for row in rows]
            return append_alone(self._engine, self._table, named)
        columns = getattr(rows, "columns", None)
        failures = self._engine.dialect.loaded_dbapi
        try:
            if isinstance(columns, Columns):
                self._append_columns(columns)
            else:
                self._append_sqlite(rows)
        except failures.IntegrityError:
            self._roll_back()
            return False
        except failures.Error as error:
            if "locked" not in str(error):
                self.close()  # the next batch opens it anew
            if is_damage(error):
                raise StoreDamagedError(error) from error
            if _passes(error):
                raise StoreUnavailableError(str(error)) from error
            raise
        return True

    def close(self) -> None:
        """Close the connection; what was not committed is gone."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @property
    def script(self) -> str:
        """SQL that sets another connection to the SQLite file up for what ``statement`` gives."""
        pragmas = _pragmas(self._engine.get_execution_options()["durability"])
        return "".join(f"{p};" for p in pragmas) + _numbering(self._table.name, self._names)

    def statement(self, rows: Sequence[object]) -> tuple[str, tuple[Any, ...]] | None:
        """Give the statement that appends rows, and its values; None if it takes more than one."""
        if not 0 < len(rows) <= _ROWS_AT_ONCE or hasattr(rows, "columns"):
            return None
        sql = _statement(f"{self._table.name}_append", self._names, len(rows), "?")
        return sql, tuple(chain.from_iterable(map(self._values, rows)))

    def _append_sqlite(self, rows: Sequence[object]) -> None:
        if self._connection is None:
            self._connection = self._connect_sqlite()
        if (alone := self.statement(rows)) is not None:
            self._connection.execute(*alone)
            return
        view, values = f"{self._table.name}_append", [self._values(row) for row in rows]
        self._connection.execute("BEGIN IMMEDIATE")
        for start in range(0, len(values), _ROWS_AT_ONCE):
            part = values[start : start + _ROWS_AT_ONCE]
            sql = _statement(view, self._names, len(part), "?")
            self._connection.execute(sql, tuple(chain.from_iterable(part)))
        self._connection.execute("COMMIT")

    def _append_columns(self, columns: Columns) -> None:
        if self._connection is None:
            self._connection = self._connect_sqlite()
        self._count_to(columns.n)
        values: list[object] = [columns.n, *columns.same.values()]
        for name in (*columns.cut, *columns.texts, *columns.cut_texts):
            values += _pieces(columns, name)
        self._connection.execute(_statement(*self._view_of(columns), 1, "?"), values)

    def _view_of(self, columns: Columns) -> tuple[str, tuple[str, ...]]:
        """Name a view, and its columns, whose trigger writes all rows and numbers them.

        All happens in one call of the driver, and so in one transaction of its own.
        """
        kinds = tuple(map(tuple, (columns.same, columns.cut, columns.texts, columns.cut_texts)))
        if (view := self._views.get(kinds)) is None:
            name = f"{self._table.name}_columns_{len(self._views)}"
            given, script = _columns_view(name, self._table.name, columns)
            self._connection.executescript(script)
            view = self._views[kinds] = (name, given)
        return view

    def _count_to(self, n: int) -> None:
        """Have the places from 0 to below ``n`` in a table of the connection's own.

        Counting by a recursive query takes a quarter of the time of the whole statement.
        """
        if n > self._places:
            self._connection.execute(
                "INSERT INTO temp.places WITH RECURSIVE rows(i) AS"
                " (SELECT ? UNION ALL SELECT i + 1 FROM rows WHERE i + 1 < ?) SELECT i FROM rows",
                (self._places, n),
            )
            self._places = n

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _connect_sqlite(self) -> Any:
        """Open a connection with a view of its own, whose trigger numbers the rows."""
        # Out of a pool of its own, so that it never waits for the connections that readers hold.
        pooled = self._engine.pool.recreate().connect()
        connection: Any = pooled.driver_connection
        pooled.detach()  # it does not go back with its view
        self._places, self._views = 0, {}
        try:
            if not self._waits:
                connection.execute("PRAGMA busy_timeout=0")
            connection.executescript(_PLACES + _numbering(self._table.name, self._names))
        except BaseException:
            connection.close()
            raise
        return connection


def _numbering(table: str, names: Sequence[str]) -> str:
    """Write SQL that makes a view over a table, whose trigger numbers what is put into it."""
    columns = ", ".join(f'"{name}"' for name in names)
    new = ", ".join(f'NEW."{name}"' for name in names)
    # Names of our own tables; nothing of it lasts longer than the connection.
    return (
        f'CREATE TEMP VIEW "{table}_append" AS SELECT {columns} FROM "{table}";'  # noqa: S608
        f'CREATE TEMP TRIGGER "{table}_number" INSTEAD OF INSERT ON "{table}_append" BEGIN '
        f'INSERT INTO "{table}" (seq, {columns}) '
        f"SELECT next, {new} FROM sequence WHERE id = 1;"
        "UPDATE sequence SET next = next + 1 WHERE id = 1; END;"
    )


def _columns_view(view: str, table: str, columns: Columns) -> tuple[tuple[str, ...], str]:
    """Write a view that takes many rows as one, each column with the length of a row's piece."""
    chosen = {name: f'NEW."{name}"' for name in columns.same}
    given = ["n", *columns.same]
    for name in (*columns.cut, *columns.texts, *columns.cut_texts):
        given += [name, f"{name}_length"]
        length = f'NEW."{name}_length"'
        # SQLite finds the place in bytes at once, in a text by counting from its beginning.
        piece = f'substr(NEW."{name}", 1 + i * {length}, {length})'
        piece = piece if name in columns.cut else f"CAST({piece} AS TEXT)"
        chosen[name] = f"rtrim({piece}, char({_PAD}))" if name in columns.texts else piece
    shown = ", ".join(f'NULL AS "{name}"' for name in given)
    into = ", ".join(f'"{name}"' for name in chosen)
    # Names of our own tables; nothing of it lasts longer than the connection.
    script = (
        f'CREATE TEMP VIEW "{view}" AS SELECT {shown};'  # noqa: S608
        f'CREATE TEMP TRIGGER "{view}_rows" INSTEAD OF INSERT ON "{view}" BEGIN '
        f'INSERT INTO "{table}" (seq, {into}) '
        f"SELECT (SELECT next FROM sequence WHERE id = 1) + i, {', '.join(chosen.values())} "
        "FROM places WHERE i < NEW.n;"
        "UPDATE sequence SET next = next + NEW.n WHERE id = 1; END;"
    )
    return tuple(given), script


def _pieces(columns: Columns, name: str) -> tuple[bytes, int]:
    """Return a column's pieces one after the other, and the length of one."""
    if name in columns.texts:
        return _padded(columns.texts[name])
    packed = columns.cut_texts[name] if name in columns.cut_texts else columns.cut[name]
    return packed, len(packed) // columns.n


def _padded(texts: Sequence[str]) -> tuple[bytes, int]:
    """Make pieces of equal length; what pads them occurs in no text."""
    together = "".join(texts)
    if together.isascii() and len({len(text) for text in texts}) == 1:
        return together.encode(), len(texts[0])
    encoded = [text.encode() for text in texts]
    width = max(map(len, encoded))
    return b"".join(piece.ljust(width, _PADDING) for piece in encoded), width


def file_of(engine: Engine) -> str | None:
    """Return the file of this machine that the database is, and so as quick as its disk."""
    database = engine.url.database
    return database if engine.dialect.name == "sqlite" and database != ":memory:" else None


def append_alone(engine: Engine, table: Table, rows: Sequence[dict[str, Any]]) -> bool:
    """Append rows to one table of the log, in a transaction of their own, on any database.

    Returns
    -------
    Whether they were written; none was, if one with the same key is there.
    """
    try:
        with write(engine) as conn:
            first = take_numbers(conn, len(rows))
            insert_rows(conn, table, [{"seq": first + i, **row} for i, row in enumerate(rows)])
    except IntegrityError:
        return False
    return True


def _passes(error: BaseException | None) -> bool:
    """Tell whether the database may take the same again later."""
    return any(word in str(error).lower() for word in _FULL)


def _pragmas(durability: Durability) -> tuple[str, ...]:
    """Set up a connection to a SQLite file."""
    return (
        f"PRAGMA busy_timeout={_BUSY_MS}",
        "PRAGMA journal_mode=WAL",
        f"PRAGMA synchronous={_SYNCHRONOUS[durability]}",
        "PRAGMA foreign_keys=ON",
    )


def _set_up_sqlite(durability: Durability, connection: "DBAPIConnection", _record: Any) -> None:
    # SQLAlchemy begins transactions itself, so that a writer can say IMMEDIATE.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in _pragmas(durability):
        cursor.execute(pragma)
    cursor.close()


def _set_up_postgresql(durability: Durability, connection: "DBAPIConnection", _record: Any) -> None:
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(_SYNCHRONOUS_COMMIT[durability])
    cursor.close()
    connection.autocommit = False


def _connect_patiently(_dialect: Any, _record: Any, _args: Any, said: dict[str, Any]) -> Any:
    from continualml.store import patience  # noqa: PLC0415  its driver is an extra

    return patience.connect(said)


def _leave_who_only_reads(context: "ExceptionContext") -> None:
    if getattr(context.original_exception, "sqlstate", None) == _ONLY_READS:
        context.is_disconnect = True  # the next connection is made to whoever takes rows


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
        connection: Any = conn.connection.driver_connection
        if _is_postgresql(engine):
            connection.most_s = math.inf  # a large log takes as long as it takes
        command.upgrade(config, "head")
        if _is_postgresql(engine):
            connection.most_s = None


def has_log(conn: Connection) -> bool:
    """Tell whether the tables were ever created."""
    return inspect(conn).has_table("alembic_version")


def _revision(conn: Connection) -> str | None:
    if not has_log(conn):
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
