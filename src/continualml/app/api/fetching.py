"""A bucket's artifacts, for who may not wait: what is here is read, the rest is brought."""

import threading
import time
from queue import SimpleQueue

from loguru import logger

from continualml.errors import UnreachableError
from continualml.store import artifacts
from continualml.store.artifacts import ArtifactError, Remote

_TRY_AGAIN_S = 5.0


class UnderWayError(UnreachableError):
    """It is being brought right now; look again soon."""


class Fetching:
    """Reads what the cache holds; brings what it lacks, one after the other, in a thread.

    A bucket that is slow or silent so holds up neither an answer nor a guard.
    """

    def __init__(self, place: Remote) -> None:
        self._place = place
        self._asked: SimpleQueue[str | None] = SimpleQueue()
        self._under_way: set[str] = set()
        self._failed: dict[str, Exception] = {}
        self._not_before: dict[str, float] = {}
        # A daemon: the end of the process waits for no bucket.
        threading.Thread(target=self._work, name="fetching", daemon=True).start()

    def read(self, sha256: str) -> bytes:
        """Read an artifact, checked, if it is here.

        Raises
        ------
        UnderWayError
            While it is being brought.
        ArtifactError, UnreachableError
            Once, when it is known why it did not come; who reads again asks for it again.
        """
        try:
            return artifacts.read(self._place.cache, sha256)
        except ArtifactError:
            pass
        error = self._failed.pop(sha256, None)
        if error is not None:
            raise error
        if sha256 not in self._under_way:
            self._under_way.add(sha256)
            self._asked.put(sha256)
        raise UnderWayError(f"artifact {sha256} is being brought from {self._place.url}")

    def ahead(self, sha256: str) -> None:
        """Bring an artifact that may be needed at once some day, unless it is here."""
        if time.monotonic() < self._not_before.get(sha256, 0.0):
            return
        try:
            self.read(sha256)
        except UnderWayError:
            pass  # that is what was wanted
        except (ArtifactError, UnreachableError) as error:
            logger.warning("A version to go back to is not here yet: {}", error)
            self._not_before[sha256] = time.monotonic() + _TRY_AGAIN_S

    def close(self) -> None:
        """Begin nothing more."""
        self._asked.put(None)

    def _work(self) -> None:
        while (sha256 := self._asked.get()) is not None:
            if (error := self._brought(sha256)) is not None:
                self._failed[sha256] = error
            self._under_way.discard(sha256)

    def _brought(self, sha256: str) -> Exception | None:
        try:
            artifacts.read(self._place, sha256)
        except (ArtifactError, UnreachableError) as error:
            return error
        except Exception as error:  # noqa: BLE001  the edge of this thread: it goes on, and says so
            logger.exception("artifact {} could not be brought", sha256)
            return UnreachableError(f"artifact {sha256} could not be kept here: {error}")
        return None
