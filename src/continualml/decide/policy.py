"""A policy that changed: what was proven under the old one stays where it still means the same."""

import hashlib
from dataclasses import replace

import msgspec

from continualml.decide.arrive import asked_anew
from continualml.decide.learn import blend_ordered
from continualml.decide.promise import questions
from continualml.decide.refuse import asked_anew as refusals_asked_anew
from continualml.decide.standing import BLEND, SINCE_ALARM, Standing, places
from continualml.decide.watch import columns_asked_anew
from continualml.errors import InputError
from continualml.evidence import fold, gate
from continualml.model import Model, Strategy


def policy_hash(model: Model) -> str:
    """Name a model's schema and policy by the SHA-256 of their canonical JSON."""
    return hashlib.sha256(msgspec.json.encode(model, order="deterministic")).hexdigest()


def changed(old: Model, new: Model) -> list[str]:
    """Name what differs, as it is written in the file."""
    before, after = msgspec.to_builtins(old), msgspec.to_builtins(new)
    policies = before.pop("policy"), after.pop("policy")
    return [k for k in after if before[k] != after[k]] + [
        f"policy.{k}" for k in policies[1] if policies[0][k] != policies[1][k]
    ]


def declared(old: Model, new: Model, state: Standing) -> Standing:
    """Go on under a new policy.

    Evidence is carried over by name, never by place: a strategy that means something else now
    begins anew, and so does everything when the block changes.

    Raises
    ------
    InputError
        If the schema differs: the versions that are there were trained for the old one.
    """
    for part in ("kind", "target", "features", "classes", "bound"):
        if getattr(old, part) != getattr(new, part):
            raise InputError(
                f"models.{new.name}.{part}",
                expected=f"as its versions were trained for: {getattr(old, part)!r}",
                got=getattr(new, part),
                remedy="give the changed problem a name of its own, and train its first champion",
            )
    kept = _same_strategies(old, new)
    names = {s.name for s in new.policy.strategies} | {BLEND, SINCE_ALARM}
    gone = {s.name for s in old.policy.strategies} - kept
    heads = {n: a for n, a in state.heads.items() if n in names and n not in gone}
    lines = {n: line for n, line in state.lines.items() if n in heads}
    before = state
    state = replace(
        state,
        block=new.policy.block or state.block,
        follows=state.follows if state.follows not in gone else None,
        heads=heads,
        lines=lines,
        ordered_at={n: at for n, at in state.ordered_at.items() if n in kept},
        orders=tuple(o for o in state.orders if o.strategy in names and o.strategy not in gone),
        evidence=_carried(old, new, state, gone),
    )
    state = asked_anew(old, new, before, columns_asked_anew(old, new, before, state))
    state = refusals_asked_anew(old, new, before, state)
    return blend_ordered(state) if gone and BLEND in heads else state


def _same_strategies(old: Model, new: Model) -> set[str]:
    before: dict[str, Strategy] = {s.name: s for s in old.policy.strategies}
    return {s.name for s in new.policy.strategies if before.get(s.name) == s}


def _carried(old: Model, new: Model, state: Standing, gone: set[str]) -> fold.Evidence:
    block = new.policy.block or state.block
    before = questions(old, state.anchor, state.block)
    after = questions(new, state.anchor, block)
    gates = dict(zip(places(old), state.evidence.gates, strict=True))
    sums = dict(zip(places(old), state.evidence.sums, strict=True))
    none = gate.untouched(block)
    # What a place has spent of the promise stays spent, whoever stands in it from now on. One that
    # is new may have been there before: it has spent as much as the one that spent most.
    most = max(state.evidence.gone, *(g.rows for g in gates.values()))
    fresh = [replace(none, rows=gates[p].rows if p in gates else most) for p in places(new)]
    if block != state.block:
        evidence = fold.untouched(after, seq=state.read)
        return replace(evidence, gates=tuple(fresh), gone=most)
    kept = gates.keys() - gone
    if type(before.promotion) is type(after.promotion):
        fresh = [gates[p] if p in kept else g for p, g in zip(places(new), fresh, strict=True)]
    evidence = replace(
        state.evidence,
        gates=tuple(fresh),
        sums=tuple(sums[p] if p in kept else 0.0 for p in places(new)),
        gone=most,
    )
    return evidence if before.alarms == after.alarms else fold.silenced(after, evidence)
