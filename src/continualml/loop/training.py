"""Fits run in a warm child process with a time and a memory limit; it talks in MessagePack."""

import os
import resource
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

import msgspec
import numpy as np

from continualml.model import Learner, Model
from continualml.records import Json, Rows, Window

CHILD = (sys.executable, "-m", "continualml.app.trainer")
# Sums of several threads round as they come, and their waiting costs more than a fit of few rows.
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
_HEADER_BYTES = 8
_CHUNK_BYTES = 1 << 20


class TrainingError(RuntimeError):
    """No artifact came of a fit; says why. Trying again with other rows may help."""


class _Request(msgspec.Struct, frozen=True, tag="fit"):
    """One fit; arrays as bytes, little-endian, row by row."""

    model: Model
    learner: Learner
    strategy: str
    seed: int
    seq: bytes
    observation_seq: bytes
    numeric: bytes
    categorical: list[list[str]]
    target: bytes
    resumes: bool = False
    state: bytes = b""
    before: Json | None = None


class _Merge(msgspec.Struct, frozen=True, tag="merge"):
    """Several artifacts to become one; rows on which the result is checked."""

    model: Model
    strategy: str
    members: list[tuple[str, int, bytes]]
    numeric: bytes
    categorical: list[list[str]]


class _Reply(msgspec.Struct, frozen=True):
    """What came of it; ``failed`` says why nothing did."""

    artifact: bytes = b""
    manifest: Json = {}
    state: bytes = b""
    failed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """An artifact's bytes, its manifest, and what its learner needs to go on learning, if asked."""

    artifact: bytes
    manifest: Json
    state: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one fit may take: seconds of wall time, and megabytes of address space."""

    seconds: float = 120.0
    memory_mb: int = 2_048


class Trainer:
    """Parent's side: keeps one child warm, and starts another when it hangs or dies."""

    def __init__(self, limits: Limits | None = None, child: tuple[str, ...] = CHILD) -> None:
        self._limits = limits or Limits()
        self._command = (*child, str(self._limits.memory_mb))
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Return itself; the child starts with the first fit."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the child."""
        self.close()

    def warm(self) -> None:
        """Start the child now, so that the first fit does not wait for its imports."""
        if self._child is None or self._child.poll() is not None:
            self._child = subprocess.Popen(  # noqa: S603  our own module, no shell
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env={**os.environ, **_ONE_THREAD},
            )

    def fit(
        self,
        model: Model,
        learner: Learner,
        window: Window,
        *,
        strategy: str,
        seed: int,
        resumes: bool = False,
        state: bytes = b"",
        before: Json | None = None,
    ) -> Product:
        """Fit ``learner`` on the window in the child; see ``learning.fit``.

        Raises
        ------
        TrainingError
            If the learner refuses, the child dies, or it takes longer than it may.
        """
        request = _Request(
            model=model,
            learner=learner,
            strategy=strategy,
            seed=seed,
            seq=window.seq.astype("<i8").tobytes(),
            observation_seq=window.observation_seq.astype("<i8").tobytes(),
            numeric=window.rows.numeric.astype("<f8").tobytes(),
            categorical=window.rows.categorical.tolist(),
            target=window.target.astype("<f8").tobytes(),
            resumes=resumes,
            state=state,
            before=before,
        )
        return self._told(request)

    def merge(
        self, model: Model, members: list[tuple[str, int, bytes]], rows: Rows, *, strategy: str
    ) -> Product:
        """Merge artifacts, each (strategy, version, bytes), into one that takes their weights.

        Raises
        ------
        TrainingError
            If they do not fit together, the child dies, or it takes longer than it may.
        """
        request = _Merge(
            model=model,
            strategy=strategy,
            members=members,
            numeric=rows.numeric.astype("<f8").tobytes(),
            categorical=rows.categorical.tolist(),
        )
        return self._told(request)

    def _told(self, request: _Request | _Merge) -> Product:
        self.warm()
        try:
            reply = self._ask(msgspec.msgpack.encode(request))
        except BaseException:  # an answer that nobody took must not become the next one's
            self.close()
            raise
        if reply.failed is not None:
            raise TrainingError(reply.failed)
        return Product(artifact=reply.artifact, manifest=reply.manifest, state=reply.state)

    def close(self) -> None:
        """End the child; the next fit starts a new one."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()

    def _ask(self, request: bytes) -> _Reply:
        child = self._child
        if child is None or child.stdin is None or child.stdout is None:
            raise TrainingError("the training process could not be started")
        until = time.monotonic() + self._limits.seconds
        try:
            self._write(child.stdin.fileno(), _framed(request), until)
        except BrokenPipeError:
            raise TrainingError(f"the training process died ({_ending(child)})") from None
        size = int.from_bytes(self._read(child, _HEADER_BYTES, until), "little")
        return msgspec.msgpack.decode(self._read(child, size, until), type=_Reply)

    def _write(self, number: int, data: bytes, until: float) -> None:
        os.set_blocking(number, False)  # a child that was stopped must not stop its parent
        sent = 0
        while sent < len(data):
            _, ready, _ = select.select([], [number], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TrainingError(f"the fit took longer than {self._limits.seconds:g} s")
            sent += os.write(number, data[sent : sent + _CHUNK_BYTES])

    def _read(self, child: subprocess.Popen[bytes], size: int, until: float) -> bytes:
        if child.stdout is None:
            raise TrainingError("the training process has no output")
        got = bytearray()
        number = child.stdout.fileno()
        while len(got) < size:
            ready, _, _ = select.select([number], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TrainingError(f"the fit took longer than {self._limits.seconds:g} s")
            data = os.read(number, min(_CHUNK_BYTES, size - len(got)))
            if not data:
                raise TrainingError(f"the training process died ({_ending(child)})")
            got += data
        return bytes(got)


def serve(source: IO[bytes], sink: IO[bytes], *, memory_mb: int) -> None:
    """Child's side: fit what is asked for until the parent closes the pipe."""
    # Imported here: only the child may carry scikit-learn, and it waits warm.
    from continualml.learning.learners import LearningError  # noqa: PLC0415
    from continualml.learning.merge import merge  # noqa: F401, PLC0415

    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    while header := source.read(_HEADER_BYTES):
        data = source.read(int.from_bytes(header, "little"))
        try:
            made = _made(msgspec.msgpack.decode(data, type=_Request | _Merge))
            reply = _Reply(artifact=made.artifact, manifest=made.manifest, state=made.state)
        except LearningError as error:
            reply = _Reply(failed=str(error))
        except MemoryError:
            reply = _Reply(failed=f"the fit needs more than {memory_mb} MB")
        sink.write(_framed(msgspec.msgpack.encode(reply)))
        sink.flush()


