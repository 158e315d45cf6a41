"""What a decision was decided from and under, so that it can be decided again."""

from dataclasses import dataclass, field, replace

from continualml.decide.policy import policy_hash
from continualml.decide.standing import Standing
from continualml.model import Model
from continualml.records import Built, Decision, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that a fold over one model's outcomes knows.

    ``model`` is the schema and policy in force, ``build`` what the loop runs on; ``model`` is None
    until one is declared, ``standing`` until the first champion.
    """

    model: Model | None = None
    standing: Standing | None = None
    build: dict[str, str] = field(default_factory=dict)


def built(known: Known, seq: int, outcome: Built) -> tuple[Known, tuple[Decision, ...]]:
    """Note what the loop runs on from here; the evidence stays as it is."""
    if known.model is None:
        return replace(known, build=outcome.build), ()
    state = known.standing and replace(known.standing, seq=seq)
    said = Decision(
        model=known.model.name,
        kind="build",
        seq=state.read if state else 0,
        because="the loop runs on " + ", ".join(f"{k} {v}" for k, v in outcome.build.items()),
        basis={"build": outcome.build},
        version=state.champion.version if state else None,
    )
    return replace(known, standing=state, build=outcome.build), (said,)


def with_provenance(decision: Decision, known: Known, seq: int, sha256: str) -> Decision:
    """Write into the basis what the decision was decided from.

    Parameters
    ----------
    known
        What was known after it.
    seq, sha256
        Number and hash of the outcome that led to it. The hash brings the log under the ledger's
        chain: an outcome that is changed later no longer has the hash that its decisions name.
    """
    model, state = known.model, known.standing
    decided_from: Json = {
        "outcome": seq,
        "sha256": sha256,
        "policy": state.policy if state else model and policy_hash(model),
        "seed": model and model.seed,
        "code": known.build.get("continualml"),
    }
    return replace(decision, basis={**decision.basis, "decided_from": decided_from})
