"""Where an answer came from: the version, its rows, the decision and the policy behind it."""

from datetime import UTC, datetime

import msgspec
import numpy as np
from sqlalchemy import Connection

from continualml.errors import InputError
from continualml.model import Model
from continualml.records import Json, LedgerEntry, Rows, Version
from continualml.scoring.session import Session
from continualml.store import artifacts, ledger, lineage, log, pointers
from continualml.store.artifacts import Place

# Kinds of decisions in which a policy comes into force.
_DECLARES = ("first", "policy")


def observation(conn: Connection, place: Place, model: Model, observation_id: str) -> Json:
    """Tell where the answer to one observation came from, and what would be answered now.

    Parameters
    ----------
    place
        Where the artifacts are.

    Raises
    ------
    InputError
        If the log has no such observation.
    """
    name = model.name
    seq = lineage.observed_seq(conn, name, observation_id)
    row = log.recorded(conn, [(name, observation_id)]).get((name, observation_id))
    if seq is None or row is None:
        raise InputError("id", expected=f"an observation of {name}", got=observation_id)
    known = pointers.version(conn, name, row.version) if row.version else None
    return {
        "model": name,
        "observation_id": observation_id,
        "seq": seq,
        "recorded_at": datetime.fromtimestamp(row.recorded_at, UTC).isoformat(),
        "trace": row.trace,
        "answer": _said(model, np.frombuffer(row.answer, "<f8")) if row.answer else None,
        "version": _version(known, row.revision),
        "installed_by": _short(_last(conn, name, seq, ledger.INSTALLS, version=row.version))
        if known
        else None,
        "policy": _policy(_last(conn, name, seq, _DECLARES)),
        "labels": lineage.labels_of(conn, name, observation_id),
        "now": _now(conn, place, model, row),
    }


def _version(known: Version | None, revision: int | None) -> Json | None:
    if known is None:
        return None
    rows = known.manifest["rows"]
    return {
        "version": known.version,
        "sha256": known.sha256,
        "strategy": known.strategy,
        "trained_at": known.recorded_at,
        "weights_revision": revision,
        "training_rows": rows["n"],
        "training_ranges": rows["ranges"],
    }


def _last(
    conn: Connection, name: str, seq: int, kinds: tuple[str, ...], *, version: int | None = None
) -> LedgerEntry | None:
    """Read the last entry of these kinds that was decided before the number ``seq``."""
    before: int | None = None
    while some := ledger.entries(
        conn, model=name, kinds=kinds, version=version, before=before, limit=100
    ):
        for entry in some:
            if entry.decision.basis["decided_from"]["outcome"] < seq:
                return entry
        before = some[-1].n
    return None


def _short(entry: LedgerEntry | None) -> Json | None:
    if entry is None:
        return None
    d = entry.decision
    return {"n": entry.n, "kind": d.kind, "because": d.because, "recorded_at": entry.recorded_at}


def _policy(entry: LedgerEntry | None) -> Json | None:
    if entry is None:
        return None
    basis = entry.decision.basis
    return {"hash": basis["policy"], "in_force_since": entry.n, "policy": basis["model"]["policy"]}


def _now(conn: Connection, place: Place, model: Model, row: log.Observed) -> Json | None:
    champion = pointers.pointer(conn, model.name, "champion")
    if champion is None:
        return None
    known = pointers.version(conn, model.name, champion.version)
    if known is None:
        raise InputError("version", expected=f"a version of {model.name}", got=champion.version)
    texts = np.empty((1, len(model.categorical)), dtype=object)
    if texts.size:
        texts[0] = msgspec.json.decode(row.categorical or "[]")
    rows = Rows(numeric=np.frombuffer(row.numeric, "<f8").reshape(1, -1), categorical=texts)
    weights = np.array(champion.weights, np.float32) if champion.weights else None
    answer = Session(artifacts.read(place, known.sha256)).answer(rows, weights)
    return {"version": champion.version, **_said(model, answer[0])}


def _said(model: Model, answer: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Json:
    values = answer.tolist()
    if model.kind == "regression":
        return {"prediction": values[0]}
    return {
        "prediction": model.classes[values.index(max(values))],
        "probabilities": dict(zip(model.classes, values, strict=True)),
    }
