"""One fit: labelled rows -> pipeline -> graph, checked against each other -> artifact."""

import warnings
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline

from continualml.learning.export import largest_difference, to_onnx
from continualml.learning.learners import LearningError, make
from continualml.learning.pipeline import preparation
from continualml.learning.resume import kept, resumed
from continualml.model import Learner, Model
from continualml.records import Json, Rows, Window
from continualml.scoring.artifact import FORMAT, rows_of, schema, united
from continualml.scoring.session import Session

__all__ = ["Fitted", "LearningError", "fit"]

_TOLERANCE = 1e-4
_FEWEST_ROWS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """An artifact's bytes, and the manifest that they carry."""

    artifact: bytes
    manifest: Json
    state: bytes = b""


def fit(
    model: Model,
    learner: Learner,
    window: Window,
    *,
    seed: int,
    strategy: str,
    resumes: bool = False,
    state: bytes = b"",
    before: Json | None = None,
) -> Fitted:
    """Fit a learner on labelled rows; the same rows and seed give the same bytes.

    Parameters
    ----------
    resumes
        Keep what it needs to go on learning, in ``Fitted.state``.
    state
        Go on from there: the window then holds only rows that it has not learnt.
    before
        The rows that it has learnt, as its manifest says.

    Raises
    ------
    LearningError
        If there are too few rows, only one class, an unknown learner, or a graph that does not
        answer as its estimator does.
    """
    if len(window) < _FEWEST_ROWS:
        raise LearningError(f"expected at least {_FEWEST_ROWS} labelled rows, got {len(window)}")
    classes = sorted({int(t) for t in window.target}) if model.classes else []
    if model.classes and not state and len(classes) < 2:  # noqa: PLR2004  one class is no classification
        only = model.classes[classes[0]]
        raise LearningError(
            f"all {len(window)} rows are of the class {only!r}; expected two or more"
        )
    columns = _columns(model, window.rows)
    with warnings.catch_warnings():
        # Not yet converged is judged by the hold-back check, as everything else.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        try:
            if state:
                pipeline = resumed(state, columns, window.target)
                classes = _classes(model, pipeline)
            else:
                pipeline = Pipeline(
                    [
                        ("prepare", preparation(model, learner)),
                        ("learn", make(model, learner, seed=seed)),
                    ]
                ).fit(columns, window.target)
            answer = _answer(model, pipeline, columns, classes)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise LearningError(f"{learner.name}: {error}") from error
    if not np.isfinite(answer).all():
        raise LearningError(f"{learner.name} answers with numbers that are not finite")
    manifest = _manifest(model, learner, window, seed=seed, strategy=strategy)
    if before is not None:
        manifest["rows"] = united([before, manifest["rows"]])
    artifact = to_onnx(model, pipeline, classes, manifest)
    difference = largest_difference(Session(artifact).answer(window.rows), answer, model)
    if not difference <= _TOLERANCE:
        raise LearningError(
            f"the graph of {learner.name} differs from its estimator by {difference:.2g} on the "
            f"training rows; expected at most {_TOLERANCE:g}"
        )
    return Fitted(artifact=artifact, manifest=manifest, state=kept(pipeline) if resumes else b"")


def _classes(model: Model, pipeline: Pipeline) -> list[int]:
    if not model.classes:
        return []
    return [int(c) for c in pipeline.steps[-1][1].classes_]


def _columns(model: Model, rows: Rows) -> Any:
    # Cast before the fit: a learner trained on float64 and served on float32 splits elsewhere.
    numeric = rows.numeric.astype(np.float32)
    if not model.categorical:
        return numeric
    return np.concatenate([numeric.astype(object), rows.categorical], axis=1)


def _answer(
    model: Model, pipeline: Pipeline, columns: Any, classes: list[int]
) -> NDArray[np.float64]:
    if model.kind == "regression":
        return np.asarray(pipeline.predict(columns), dtype=np.float64).reshape(-1, 1)
    full = np.zeros((len(columns), model.width))
    full[:, classes] = pipeline.predict_proba(columns)
    return full


def _manifest(model: Model, learner: Learner, window: Window, *, seed: int, strategy: str) -> Json:
    return {
        "format": FORMAT,
        "schema": schema(model),
        "model": model.name,
        "strategy": strategy,
        "learner": {"name": learner.name, "parameters": dict(learner.parameters)},
        "seed": seed,
        "rows": {**rows_of(window.observation_seq), "through": int(window.seq[-1])},
        "libraries": _libraries(),
    }


@cache
def _libraries() -> dict[str, str]:
    return {
        name: version(name) for name in ("numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx")
    }
