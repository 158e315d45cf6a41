"""How it is: a cached state of each component, for people and for checks from outside."""

import time
from datetime import UTC, datetime
from typing import Literal

import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from continualml.app.api.champion import Champions
from continualml.records import Json
from continualml.settings import Project
from continualml.store import failed_turns, leases, log, outbox, snapshots
from continualml.store.engine import StoreUnavailableError, read

Status = Literal["ok", "degraded", "down"]
_PERIODS = 3
_TIMER_S = 20.0
_PROBE = "api-probe"
_LONGEST_WAIT_S = 300.0


class Health:
    """The last look at every component; asking for it waits for nothing."""

    def __init__(self, engine: Engine, champions: Champions, project: Project) -> None:
        self._engine = engine
        self._champions = champions
        self._project = project
        self._began = time.monotonic()
        self.now: Json = {}

    def look(self) -> None:
        """Look at every component."""
        parts: dict[str, Json] = {"champion": self._champion()}
        try:
            leases.beat(self._engine, _PROBE)  # a full disk can still be read
            with read(self._engine) as conn:
                parts["store"] = {"status": "ok", "last_seq": log.last_seq(conn)}
                parts["loop"] = self._loop(conn)
                parts["mlflow"] = self._mirror(conn)
        except (SQLAlchemyError, StoreUnavailableError) as error:
            parts["store"] = {"status": "down", "because": str(error)[:200]}
        states = [p["status"] for p in parts.values()]
        status: Status = "ok" if all(s == "ok" for s in states) else "degraded"
        if parts["store"]["status"] == "down" or parts["champion"]["status"] == "down":
            status = "down"
        looked_at = datetime.now(UTC).isoformat(timespec="seconds")
        self.now = {"status": status, "looked_at": looked_at, "components": parts}

    @property
    def writable(self) -> bool:
        """Whether the store took a row when it was last looked at."""
        return bool(self.now["components"]["store"]["status"] == "ok")

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

    def _loop(self, conn: Connection) -> Json:
        """Say how old the last scheduled turn is, what each loop has read, and which failed."""
        age_s = {n: _age_s(conn, n) for n in (leases.TURNED, leases.SKIPPED, leases.TIMER)}
        read_to: dict[str, int] = {}
        for name in self._project.models:
            if there := snapshots.get(conn, name):
                read_to[name] = msgspec.json.decode(there[1])["report"]["read"]
        failed = failed_turns.listed(conn)
        faults = [f"the last turn of {name} failed: {why}" for name, why in failed.items()]
        timer = age_s[leases.TIMER]
        turning = (
            "the timer turns the loop"
            if timer is not None and timer < _TIMER_S
            else "no timer runs either: nothing turns the loop"
        )
        beats = [a for a in (age_s[leases.TURNED], age_s[leases.SKIPPED]) if a is not None]
        note = None
        if not beats:
            note = f"no scheduler has turned the loop on this log yet; {turning}"
        elif self._is_silent(min(beats)):
            faults.append(f"no scheduled cycle for {min(beats):.0f} s; {turning}")
        status: Status = "degraded" if faults else "ok"
        told: Json = {
            "status": status,
            "read": read_to,
            "scheduled_turn_age_s": age_s[leases.TURNED],
        }
        because = "; ".join(faults) or note
        return {**told, **({"because": because} if because else {})}

    def _is_silent(self, age_s: float) -> bool:
        """Count the scheduler's silence from this process's start: before, it was down as well."""
        here = time.monotonic() - self._began
        return min(age_s, here) > _PERIODS * self._project.settings.check_interval_seconds

    def _mirror(self, conn: Connection) -> Json:
        """Say how many messages wait or were refused, and why; without an MLflow they may wait."""
        told: Json = {"status": "ok", "messages": outbox.counts(conn, "mlflow")}
        faults = [failing] if (failing := outbox.failing(conn, "mlflow")) else []
        waits_s = outbox.waits_s(conn, "mlflow") or 0.0
        mirrored = self._project.settings.mlflow_tracking_uri is not None
        if mirrored and waits_s > _LONGEST_WAIT_S:
            faults.append(f"the oldest message has waited for {waits_s:.0f} s; is a courier there?")
        if refused := told["messages"].get(outbox.REFUSED):
            last = outbox.last_refusal(conn, "mlflow")
            faults.append(f"{refused} messages were refused, lastly: {last}")
        return {**told, "status": "degraded", "because": "; ".join(faults)} if faults else told


def _age_s(conn: Connection, name: str) -> float | None:
    beat = leases.last_beat_in(conn, name)
    return None if beat is None else datetime.now(UTC).timestamp() - beat
