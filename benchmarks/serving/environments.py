"""An environment of its own for each peer, made by uv from its pinned requirements when needed."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.serving.bodies import ROOT

PEERS: Final = Path(__file__).parent / "peers"
NAMES: Final = ("tutorial", "mlflow", "bentoml", "mlserver", "litserve")
PLACE: Final = "SERVING_ENVIRONMENTS"  # names another folder than .venvs
_TIMEOUT_S: Final = 600
_MARK: Final = "made-from.sha256"


class NotThereError(RuntimeError):
    """An environment could not be made; says why."""


def place() -> Path:
    """Return the folder of all environments."""
    return Path(os.environ.get(PLACE) or ROOT / ".venvs")


def of(peer: str) -> Path:
    """Return a peer's environment."""
    return place() / peer


def requirements(peer: str) -> Path:
    """Return the file with the peer's pinned packages."""
    return PEERS / f"{peer}.txt"


def is_there(peer: str) -> bool:
    """Tell whether the environment was made from these very requirements."""
    mark = of(peer) / _MARK
    return mark.exists() and mark.read_text("utf-8") == _digest(peer)


def make(peer: str) -> None:
    """Make the environment, unless it is there.

    Raises
    ------
    NotThereError
        If uv is not installed, or cannot install the packages.
    """
    if is_there(peer):
        return
    uv = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".uv/bin/uv")
    if not Path(uv).exists():
        raise NotThereError("uv is not installed")
    folder = of(peer)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run(uv, "venv", "--clear", "--python", sys.executable, str(folder))
    file = str(requirements(peer))
    _run(uv, "pip", "install", "--python", str(folder), "--no-deps", "--requirement", file)
    (folder / _MARK).write_text(_digest(peer), encoding="utf-8")


def versions(peer: str) -> dict[str, str]:
    """Return what is pinned: version by package."""
    lines = requirements(peer).read_text("utf-8").splitlines()
    pairs = (line.split(";")[0].strip().partition("==") for line in lines if "==" in line)
    return {name.partition("[")[0]: version for name, _, version in pairs}


def _run(*command: str) -> None:
    env = os.environ | {"UV_COMPILE_BYTECODE": "1"}
    try:
        run = subprocess.run(
            [command[0], "--quiet", *command[1:]],
            env=env,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotThereError(f"uv {command[1]} took more than {_TIMEOUT_S} s") from None
    if run.returncode:
        raise NotThereError(
            " ".join(run.stderr.split())[-300:] or f"uv ended with {run.returncode}"
        )


def _digest(peer: str) -> str:
    return hashlib.sha256(requirements(peer).read_bytes()).hexdigest()