def _made(asked: _Request | _Merge) -> Product:
    from continualml.learning.fit import fit  # noqa: PLC0415  only the child may carry it
    from continualml.learning.merge import merge  # noqa: PLC0415  only the child may carry it

    model = asked.model
    if isinstance(asked, _Merge):
        rows = _rows(model, asked.numeric, asked.categorical)
        artifact, manifest = merge(model, asked.members, rows, strategy=asked.strategy)
        return Product(artifact=artifact, manifest=manifest)
    fitted = fit(
        model,
        asked.learner,
        _window(asked),
        seed=asked.seed,
        strategy=asked.strategy,
        resumes=asked.resumes,
        state=asked.state,
        before=asked.before,
    )
    return Product(artifact=fitted.artifact, manifest=fitted.manifest, state=fitted.state)


def _rows(model: Model, numeric: bytes, texts: list[list[str]]) -> Rows:
    n = len(texts)
    categorical = np.empty((n, len(model.categorical)), dtype=object)
    if categorical.size:
        categorical[:] = texts
    return Rows(
        numeric=np.frombuffer(numeric, "<f8").reshape(n, len(model.numeric)),
        categorical=categorical,
    )


def _window(asked: _Request) -> Window:
    seq = np.frombuffer(asked.seq, "<i8")
    n = len(seq)
    return Window(
        seq=seq,
        observation_seq=np.frombuffer(asked.observation_seq, "<i8"),
        rows=_rows(asked.model, asked.numeric, asked.categorical),
        target=np.frombuffer(asked.target, "<f8"),
        version=np.zeros(n, dtype=np.int64),
        answer=np.full((n, asked.model.width), np.nan),
    )


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(_HEADER_BYTES, "little") + data


def _ending(child: subprocess.Popen[bytes]) -> str:
    try:
        code = child.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return "it closed its output"
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
