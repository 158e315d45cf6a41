"""What ``/metrics`` tells: what the workers counted, what health saw, what the loop has written.

The loop's part is read from the store when it is asked for, at most once a second, in a thread;
nothing of it is computed for a prediction.
"""

import threading
import time
from collections.abc import Iterator
from datetime import datetime

from loguru import logger
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from continualml.app.api import counts
from continualml.app.api.counts import Cell, Counts, Key
from continualml.app.api.health import Health
from continualml.integrations.prometheus import Family, Histogram, counter, gauge, written
from continualml.records import Json
from continualml.settings import Project
from continualml.store import (
    arrivals,
    failed_turns,
    leases,
    ledger,
    log,
    outbox,
    pointers,
    snapshots,
    windows,
)
from continualml.store.engine import StoreUnavailableError, read

_KEPT_S = 1.0
_STATUS = ("ok", "degraded", "down")
_M = ("model",)
Figure = Family | Histogram


class Figures:
    """Writes the figures of one server, whichever of its workers is asked."""

    def __init__(self, engine: Engine, project: Project, health: Health, own: Counts) -> None:
        self._engine = engine
        self._project = project
        self._health = health
        self._counts = own
        self._decided = ledger.Tally()
        self._of_loop: list[Figure] = []
        self._read_at = -_KEPT_S
        self._reading = threading.Lock()

    def text(self, accept: str) -> tuple[bytes, str]:
        """Write all figures, and their media type; while the store is down, those without it."""
        families = [*self._counted(), *self._seen(), *self._read()]
        return written(families, accept)

    def _counted(self) -> Iterator[Figure]:
        workers = self._counts.workers()
        total: dict[Key, Cell] = {}
        for worker in workers:
            for key, cell in worker.cells.items():
                total[key] = total[key].plus(cell) if key in total else cell

        def of(kind: str) -> list[tuple[Key, float]]:
            return [(key[1:], cell.counts[0]) for key, cell in total.items() if key[0] == kind]

        alive = [worker.cells for worker in workers if worker.alive]
        answers: dict[Key, int] = {}
        queued: list[int] = []
        for cells in alive:
            for key, cell in cells.items():
                if key[0] == counts.ANSWERS and cell.counts[0]:
                    named = (key[1], str(cell.counts[0]))
                    answers[named] = answers.get(named, 0) + 1
                if key[0] == counts.QUEUED:
                    queued.append(cell.counts[0])
        yield Histogram(
            name="continual_request_seconds",
            said="Requests, from their first byte to the last of the answer.",
            labels=("route", "status"),
            bounds=counts.BOUNDS,
            samples=tuple(
                (key[1:], cell.counts, cell.seconds)
                for key, cell in total.items()
                if key[0] == counts.REQUESTS
            ),
        )
        said = "Rows for which a prediction was answered, durably logged."
        yield counter("continual_predictions", said, _M, of(counts.PREDICTIONS))
        said = "Labels that came, by what became of them."
        yield counter("continual_labels", said, ("model", "verdict"), of(counts.LABELS))
        said = "Versions that a worker began to answer with, its first one not counted."
        yield counter("continual_swaps", said, _M, of(counts.SWAPS))
        yield gauge("continual_workers", "Processes that serve.", (), [((), len(alive))])
        said = "Workers that answer with this version now."
        yield gauge("continual_answering_workers", said, ("model", "version"), answers.items())
        said = "Rows that wait for the group commit, in all workers."
        yield gauge("continual_log_queue_rows", said, (), [((), sum(queued))] if queued else [])

    def _seen(self) -> Iterator[Figure]:
        now = self._health.now
        parts: Json = now.get("components", {})
        said = "1 for the state that each component is in, as /health says it."
        samples = [
            ((name, status), float(part["status"] == status))
            for name, part in parts.items()
            for status in _STATUS
        ]
        yield gauge("continual_component_status", said, ("component", "status"), samples)
        said = "Whether the log took a row when it was last tried, some two seconds ago."
        yield gauge("continual_log_writable", said, (), [((), float(self._health.writable))])
        period = self._project.settings.check_interval_seconds
        said = "How often the loop is scheduled."
        yield gauge("continual_cycle_period_seconds", said, (), [((), period)])

    def _read(self) -> list[Figure]:
        """Read what the loop has written; what was read stays for a second."""
        with self._reading:
            if time.monotonic() - self._read_at >= _KEPT_S:
                try:
                    with read(self._engine) as conn:
                        self._of_loop = list(self._of_store(conn))
                except (SQLAlchemyError, StoreUnavailableError) as error:
                    logger.warning("metrics: the store cannot be read: {}", error)
                    self._of_loop = []
                self._read_at = time.monotonic()
            return self._of_loop

    def _of_store(self, conn: Connection) -> Iterator[Figure]:
        names = self._project.shown(log.observed(conn, self._project.models))
        yield gauge(
            "continual_log_number", "The last number of the log.", (), [((), log.last_seq(conn))]
        )
        yield from self._versions(conn, names)
        yield from self._decisions(conn)
        yield from _loop(conn, names)
        reports = {n: r for n in names if (r := snapshots.report(conn, n))}
        yield from _evidence(reports)
        yield from self._labels(conn, {n: reports[n]["read"] if n in reports else 0 for n in names})
        yield from _outbox(conn)

    def _versions(self, conn: Connection, names: list[str]) -> Iterator[Figure]:
        pointed = {name: pointers.pointed(conn, name) for name in names}
        info, aliases = [], []
        for name, there in pointed.items():
            aliases += [((name, alias), float(number)) for alias, number in there.items()]
            number = there.get("champion")
            known = pointers.version(conn, name, number) if number else None
            if known is not None:
                kind = self._project.models[name].kind
                told = (name, kind, str(known.version), known.strategy, known.sha256)
                info.append((told, 1.0))
        labels = ("model", "kind", "version", "strategy", "sha256")
        said = "The champion of each model, as its labels say it."
        yield gauge("continual_champion_info", said, labels, info)
        said = "The version that each alias names."
        yield gauge("continual_version", said, ("model", "alias"), aliases)
        said = "Whether the model has a champion."
        have = [((n,), float("champion" in there)) for n, there in pointed.items()]
        yield gauge("continual_has_champion", said, _M, have)

    def _decisions(self, conn: Connection) -> Iterator[Figure]:
        self._decided.read_on(conn)
        labels = ("model", "kind")
        n = [(key, float(one.n)) for key, one in self._decided.of.items()]
        yield counter("continual_decisions", "Entries of the ledger.", labels, n)
        said = "When the last decision of this kind was taken."
        at = [
            (key, datetime.fromisoformat(one.last_at).timestamp())
            for key, one in self._decided.of.items()
        ]
        yield gauge("continual_decision_timestamp_seconds", said, labels, at)

    def _labels(self, conn: Connection, read_to: dict[str, int]) -> Iterator[Figure]:
        newest = {n: found for n in read_to if (found := arrivals.newest_label(conn, n))}
        said = "When the newest label came."
        at = [((n,), one.recorded_at) for n, one in newest.items()]
        yield gauge("continual_label_timestamp_seconds", said, _M, at)
        said = "How long after its observation the newest label came."
        lag = [((n,), one.lag_s) for n, one in newest.items()]
        yield gauge("continual_label_lag_seconds", said, _M, lag)
        models = self._project.models
        waiting = [
            ((n,), float(windows.n_joined(conn, models[n], read))) for n, read in read_to.items()
        ]
        said = "Labelled rows that the loop has not read yet."
        yield gauge("continual_waiting_rows", said, _M, waiting)


