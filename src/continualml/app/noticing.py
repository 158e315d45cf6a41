"""What is worth telling, looked for in ledger, components and the clock, goes to the outbox.

The ledger is read behind its end: a decision and its notices cannot come apart, and the loop knows
nothing of those who are told.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
from sqlalchemy import Connection, Engine

from continualml import clock
from continualml.app import components, gathering
from continualml.integrations import nearby
from continualml.notices import of_components, of_decision
from continualml.notices.of_components import DEGRADED, DOWN, OK, Change, Component, Watched
from continualml.records import Json, LedgerEntry
from continualml.settings import Project
from continualml.store import channels, ledger, outbox
from continualml.store.channels import Channel
from continualml.store.engine import read, write

DECISION, COMPONENT, DIGEST, OK_EVENT = "decision", "component", "digest", "ok"
_MOST = 200
_PATIENCE_S = 3.0


@dataclass(slots=True)
class Noticing:
    """Looks for what one channel has not been told.

    Parameters
    ----------
    settle_s, grace_s
        How long a component must be otherwise before it is said, and how long after our own start
        nobody is: they may be starting too.
    """

    engine: Engine
    project: Project
    channel: str
    settle_s: float = 30.0
    grace_s: float = 120.0
    _began: float = field(init=False)
    _checked: float = float("-inf")
    _seen: Mapping[str, Component] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin now."""
        self._began = clock.steady_s()

    def look(self) -> None:
        """Queue what is new: decisions at once, the rest once a check interval."""
        self._decisions()
        if clock.steady_s() - self._checked < self.project.settings.check_interval_seconds:
            return
        self._checked = clock.steady_s()
        self._seen = seen(self.engine, self.project, up_for_s=self._checked - self._began)
        now = clock.now()
        with write(self.engine) as conn:
            there = _there(conn, self.channel)
            self._components(conn, there, now)
            if self.project.settings.notify_ok == "every_check":
                outbox.enqueue_once(conn, self.channel, {"event": OK_EVENT})
            else:
                self._daily(conn, there, now)

    def states(self) -> Mapping[str, Component]:
        """Return how the components were at the last look."""
        return self._seen

    def _decisions(self) -> None:
        with read(self.engine) as conn:
            after = _there(conn, self.channel).told
            newest = ledger.entries(conn, limit=1)
        last = newest[0].n if newest else 0
        while after < last:
            first, after = after, min(last, after + _MOST)
            with read(self.engine) as conn:
                some = ledger.entries(conn, after=first, before=after + 1, limit=_MOST)
                bodies = [body for entry in reversed(some) for body in self._bodies(conn, entry)]
            with write(self.engine) as conn:
                if _there(conn, self.channel).told != first:
                    return  # another courier was quicker
                for body in bodies:
                    outbox.enqueue(conn, self.channel, body)
                channels.told(conn, self.channel, after)

    def _bodies(self, conn: Connection, entry: LedgerEntry) -> Iterator[Json]:
        """Write a message for each thing that people are told of a decision."""
        d = entry.decision
        model = self.project.models.get(d.model)
        failed = d.kind == "refuse" and d.version is None
        for event in of_decision.events_of(
            d,
            on_alarm=model is not None and model.policy.retrain == "on_alarm",
            failed_before=failed and gathering.failed_before(conn, entry),
            goes_on=gathering.goes_on(conn, entry),
        ):
            yield {"event": DECISION, "what": event, "n": entry.n}

    def _components(self, conn: Connection, there: Channel, now: datetime) -> None:
        starting = clock.steady_s() - self._began < self.grace_s
        seen = {n: c for n, c in self._seen.items() if c.status == OK or not starting}
        before = {name: Watched(**one) for name, one in there.watched.items()}
        after, changes = of_components.step(
            before, seen, at_s=now.timestamp(), settle_s=self.settle_s
        )
        if after != before:
            channels.watched(conn, self.channel, {name: asdict(one) for name, one in after.items()})
        for change in changes:
            body: Json = {"event": COMPONENT, "change": asdict(change)}
            outbox.enqueue(conn, self.channel, body)

    def _daily(self, conn: Connection, there: Channel, now: datetime) -> None:
        last = datetime.fromtimestamp(there.digested_at, UTC)
        if now >= _next(last, self.project.settings.notify_digest_at):
            since = last.isoformat(timespec="milliseconds")
            outbox.enqueue(conn, self.channel, {"event": DIGEST, "since": since})
            channels.digested(conn, self.channel, now.timestamp())
        outbox.enqueue_once(conn, self.channel, {"event": OK_EVENT})


def change_of(body: Json) -> Change:
    """Read the change that a message tells of."""
    return Change(**body["change"])


def seen(engine: Engine, project: Project, *, up_for_s: float) -> dict[str, Component]:
    """Look at every component that is configured; an address is asked, once, with little time."""
    said = project.settings
    probes: dict[str, Callable[[], Component]] = {"api": lambda: _asked(f"{said.api}/readyz")}
    if said.prefect_api_url:
        probes["prefect"] = lambda: _asked(f"{said.prefect_api_url}/health")
    if said.mlflow_tracking_uri and said.mlflow_tracking_uri.startswith("http"):
        probes["mlflow"] = lambda: _asked(f"{said.mlflow_tracking_uri}/health")
    if said.dashboard_url:
        probes["dashboard"] = lambda: _asked(f"{said.dashboard_url}/_stcore/health")
    found = {name: probe() for name, probe in probes.items()}
    with read(engine) as conn:
        found["loop"] = _as_told(components.loop(conn, project, up_for_s=up_for_s))
        mirror = _as_told(components.mirror(conn, project))
    if mirror.status != OK and found.get("mlflow", Component(status=OK)).status == OK:
        found["mlflow"] = mirror
    return found


def _as_told(told: Json) -> Component:
    bad = told["status"] != OK
    return Component(status=told["status"], because=str(told.get("because", "")) if bad else "")


def _asked(url: str) -> Component:
    """Ask whether it answers; a page that wants a password is an answer, so none is sent."""
    try:
        bare = httpx.URL(url).copy_with(userinfo=b"")
        answer = httpx.get(bare, timeout=_PATIENCE_S, trust_env=not nearby.is_here(bare))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Component(status=DOWN, because=f"it does not answer ({type(error).__name__})")
    if answer.is_server_error:
        status = DOWN if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else DEGRADED
        return Component(status=status, because=f"it answers {answer.status_code}{_detail(answer)}")
    return Component(status=OK)


def _detail(answer: httpx.Response) -> str:
    """Read why from a problem document."""
    try:
        told = answer.json()
    except ValueError:
        return ""
    detail = told.get("detail") if isinstance(told, dict) else None
    return f": {detail}" if detail else ""


def _next(last: datetime, at: str) -> datetime:
    """Find the first instant after ``last`` at which the clock shows ``at``, in UTC."""
    hour, minute = (int(part) for part in at.split(":"))
    found = last.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return found if found > last else found + timedelta(days=1)


def _there(conn: Connection, name: str) -> Channel:
    there = channels.get(conn, name)
    if there is None:
        raise LookupError(f"the channel {name} was not opened")
    return there
