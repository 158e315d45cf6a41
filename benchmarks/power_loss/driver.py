"""SQLite through apsw, as SQLAlchemy wants a driver: the store's own code, on files that we watch.

Python's ``sqlite3`` and apsw each carry a SQLite of their own, and only apsw's takes a file system
written in Python. A URL that begins with ``sqlite+watched`` goes through here; the store takes it
for what it is, SQLite.
"""

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import apsw
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

URL = "sqlite+watched"
FILES = "watched"  # the name of the file system

apilevel, threadsafety, paramstyle = "2.0", 1, "qmark"
version = apsw.apsw_version()
sqlite_version = apsw.sqlite_lib_version()
sqlite_version_info = tuple(map(int, sqlite_version.split(".")))
Binary = bytes
PARSE_DECLTYPES, PARSE_COLNAMES = 1, 2


class Warning(Exception):  # noqa: A001, N818  the names are the driver interface's (PEP 249)
    pass


class Error(Exception):
    pass


class InterfaceError(Error):
    pass


class DatabaseError(Error):
    pass


class OperationalError(DatabaseError):
    pass


class IntegrityError(DatabaseError):
    pass


class ProgrammingError(DatabaseError):
    pass


class InternalError(DatabaseError):
    pass


class DataError(DatabaseError):
    pass


class NotSupportedError(DatabaseError):
    pass


_OPERATIONAL = (
    *(apsw.BusyError, apsw.LockedError, apsw.FullError, apsw.IOError, apsw.CantOpenError),
    *(apsw.ReadOnlyError, apsw.SQLError, apsw.InterruptError),
)


def _as_ours(error: apsw.Error) -> Error:
    if isinstance(error, apsw.ConstraintError):
        return IntegrityError(str(error))
    return (OperationalError if isinstance(error, _OPERATIONAL) else DatabaseError)(str(error))


class Cursor:
    arraysize = 1

    def __init__(self, connection: "Connection") -> None:
        self.connection = connection
        self.description: tuple[tuple[Any, ...], ...] | None = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self._rows: list[Any] = []

    def execute(self, sql: str, values: Sequence[Any] = ()) -> "Cursor":
        own = self.connection.own
        cursor = own.cursor()
        self.description, self.rowcount = None, -1

        def note(of: apsw.Cursor, _sql: str, _values: object) -> bool:
            # Only here are the columns of a statement without rows known.
            self.description = tuple((*d, *[None] * 5)[:7] for d in of.get_description()) or None
            return True

        cursor.exec_trace = note
        before = own.total_changes()
        try:
            self._rows = list(cursor.execute(sql, tuple(values)))
        except apsw.Error as error:
            raise _as_ours(error) from error
        if sql.lstrip()[:6].upper() in {"INSERT", "UPDATE", "DELETE"}:
            self.rowcount = own.total_changes() - before
            self.lastrowid = own.last_insert_rowid()
        return self

    def executemany(self, sql: str, many: Iterable[Sequence[Any]]) -> "Cursor":
        done = 0
        for values in many:
            self.execute(sql, values)
            done += max(self.rowcount, 0)
        self.rowcount = done
        return self

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        n = self.arraysize if size is None else size
        part, self._rows = self._rows[:n], self._rows[n:]
        return part

    def fetchall(self) -> list[Any]:
        part, self._rows = self._rows, []
        return part

    def close(self) -> None:
        self._rows = []


class Connection:
    """One connection; transactions are begun and ended by whoever says so."""

    isolation_level: str | None = None

    def __init__(self, path: str) -> None:
        self.own = apsw.Connection(path, vfs=FILES)

    @property
    def in_transaction(self) -> bool:
        return self.own.in_transaction

    def cursor(self) -> Cursor:
        return Cursor(self)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Cursor:
        return self.cursor().execute(sql, values)

    def executescript(self, sql: str) -> Cursor:
        return self.execute(sql)

    def create_function(
        self, name: str, n: int, function: Any, *, deterministic: bool = False
    ) -> None:
        self.own.create_scalar_function(name, function, n, deterministic=deterministic)

    def commit(self) -> None:
        if self.in_transaction:
            self.execute("COMMIT")

    def rollback(self) -> None:
        if self.in_transaction:
            self.execute("ROLLBACK")

    def close(self) -> None:
        self.own.close()


def connect(path: str, **_options: object) -> Connection:
    return Connection(path)


class Dialect(SQLiteDialect_pysqlite):
    """SQLAlchemy's SQLite over this module."""

    driver = "watched"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        import sys  # noqa: PLC0415  this very module

        return sys.modules[__name__]


registry.register(URL.replace("+", "."), __name__, Dialect.__name__)