def _loop(conn: Connection, names: list[str]) -> Iterator[Figure]:
    beats = {
        "scheduler": max(_beat(conn, leases.TURNED), _beat(conn, leases.SKIPPED)),
        "timer": _beat(conn, leases.TIMER),
    }
    said = "When a scheduled cycle last ended well, and when the timer last looked; 0 for never."
    at = [((by,), beat) for by, beat in beats.items()]
    yield gauge("continual_cycle_timestamp_seconds", said, ("by",), at)
    failed = failed_turns.listed(conn)
    said = "Whether the model's last turn of the loop failed; /health says why."
    yield gauge("continual_turn_failed", said, _M, [((n,), float(n in failed)) for n in names])


def _beat(conn: Connection, name: str) -> float:
    return leases.last_beat_in(conn, name) or 0.0


def _evidence(reports: dict[str, Json]) -> Iterator[Figure]:
    rows = [((n,), float(r["rows"])) for n, r in reports.items()]
    said = "Labelled rows that the loop has read since the first champion."
    yield gauge("continual_labelled_rows", said, _M, rows)
    told = {n: r["evidence"] for n, r in reports.items()}
    shares = [((n, *d), share) for n, e in told.items() for d, share in _shares(e)]
    said = "Evidence as a share of the threshold; at 1 the loop acts."
    labels = ("model", "detector", "of")
    yield gauge("continual_evidence_ratio", said, labels, shares)
    levels = [((n, m), level) for n, e in told.items() for m, level in e["promised"].items()]
    said = "The mean loss that the champion may have."
    yield gauge("continual_promised_loss", said, ("model", "metric"), levels)
    said = "Whether an incident (broken feed, label fault) is open: nothing is learnt meanwhile."
    opened = [((n,), float(e["incident"] is not None)) for n, e in told.items()]
    yield gauge("continual_incident_open", said, _M, opened)
    said = "Whether no label comes any more."
    silent = [((n,), float(e["delay"]["silent"])) for n, e in told.items()]
    yield gauge("continual_labels_silent", said, _M, silent)


def _shares(evidence: Json) -> Iterator[tuple[tuple[str, str], float]]:
    loss = evidence["loss"]
    yield ("loss", ""), loss["evidence"] / loss["threshold"]
    for name, one in evidence["gate"].items():
        yield ("gate", name), one["evidence"] / one["threshold"]
    for name, level in evidence["columns"].items():
        yield ("column", name), level
    if evidence["delay"]["level"] is not None:
        yield ("delay", ""), evidence["delay"]["level"]
    if refused := evidence.get("refused_rows"):  # a snapshot of before has none
        yield ("refused", ""), refused["level"]


def _outbox(conn: Connection) -> Iterator[Figure]:
    there = {name: outbox.counts(conn, name) for name in outbox.destinations(conn)}
    states = (outbox.WAITING, outbox.DELIVERED, outbox.REFUSED)
    n = [((name, s), float(found.get(s, 0))) for name, found in there.items() for s in states]
    said = "Messages to the outside world, by state."
    yield gauge("continual_outbox_messages", said, ("destination", "state"), n)
    oldest = [((name,), outbox.waits_s(conn, name) or 0.0) for name in there]
    said = "How long the oldest message that waits has waited."
    yield gauge("continual_outbox_wait_seconds", said, ("destination",), oldest)
