"""What notices say, gathered from the store: evidence, what was served, how everything stands."""

import itertools
from collections.abc import Mapping

from sqlalchemy import Connection

from continualml import clock
from continualml.decide import SINCE_ALARM
from continualml.loop import reasons
from continualml.model import Model
from continualml.notices.notice import Share
from continualml.notices.of_components import Component
from continualml.notices.of_day import Day, Standing
from continualml.notices.of_decision import Seen
from continualml.records import Json, LedgerEntry
from continualml.scoring.losses import wrong
from continualml.settings import Project
from continualml.store import ledger, lineage, log, pointers, snapshots, windows

_NEWEST = 500
_MOST_OF_A_DAY = 20_000
_TRIED = ("accept", "follow", "refuse")
_SETTLES = ("first", "promote", "rollback", "recover", "policy")
_LOOK_BACK = 200


def seen(conn: Connection, project: Project, entry: LedgerEntry) -> Seen:
    """Gather what belongs to an entry of the ledger."""
    d, shown = entry.decision, lineage.shown(conn, [entry])[entry.n]
    began: Json | None = shown.get("began")
    model = project.models.get(d.model)
    return Seen(
        why=tuple(reasons.sentences(d, began)),
        rows=shown["rows"],
        began=f"observation {began['observation_id']} of {began['at']}" if began else None,
        served=served(conn, model, through=d.seq, newest=_NEWEST) if model else None,
        expected=_expected(conn, d.model, d.version),
        budgets=_budgets(conn, entry),
    )


def failed_before(conn: Connection, entry: LedgerEntry) -> bool:
    """Whether the last fit of the same strategy before this one brought no version either."""
    d = entry.decision
    earlier = ledger.entries(conn, model=d.model, kinds=_TRIED, before=entry.n, limit=_LOOK_BACK)
    same = (e for e in earlier if e.decision.basis.get("strategy") == d.basis.get("strategy"))
    last = next(same, None)
    return last is not None and last.decision.kind == "refuse" and last.decision.version is None


def goes_on(conn: Connection, entry: LedgerEntry) -> bool:
    """Whether an entry belongs to an alarm about the loss that has been said already.

    That is one with the same diagnosis as an earlier one, while neither the champion nor the
    policy has changed and no incident has ended: the same change, still there. What is trained
    since that alarm belongs to it.
    """
    d = entry.decision
    of_loss = d.kind == "alarm" and d.basis.get("family") == "loss"
    if not of_loss and d.basis.get("strategy") != SINCE_ALARM:
        return False
    earlier = ledger.entries(
        conn, model=d.model, kinds=("alarm", *_SETTLES), before=entry.n, limit=_LOOK_BACK
    )
    since = itertools.takewhile(lambda e: e.decision.kind == "alarm", earlier)
    alarms = [e.decision for e in since if e.decision.basis.get("family") == "loss"]
    if not of_loss:
        d, alarms = alarms[0] if alarms else d, alarms[1:]
    return any(a.basis["diagnosis"] == d.basis.get("diagnosis") for a in alarms)


def served(
    conn: Connection, model: Model, *, through: int, newest: int, after: int = 0
) -> Share | None:
    """Count the right answers among the newest labelled rows that were answered.

    Of a regression an answer is right whose error is within the bound.
    """
    window = windows.training(conn, model, through=through, newest=newest)
    window = window.only((window.version > 0) & (window.seq > after))
    if not len(window):
        return None
    n_wrong = int(wrong(model, window.answer, window.target).sum())
    return Share(right=len(window) - n_wrong, n=len(window))


def day(
    conn: Connection,
    project: Project,
    components: Mapping[str, Component],
    *,
    since: str | None = None,
) -> Day:
    """Gather how everything stands, and what happened since then (UTC, ISO 8601) if asked."""
    names = project.shown(log.observed(conn, project.models))
    before = ledger.last_until(conn, since) if since else None
    seq = int(before.decision.basis.get("decided_from", {}).get("outcome", 0)) if before else 0
    models = {name: _standing(conn, project.models[name], seq if since else None) for name in names}
    at = clock.now().isoformat(timespec="seconds")
    return Day(models=models, components=components, at=at, since=since)


def _standing(conn: Connection, model: Model, after: int | None) -> Standing:
    report = snapshots.report(conn, model.name) or {}
    evidence: Json = report.get("evidence", {})
    loss = evidence.get("loss")
    shares = [loss["evidence"] / loss["threshold"]] if loss else []
    shares += evidence.get("columns", {}).values()
    if (delay := evidence.get("delay", {}).get("level")) is not None:
        shares.append(delay)
    shares.append(evidence.get("refused_rows", {}).get("level", 0.0))
    newest = _NEWEST if after is None else _MOST_OF_A_DAY
    return Standing(
        champion=pointers.pointed(conn, model.name).get("champion"),
        served=served(conn, model, through=report.get("read", 0), newest=newest, after=after or 0),
        evidence=max(shares, default=None),
        incident=evidence.get("incident"),
        moved_again=evidence.get("shifts", {}),
        rows=report.get("rows", 0),
        decisions={} if after is None else ledger.counts(conn, model.name, after=after),
    )


def _budgets(conn: Connection, entry: LedgerEntry) -> tuple[int, int | float] | None:
    """Read the budgets of the policy that was in force; see ``Seen``."""
    kinds, before = ("first", "policy"), entry.n + 1
    found = ledger.entries(conn, model=entry.decision.model, kinds=kinds, before=before, limit=1)
    policy: Json = found[0].decision.basis.get("model", {}).get("policy", {}) if found else {}
    if "false_alarms" not in policy:
        return None
    rows = policy["false_promotions"]
    promotion = float(policy["false_promotion_chance"]) if rows is None else int(rows)
    return int(policy["false_alarms"]), promotion


def _expected(conn: Connection, model: str, version: int | None) -> Share | None:
    """Read what a version got right on rows held back from its fit; a blend has no such rows."""
    known = pointers.version(conn, model, version) if version is not None else None
    check: Json = known.manifest.get("check", {}) if known else {}
    if "hold_error_rate" not in check:
        return None
    n = int(check["hold"])
    return Share(right=round(n * (1 - check["hold_error_rate"])), n=n)
