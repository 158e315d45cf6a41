"""How components are, as the store knows it: for ``/health``, and for those who tell people."""

from sqlalchemy import Connection

from continualml import clock
from continualml.records import Json
from continualml.settings import Project
from continualml.store import channels, failed_turns, leases, outbox, snapshots

CHANNELS = {"discord": "discord_webhook_url", "apprise": "notify_url"}
_PERIODS = 3
_TIMER_S = 20.0
_LONGEST_WAIT_S = 300.0


def loop(conn: Connection, project: Project, *, up_for_s: float) -> Json:
    """Say how old the last scheduled turn is, what each loop has read, and which failed.

    ``up_for_s`` is for how long the process that asks has run: before, all may have been down.
    """
    age_s = {n: _age_s(conn, n) for n in (leases.TURNED, leases.SKIPPED, leases.TIMER)}
    read_to: dict[str, int] = {}
    for name in project.models:
        if report := snapshots.report(conn, name):
            read_to[name] = report["read"]
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
    elif min(*beats, up_for_s) > _PERIODS * project.settings.check_interval_seconds:
        faults.append(f"no scheduled cycle for {min(beats):.0f} s; {turning}")
    told: Json = {
        "status": "degraded" if faults else "ok",
        "read": read_to,
        "scheduled_turn_age_s": age_s[leases.TURNED],
    }
    because = "; ".join(faults) or note
    return {**told, **({"because": because} if because else {})}


def mirror(conn: Connection, project: Project) -> Json:
    """Say how many messages wait or were refused, and why; without an MLflow they may wait."""
    mirrored = project.settings.mlflow_tracking_uri is not None
    return _told(conn, "mlflow", expected=mirrored)


def channel(conn: Connection, name: str) -> Json:
    """Say the same of a channel through which people are told, and whether it is parked."""
    there = channels.get(conn, name)
    if there is not None and there.parked is not None:
        told = _told(conn, name, expected=False)
        return {**told, "status": "degraded", "parked": True, "because": f"parked: {there.parked}"}
    return _told(conn, name, expected=True)


def configured(project: Project) -> list[str]:
    """Name the channels that have an address."""
    said = project.settings
    return [name for name, setting in CHANNELS.items() if getattr(said, setting) is not None]


def _told(conn: Connection, destination: str, *, expected: bool) -> Json:
    told: Json = {"status": "ok", "messages": outbox.counts(conn, destination)}
    faults = [failing] if (failing := outbox.failing(conn, destination)) else []
    waits_s = outbox.waits_s(conn, destination) or 0.0
    if expected and waits_s > _LONGEST_WAIT_S:
        faults.append(f"the oldest message has waited for {waits_s:.0f} s; is a courier there?")
    if refused := told["messages"].get(outbox.REFUSED):
        last = outbox.last_refusal(conn, destination)
        faults.append(f"{refused} messages were refused, lastly: {last}")
    return {**told, "status": "degraded", "because": "; ".join(faults)} if faults else told


def _age_s(conn: Connection, name: str) -> float | None:
    beat = leases.last_beat_in(conn, name)
    return None if beat is None else clock.now().timestamp() - beat
