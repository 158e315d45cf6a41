"""Why a decision was taken: its evidence against the thresholds, in sentences."""

from collections.abc import Iterator

from sqlalchemy import Connection

from continualml.errors import InputError
from continualml.records import Decision, Json, LedgerEntry
from continualml.store import ledger, lineage

_AROUND = 2


def decision(conn: Connection, n: int) -> Json:
    """Tell why entry ``n`` of the ledger says what it says, from what, and what stands around it.

    Raises
    ------
    InputError
        If there is no such entry.
    """
    entry = ledger.entry(conn, n)
    if entry is None:
        raise InputError("id", expected="the number of a decision", got=n)
    d = entry.decision
    shown = lineage.shown(conn, [entry])[n]
    around = [ledger.entry(conn, k) for k in range(n - _AROUND, n + _AROUND + 1) if k != n]
    built = ledger.entries(conn, model=d.model, kinds=("build",), before=n + 1, limit=1)
    return {
        "n": n,
        "model": d.model,
        "kind": d.kind,
        "version": d.version,
        "because": d.because,
        "rows": shown["rows"],
        "read_up_to_number": d.seq,
        "recorded_at": entry.recorded_at,
        "evidence": list(sentences(d, shown.get("began"))),
        "decided_from": d.basis.get("decided_from"),
        "build": built[0].decision.basis["build"] if built else None,
        "hash": entry.hash,
        "around": [_line(e) for e in around if e is not None],
    }


def sentences(d: Decision, began: Json | None = None) -> Iterator[str]:
    """Say what a decision's basis holds; ``began`` as in ``lineage.shown``."""
    basis = d.basis
    if promised := basis.get("promised"):
        levels = ", ".join(f"{metric} at most {level:.4f}" for metric, level in promised.items())
        yield f"promised of the champion, on average: {levels}; one bet every {basis['block']} rows"
    if alarm := basis.get("loss"):
        yield f"worse than promised: {_held(alarm)}"
    if "diagnosis" in basis:
        yield from _alarmed(basis, began)
    for name, proof in (basis.get("gate") or {}).items():
        yield f"{name} (version {proof['version']}) better than the champion: {_held(proof)}"
    if "worse_by" in basis:
        yield from _checked(basis)
    if members := basis.get("members"):
        parts = (f"{m} (version {v}) {basis['weights'][m]:.3f}" for m, v in members.items())
        yield f"the blend weighs {', '.join(parts)}"
    if changed := basis.get("changed"):
        yield f"the policy changed in {', '.join(changed)}"
    if incident := basis.get("incident"):
        yield f"an incident is open, or was until now: {incident}"
    yield from _without_proof(basis)


def _without_proof(basis: Json) -> Iterator[str]:
    """Say what a guard found, or who commanded it."""
    if unfit := basis.get("unfit"):
        yield f"the guard on {unfit['guard']} found version {unfit['version']} unfit to answer"
    if "by_hand" in basis:
        yield f"commanded by {basis['by_hand']}, without proof: {basis['said']}"


def _alarmed(basis: Json, began: Json | None) -> Iterator[str]:
    """Say what an alarm was taken for, and which columns moved."""
    seen = basis["metric"] if "metric" in basis else f"the {basis['family']}"
    yield f"taken for {basis['diagnosis']}, seen in {seen}; began about {_since(basis, began)}"
    if "alarm_evidence" in basis:
        alarm = {"evidence": basis["alarm_evidence"], "threshold": basis["alarm_threshold"]}
        yield f"{basis['family']} moved: {_held(alarm)}"
    if refused := basis.get("refused"):
        fields = ", ".join(f"{name} ({n})" for name, n in refused["fields"].items())
        yield (
            f"{refused['refused']} of {refused['rows']} rows were refused, where "
            f"{refused['usual_at_most']:.1%} at most are usual; at fault: {fields}"
        )
    for m in basis.get("moved", ()):
        yield (
            f"{m['name']}: {m['cell']} {m['direction']}, share {m['reference_share']:.3f} -> "
            f"{m['share']:.3f} ({m['pattern']})"
        )


def _since(basis: Json, began: Json | None) -> str:
    if began is None:
        return f"number {basis['began']}"
    return f"observation {began['observation_id']} of {began['at']} (number {began['number']})"


def _held(proof: Json) -> str:
    evidence, threshold = proof["evidence"], proof["threshold"]
    reached = "reached" if evidence >= threshold else "not reached"
    return f"evidence {evidence:.4g} of {threshold:.4g}, {reached}"


def _checked(basis: Json) -> Iterator[str]:
    if basis["predecessor"] is None:
        yield f"{basis['strategy']} had no version before; nothing to compare with"
        return
    yield (
        f"on the {basis['hold']} newest rows, which it never saw, its loss is "
        f"{basis['worse_by']:+.4f} against version {basis['predecessor']}; up to one standard "
        f"error, {basis['standard_error']:.4f}, is accepted"
    )


def _line(entry: LedgerEntry) -> Json:
    d = entry.decision
    return {"n": entry.n, "model": d.model, "kind": d.kind, "because": d.because}
