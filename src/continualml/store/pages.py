"""The pages of a log in SQLite: checked, copied while others write, looked into where they lie."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError

from continualml.store import private
from continualml.store.engine import REPAIR, is_damage

_PAGES_AT_ONCE = 256


def look_into(path: Path) -> Engine:
    """Open a log that nobody writes, and leave no trace beside it."""
    return create_engine(
        f"sqlite:///file:{quote(str(path.absolute()))}?immutable=1&uri=true", hide_parameters=True
    )


def damage(conn: Connection, *, thorough: bool) -> tuple[int, str | None]:
    """Let the database check its own pages: how many there are, and the first fault.

    A PostgreSQL server checks its pages by itself, where it was made with checksums: 0 here.

    Parameters
    ----------
    thorough
        Hold the indexes against the rows too.
    """
    if conn.dialect.name != "sqlite":
        return 0, None
    check = "integrity_check" if thorough else "quick_check"
    try:
        pages = int(conn.exec_driver_sql("PRAGMA page_count").scalar_one())
        said = str(conn.exec_driver_sql(f"PRAGMA {check}(1)").scalar_one())
    except DBAPIError as error:
        if not is_damage(error.orig):
            raise
        pages, said = 0, str(error.orig)
    found = said.strip().removeprefix("*** in database main ***").strip()
    return pages, None if said == "ok" else f"{found}; {REPAIR}"


def copy_log(conn: Connection, target: Path, advance: Callable[[int, int], None]) -> None:
    """Copy a SQLite log into a new file, as it is in the transaction of ``conn``, to disk.

    Parameters
    ----------
    advance
        Told after each portion how many bytes of how many are through.
    """
    conn.exec_driver_sql("SELECT 1 FROM sqlite_master").close()  # from here on it sees one state
    source: sqlite3.Connection = conn.connection.driver_connection  # type: ignore[assignment]
    size = int(conn.exec_driver_sql("PRAGMA page_size").scalar_one())

    def progress(_status: int, left: int, total: int) -> None:
        advance((total - left) * size, total * size)

    private.make_file(target)
    with closing(sqlite3.connect(target)) as new:
        source.backup(new, pages=_PAGES_AT_ONCE, progress=progress)
        new.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it
    with target.open("rb") as file:
        os.fsync(file.fileno())
    private.sync_folder(target.parent)
