"""A real S3 server for tests, from PyPI, on loopback alone; killed without a word if asked."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

KEY, SECRET = "a-key-of-tests", "a-secret-of-tests-0123"  # pragma: allowlist secret
_PARTS = ("master.port", "volume.port", "filer.port", "s3.port")


def _ports(n: int) -> list[int]:
    """Take free ports; each part listens on one and on the one 10,000 above."""
    found: list[int] = []
    while len(found) < n:
        with socket.socket() as low, socket.socket() as high:
            low.bind(("127.0.0.1", 0))
            port = low.getsockname()[1] - 20_000
            if port < 1_024 or port in found:
                continue
            try:
                high.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
        found.append(port)
    return found


@dataclass(slots=True)
class Seaweed:
    """One server; its data stay where they are while it is down."""

    folder: Path
    ports: list[int] = field(default_factory=lambda: _ports(len(_PARTS)))
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports[-1]}"

    @property
    def environment(self) -> dict[str, str]:
        """What whoever asks it has in its environment."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def start(self) -> None:
        """Start it and wait until it answers."""
        (self.folder / "data").mkdir(exist_ok=True)
        who = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}]}
        allowed = {"identities": [who | {"actions": ["Admin"]}]}
        (self.folder / "s3.json").write_text(json.dumps(allowed), "utf-8")
        weed = Path(sys.executable).with_name("weed")
        said = (self.folder / "weed.log").open("ab")
        self.process = subprocess.Popen(
            [
                *(weed, "server", "-s3", f"-dir={self.folder / 'data'}"),
                *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=0"),
                *("-master.volumeSizeLimitMB=64", "-master.telemetry=false"),
                *("-master.electionTimeout=1s", "-master.heartbeatInterval=100ms"),
                *(f"-{n}={p}" for n, p in zip(_PARTS, self.ports, strict=True)),
                *(
                    "-s3.port.iceberg=0",
                    "-s3.autoCreateBucket=false",
                    f"-s3.config={self.folder / 's3.json'}",
                ),
            ],
            cwd=self.folder,
            stdout=said,
            stderr=said,
        )
        said.close()
        end = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None, self._last_words()
            assert time.monotonic() < end, self._last_words()
            time.sleep(0.1)

    def kill(self) -> None:
        """End it as a machine ends that loses its power."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)
            self.process = None

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Let it take connections and say nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def make(self, bucket: str) -> None:
        """Make a bucket, unless it is there; the environment holds who asks."""
        from s3fs import S3FileSystem  # noqa: PLC0415  an extra, and slow

        with suppress(FileExistsError):
            S3FileSystem(skip_instance_cache=True).mkdir(bucket)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.endpoint}/healthz", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def _last_words(self) -> str:
        return (self.folder / "weed.log").read_text("utf-8", "replace")[-2_000:]
