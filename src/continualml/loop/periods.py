"""Blocks and budgets that are said in days become rows, before the rows that are judged."""

from dataclasses import replace

from sqlalchemy import Connection

from continualml import decide
from continualml.model import Model, Policy
from continualml.store import windows

_LEAST_S = 86_400.0


def in_rows(conn: Connection, model: Model, known: decide.Known) -> Model:
    """Count the policy's periods in rows; a policy without any comes back as it is.

    The rate is the user's ``rows_per_day``; else the one that is in force, while the periods are
    the same; else it is measured from the log. The result is declared, and so it is in the log
    before any row that it judges. Without a rate the budgets in rows hold.
    """
    policy = model.policy
    if not any(_said(policy)):
        return model
    rate = policy.rows_per_day or _held(known, policy) or rows_per_day(conn, model.name)
    if rate is None:
        return model
    block = policy.block
    if policy.block_days is not None:
        block = max(1, round(policy.block_days * rate))
    least = block or 1
    alarms, promotions = policy.false_alarm_days, policy.false_promotion_days
    counted = replace(
        policy,
        rows_per_day=rate,
        block=block,
        false_alarms=max(least, round(alarms * rate)) if alarms else policy.false_alarms,
        false_promotions=max(least, round(promotions * rate))
        if promotions
        else policy.false_promotions,
    )
    return replace(model, policy=counted)


def rows_per_day(conn: Connection, name: str) -> float | None:
    """Measure how many labels come a day, after the first ones; None in less than a day.

    What came at the first instant is left out: a file is read into the log at once.
    """
    span = windows.first_labels(conn, name)
    if span is None or span.last_at - span.first_at < _LEAST_S:
        return None
    return span.later * 86_400 / (span.last_at - span.first_at)


def _held(known: decide.Known, policy: Policy) -> float | None:
    if known.model is None:
        return None
    held = known.model.policy
    return held.rows_per_day if _said(held) == _said(policy) else None


def _said(policy: Policy) -> tuple[float | None, ...]:
    return (policy.block_days, policy.false_alarm_days, policy.false_promotion_days)
