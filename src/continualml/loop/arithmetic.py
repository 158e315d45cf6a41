"""The thresholds of a policy: how they come about, what they guarantee, and what they do not."""

from collections.abc import Iterator

from continualml import decide
from continualml.decide.promise import DELAY_TOLERANCE, PARTS, REFUSAL_TOLERANCE
from continualml.evidence.blocks import CANDIDATES
from continualml.model import Model
from continualml.records import Json


def explained(model: Model, known: decide.Known) -> Json:
    """Explain the policy that is in force, or the one that is said while there is no champion.

    Parameters
    ----------
    model
        As the user says it now, its periods counted in rows.
    """
    state = known.standing
    now = known.model if known.model is not None and state is not None else model
    policy, block = now.policy, state.block if state else now.policy.block
    told: Json = {
        "model": now.name,
        "in_force": state is not None,
        "policy": decide.policy_hash(now),
        "differs_from_file": decide.changed(now, model),
        "block": {"rows": block, "because": _why_block(now, block)},
        "alarm": {
            "budget_rows": policy.false_alarms,
            "because": _why_rows(now, "alarm"),
            "families": dict(PARTS),
        },
        "gate": {
            "budget_rows": policy.false_promotions,
            "chance": policy.false_promotion_chance if policy.false_promotions is None else None,
            "because": _why_rows(now, "promotion"),
            "places": dict(zip(decide.places(now), decide.shares(now), strict=True)),
        },
    }
    if state is not None:
        asked = decide.questions(now, state.anchor, state.block)
        alarms = max(policy.false_alarms, asked.block)
        told["alarm"] |= {
            "promised": decide.promised(now, state.anchor),
            "threshold": asked.alarm_threshold,
            "arithmetic": f"{alarms:g} rows / {asked.block} rows a bet / a family's part",
            "bets": [list(q.bets()) for q in asked.alarms],
        }
        told["gate"] |= {
            "thresholds": dict(zip(decide.places(now), asked.proofs, strict=True)),
            "arithmetic": f"1 / ({policy.false_promotion_chance:g} x a place's share)"
            if policy.false_promotions is None
            else f"{max(policy.false_promotions, asked.block):g} rows / {asked.block} rows a bet "
            "/ a place's share",
        }
    told["guaranteed"] = list(_guaranteed(now, block))
    told["not_guaranteed"] = list(_not_guaranteed(now, block))
    return told


def _why_block(model: Model, block: int | None) -> str:
    if model.policy.block is not None:
        return "the policy says so"
    if block is None:
        return f"will be estimated with the first champion: one of {list(CANDIDATES)}"
    return "the smallest whose means on the first champion's held-back rows do not hang together"


def _why_rows(model: Model, what: str) -> str:
    policy = model.policy
    days = policy.false_alarm_days if what == "alarm" else policy.false_promotion_days
    rows = policy.false_alarms if what == "alarm" else policy.false_promotions
    if days is None:
        return "the policy says so in rows" if rows else "the policy says a chance"
    if policy.rows_per_day is None:
        return (
            f"the policy says {days:g} days, but not how many labelled rows a day has, and the log "
            f"does not yet span one: until then {'these rows' if rows else 'the chance'} hold"
            f"{'' if rows else 's'}"
        )
    return f"{days:g} days of {policy.rows_per_day:g} labelled rows"


def _guaranteed(model: Model, block: int | None) -> Iterator[str]:
    policy, rows = model.policy, f"{block or 'block'} labelled rows"
    yield (
        f"Alarm: while the mean loss of every {rows}, given all before them, is at most what was "
        f"promised, no column's share of rows in any of its parts differs from the reference by "
        f"more than {policy.drift_tolerance:g} and three standard errors, nor the labels', no "
        f"larger share of labels than usual ({DELAY_TOLERANCE:g} and three standard errors more) "
        f"is overdue, and no larger share of rows than usual ({REFUSAL_TOLERANCE:g} and three "
        "standard errors more) is refused, the expected number of rows from each start of the "
        f"evidence to an alarm is at least {policy.false_alarms}, however often one looks. Within "
        "the first n rows after a start the chance of an alarm is at most "
        f"n / {policy.false_alarms}. Loss, columns, labels, their delay and refused rows share "
        "this budget, and in each family all metrics and columns do. Columns and delay count "
        "observed rows, refused rows count with the answered ones, the others count labelled ones."
    )
    kept = (
        f"the chance that any is ever promoted in place of the same champion is at most "
        f"{policy.false_promotion_chance:g}, however long and often one looks"
        if policy.false_promotions is None
        else "the expected number of rows from each start to any promotion is at least "
        f"{policy.false_promotions}"
    )
    yield (
        f"Gate: while no challenger is better (its clipped loss difference over {rows}, given all "
        f"before them, is at most 0 on average), {kept}, for all "
        f"{len(decide.places(model))} places together."
    )


def _not_guaranteed(model: Model, block: int | None) -> Iterator[str]:
    policy = model.policy
    rows = f"{block or 'block'} rows"
    yield f"Nothing is said about dependence that reaches beyond {rows}."
    yield "Nothing is said where labels depend on what the model itself answered."
    if policy.threshold is None:
        yield (
            "The promised level is approximate: mean loss on held-back rows + 1.645 standard "
            f"errors (from about 200 rows on) + tolerance {policy.tolerance:g}."
        )
    yield (
        "An average is no least: a false alarm may come early, and a stretch of n rows may have "
        "more than n / budget of them."
    )
    yield (
        "What was proven is a strategy at the time of its proof; its later refits pass a check "
        "on held-back rows, and no new proof."
    )
    if policy.false_alarm_days is not None or policy.false_promotion_days is not None:
        yield (
            "Days became rows once, when the policy was declared; if labels come faster or slower "
            "since, the days are shorter or longer."
        )
