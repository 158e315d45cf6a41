"""Performance as it is known, and as it probably is where labels have not come yet."""

import dataclasses

import numpy as np
from sqlalchemy import Connection

from continualml.evidence import calibration
from continualml.evidence.unlabelled import estimate
from continualml.model import Model
from continualml.records import Json
from continualml.scoring.losses import measured, metrics
from continualml.store import log, windows

_NEWEST, _MOST = 3_000, 30_000


def performance(conn: Connection, model: Model, *, block: int) -> Json:
    """Tell the mean losses of the newest labelled answers, and estimate those without a label.

    Returns
    -------
    ``labelled``: rows and mean loss by metric; ``unlabelled``: by metric the estimate with its
    95 % interval, None while too few labels say too little, which is not the same as fine.
    """
    last = log.last_seq(conn)
    known = windows.training(conn, model, through=last, newest=_NEWEST)
    known = known.only(np.asarray(np.isfinite(known.answer).all(axis=1), dtype=np.bool_))
    if not len(known):
        return {"labelled": None, "unlabelled": None}
    oldest = int(known.observation_seq.min()) - 1
    asked = windows.observed(conn, model, oldest, limit=_MOST)
    known = known.only(np.asarray(known.observation_seq <= asked.seq[-1], dtype=np.bool_))
    lost = np.column_stack([measured(model, m, known.answer, known.target) for m in metrics(model)])
    names = metrics(model)
    told: Json = {
        "labelled": {
            "rows": len(known),
            **{m: float(lost[:, i].mean()) for i, m in enumerate(names)},
        }
    }
    by_doubt = model.kind == "classification"
    edges = calibration.doubt_edges(model.width) if by_doubt else None
    question = calibration.CalibrationQuestion(
        edges=edges or calibration.value_edges(known.answer),
        block=block,
        measures=len(names),
    )
    there = np.isfinite(asked.answer).all(axis=1)
    state = calibration.untouched(seq=oldest)
    state = calibration.step_unlabelled(question, state, asked.seq[there], asked.answer[there])
    state = calibration.step_labelled(
        question, state, known.seq, known.answer, lost, row_seq=known.observation_seq
    )
    found = {m: estimate(question, state, measure=i) for i, m in enumerate(names)}
    return told | {
        "unlabelled": {m: dataclasses.asdict(e) if e else None for m, e in found.items()}
    }
