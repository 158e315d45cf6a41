"""What features, answers and labels look like, held against what they were at the proof."""

from dataclasses import replace

import msgspec
import numpy as np

from continualml.decide.diagnose import (
    Diagnosis,
    of_columns,
    of_labels,
    opened,
    quiet,
    recovered,
    said_before,
    shifted,
)
from continualml.decide.learn import about, reference_order
from continualml.decide.promise import evidence_now, question
from continualml.decide.standing import REFERENCE, Drift, Moving, Standing, silence
from continualml.errors import InputError
from continualml.evidence import drift
from continualml.evidence.reference import Reference, codes, labelled
from continualml.model import Model
from continualml.records import Decision, Described, Json, Scored, Watched


def described(model: Model, state: Standing, outcome: Described) -> tuple[Standing, list[Decision]]:
    """Hold the next observations and labels against these references."""
    columns = msgspec.msgpack.decode(outcome.columns, type=Reference)
    labels = msgspec.msgpack.decode(outcome.labels, type=Reference)
    begun = Drift(
        version=outcome.version,
        columns=columns,
        labels=labels,
        of_columns=drift.untouched(
            question(model, state, columns, "columns"), seq=outcome.observed
        ),
        of_labels=drift.untouched(question(model, state, labels, "labels"), seq=state.read),
    )
    orders = tuple(o for o in state.orders if o.strategy != REFERENCE)
    return replace(state, drift=begun, orders=orders, moving=None), []


def watched(model: Model, state: Standing, outcome: Watched) -> tuple[Standing, list[Decision]]:
    """Fold new observations; an alarm says which columns moved and what that is taken for.

    Raises
    ------
    InputError
        If the rows were held against another reference than the one in force.
    """
    there = state.drift
    if there is None or there.version != outcome.version:
        got = outcome.version
        expected = f"{there.version if there else None}, the version proven last"
        raise InputError("watched.version", expected=expected, got=got)
    seq = np.frombuffer(outcome.seq, "<i8")
    columns = np.frombuffer(outcome.codes, "u1").reshape(len(seq), -1)
    asked = question(model, state, there.columns, "columns")
    after, alarms = drift.step(asked, there.of_columns, seq, columns)
    state = replace(state, drift=replace(there, of_columns=after))
    decisions: list[Decision] = []
    for alarm in alarms:
        diagnosis = of_columns(alarm)
        state, said = _answered(model, state, diagnosis, alarm, family="data")
        decisions += said
    return state, decisions


def label_alarms(model: Model, state: Standing, outcome: Scored) -> tuple[Standing, list[Decision]]:
    """Fold the labels of new rows: a share that moved, or labels that no longer differ."""
    there = state.drift
    if there is None:
        return state, []
    seq = np.frombuffer(outcome.seq, "<i8")
    n = int(np.searchsorted(seq, state.read, side="right"))
    target = np.frombuffer(outcome.target, "<f8")[:n]
    column = codes(there.labels, labelled(model, target))
    asked = question(model, state, there.labels, "labels")
    after, alarms = drift.step(asked, there.of_labels, seq[:n], column)
    state = replace(state, drift=replace(there, of_labels=after))
    decisions: list[Decision] = []
    for alarm in alarms:
        diagnosis = of_labels(alarm)
        state, said = _answered(model, state, diagnosis, alarm, family="labels")
        decisions += said
    return state, decisions


def columns_asked_anew(old: Model, new: Model, before: Standing, after: Standing) -> Standing:
    """Begin the evidence on columns and labels anew where a new policy asks something else."""
    there = after.drift
    if there is None:
        return after
    columns = question(new, after, there.columns, "columns")
    labels = question(new, after, there.labels, "labels")
    if columns == question(old, before, there.columns, "columns"):
        return after
    fresh = replace(
        there,
        of_columns=drift.untouched(columns, seq=there.of_columns.seq),
        of_labels=drift.untouched(labels, seq=there.of_labels.seq),
    )
    return replace(after, drift=fresh)


def healed(model: Model, state: Standing) -> tuple[Standing, list[Decision]]:
    """Close an incident that has been silent for long enough; learning goes on."""
    state = _looked_anew(state)
    after = recovered(model, state)
    if state.incident is None or after.incident is not None:
        return after, []
    incident = state.incident
    because = (
        f"no sign of the {incident.name} since number {incident.last}; its rows are left out of "
        "every later fit, and learning goes on"
    )
    basis: Json = {"incident": msgspec.to_builtins(incident)}
    version = state.champion.version
    return after, [about(model, after, "recover", because=because, basis=basis, version=version)]


def _answered(
    model: Model, state: Standing, diagnosis: Diagnosis, alarm: drift.DriftAlarm, *, family: str
) -> tuple[Standing, list[Decision]]:
    """Open an incident; after a shift, look from now on for what moves from where it is now.

    A shift that has been said is not said again and again: the reference is taken anew, and for
    as long as columns go on moving, only the first move of each is said, and then rare ones.
    """
    names = tuple(m.name for m in alarm.moved)
    if diagnosis.incident:
        unsaid = quiet(state, diagnosis)
        state = opened(state, diagnosis, alarm.seq)
    else:
        unsaid = said_before(state, names)
        state = shifted(model, state, names)
        if state.incident is None and state.moving is None:
            state = replace(state, moving=Moving(since=alarm.began, rows=state.rows))
    return state, [] if unsaid else [_alarm(model, state, alarm, diagnosis, family=family)]


def _looked_anew(state: Standing) -> Standing:
    """Take what columns look like since a shift for the reference, unless a fault came with it.

    A feed may break so that its answers move before the broken column has evidence enough: that
    has as many rows to speak as an incident has to be silent.
    """
    there = state.moving
    others = tuple(o for o in state.orders if o.strategy != REFERENCE)
    if there is None:
        # A fault came between, or nothing came of the order: columns must not stay mute for ever.
        mute = state.drift and (state.drift.of_columns.muted or state.drift.of_labels.muted)
        if not mute or state.incident is not None or len(others) < len(state.orders):
            return state
        return replace(state, moving=Moving(since=state.read, rows=state.rows))
    if state.rows - there.rows < silence(state):
        return state
    wanted = reference_order(state, since=there.since)
    return replace(state, moving=None, orders=(*others, wanted))


def _alarm(
    model: Model,
    state: Standing,
    alarm: drift.DriftAlarm,
    diagnosis: Diagnosis,
    *,
    family: str,
) -> Decision:
    basis: Json = {
        **evidence_now(model, state),
        "family": family,
        "diagnosis": diagnosis.name,
        "began": alarm.began,
        "at": alarm.seq,
        "alarm_evidence": alarm.evidence,
        "alarm_threshold": alarm.threshold,
        "moved": [msgspec.to_builtins(m) for m in alarm.moved],
    }
    because, version = diagnosis.because, state.champion.version
    return about(model, state, "alarm", because=because, basis=basis, version=version)
