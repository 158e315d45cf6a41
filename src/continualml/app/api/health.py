"""How it is: a cached state of each component, for people and for checks from outside."""

import threading
import time
from datetime import UTC, datetime
from typing import Literal

from loguru import logger
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from continualml.app import components
from continualml.app.api.champion import Champions
from continualml.records import Json
from continualml.settings import Project
from continualml.store import leases, log, pages
from continualml.store.engine import StoreUnavailableError, read

Status = Literal["ok", "degraded", "down"]
_PROBE = "api-probe"
# A look takes milliseconds; one that takes so long waits for a database that says nothing.
_SILENT_S = 10.0


class Health:
    """The last look at every component; asking for it waits for nothing."""

    def __init__(self, engine: Engine, champions: Champions, project: Project) -> None:
        self._engine = engine
        self._champions = champions
        self._project = project
        self._began = time.monotonic()
        self._damage: str | None = None
        self._looking_since: float | None = None
        self._seen: Json = {}

    @property
    def now(self) -> Json:
        """What was seen last, unless the store has let the next look wait for long."""
        since = self._looking_since
        silent_s = 0.0 if since is None else time.monotonic() - since
        if silent_s < _SILENT_S or not self._seen:
            return self._seen
        because = f"the database has not answered for {silent_s:.0f} s"
        parts = self._seen["components"] | {"store": {"status": "down", "because": because}}
        return self._seen | {"status": "down", "components": parts}

    def check_pages(self) -> None:
        """Look once, in a thread of its own, whether the log's pages hang together."""
        threading.Thread(target=self._check_pages, name="check-pages", daemon=True).start()

    def _check_pages(self) -> None:
        try:
            with read(self._engine) as conn:
                _, self._damage = pages.damage(conn, thorough=False)
        except (SQLAlchemyError, StoreUnavailableError) as error:
            logger.warning("the log's pages could not be checked: {}", error)
        if self._damage is not None:
            logger.error("the log is damaged: {}", self._damage)

    def look(self) -> None:
        """Look at every component."""
        self._looking_since = time.monotonic()
        self._look()
        self._looking_since = None

    def _look(self) -> None:
        parts: dict[str, Json] = {"champion": self._champion()}
        try:
            leases.beat(self._engine, _PROBE)  # a full disk can still be read
            with read(self._engine) as conn:
                durability = self._project.settings.durability
                last_seq = log.last_seq(conn)
                parts["store"] = {"status": "ok", "last_seq": last_seq, "durability": durability}
                if self._damage is not None:
                    parts["store"] |= {"status": "degraded", "because": self._damage}
                here = time.monotonic() - self._began
                parts["loop"] = components.loop(conn, self._project, up_for_s=here)
                parts["mlflow"] = components.mirror(conn, self._project)
                for name in components.configured(self._project):
                    parts[name] = components.channel(conn, name)
        except (SQLAlchemyError, StoreUnavailableError) as error:
            parts["store"] = {"status": "down", "because": str(error)[:200]}
        states = [p["status"] for p in parts.values()]
        status: Status = "ok" if all(s == "ok" for s in states) else "degraded"
        if parts["store"]["status"] == "down" or parts["champion"]["status"] == "down":
            status = "down"
        looked_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._seen = {"status": status, "looked_at": looked_at, "components": parts}

    @property
    def writable(self) -> bool:
        """Whether the store took a row when it was last looked at."""
        return bool(self.now["components"]["store"]["status"] != "down")

    def _champion(self) -> Json:
        default = self._project.default
        failures = {n: f.because for n, f in self._champions.failures.items()}
        answers = self._champions.get(default) is not None
        status: Status = "down" if not answers else "degraded" if failures else "ok"
        told: Json = {"status": status}
        if failures:
            told["failures"] = failures
            told["answers_instead"] = {
                name: champion.known.version
                for name in failures
                if (champion := self._champions.get(name)) is not None
            }
        return told
