"""Jobs beside serving: each a process of its own, bounded, one at a time."""

import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from continualml.app.job import COMMAND, ERRORS, RESULT, SAID, TIMED_OUT
from continualml.settings import Project, environment, secret_variables
from continualml.store import private

KEPT: Final = 20
_NAME: Final = re.compile("[0-9a-f]{16}")
_SECONDS: Final = 900.0
_MOST_SHOWN: Final = 2_000
State = Literal["running", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job; ``result`` is what its verb printed as JSON, ``because`` why there is none."""

    job: str
    state: State
    seconds: float | None = None
    result: Any = None
    because: str | None = None


class Jobs:
    """One job at a time on this data directory, whichever process was asked.

    Parameters
    ----------
    project
        Says where the data directory is, and gives the job its settings, without
        secrets; the store's password stays, because a job reads the log.
    """

    def __init__(self, project: Project) -> None:
        self._folder = project.settings.data / "jobs"
        self._memory_mb = project.settings.job_memory_mb
        said, secret = environment(project.settings), secret_variables()
        self._environment = {
            n: v for n, v in (os.environ | said).items() if n.upper() not in secret
        }
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, command: list[str]) -> str | None:
        """Start a verb; None while another job runs. Only the newest jobs are kept."""
        self._running = [p for p in self._running if p.poll() is None]
        private.make_folder(self._folder)
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            self._forget()
            job = secrets.token_hex(8)
            folder = self._folder / job
            folder.mkdir(mode=0o700)
            (folder / COMMAND).write_text(json.dumps(command), encoding="utf-8")
            bounds = (str(folder), str(_SECONDS), str(self._memory_mb))
            self._running.append(
                subprocess.Popen(  # noqa: S603  our own module, no shell
                    [sys.executable, "-m", "continualml.app.job", *bounds],
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(lock,),  # held until the job has ended, however it ends
                    start_new_session=True,
                )
            )
            return job
        finally:
            os.close(lock)

    def state(self, job: str) -> Job | None:
        """Tell how a job stands; None if there is no such job."""
        folder = self._folder / job
        if _NAME.fullmatch(job) is None or not folder.is_dir():
            return None
        if not (folder / RESULT).exists():
            if self._is_held():
                return Job(job=job, state="running")
            if not (folder / RESULT).exists():  # it may have ended between the two looks
                return Job(job=job, state="failed", because="it was ended before it was through")
        ended = json.loads((folder / RESULT).read_text("utf-8"))
        result, seconds = _printed(folder / SAID), ended["seconds"]
        if result is not None and ended["code"] in {0, 1}:  # 1: a replay that found differences
            return Job(job=job, state="done", seconds=seconds, result=result)
        because = (folder / ERRORS).read_text("utf-8", "replace").strip()[-_MOST_SHOWN:]
        if ended["code"] == TIMED_OUT:
            because = f"it took longer than {_SECONDS:.0f} s"
        elif isinstance(ended["code"], int) and ended["code"] < 0:
            because = f"it was ended by {signal.Signals(-ended['code']).name}; memory was short?"
        return Job(job=job, state="failed", seconds=seconds, because=because)

    def end(self) -> None:
        """End what was started here."""
        for process in self._running:
            if process.poll() is None:
                process.terminate()
                process.wait()

    def _is_held(self) -> bool:
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def _forget(self) -> None:
        known = [p for p in self._folder.iterdir() if p.is_dir()]
        for old in sorted(known, key=lambda p: p.stat().st_mtime)[: -KEPT + 1]:
            shutil.rmtree(old)


def _printed(path: Path) -> Any:
    """Read what the verb printed as JSON; None if that is none."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
