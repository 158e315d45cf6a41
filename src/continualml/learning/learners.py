"""Estimators by dotted name."""

import importlib
import inspect
from typing import Any

from sklearn.base import BaseEstimator, is_classifier, is_regressor

from continualml.model import Learner, Model

# They split, so scaling gives nothing, and its rounding would move rows across their splits.
SPLITTING = ("sklearn.ensemble.", "sklearn.tree.", "lightgbm.")
_MODULES = ("sklearn.", "lightgbm.")


class LearningError(RuntimeError):
    """No sound artifact can come of this learner on these rows; says why."""


def make(model: Model, learner: Learner, *, seed: int) -> Any:
    """Make an estimator that fits the model's kind.

    Raises
    ------
    LearningError
        If the name or a parameter is unknown, or the estimator is of the other kind.
    """
    cls = _class(learner.name)
    known = set(inspect.signature(cls.__init__).parameters)
    parameters = dict(learner.parameters)
    if unknown := sorted(set(parameters) - set(cls().get_params())):
        raise LearningError(f"{learner.name} has no parameter {unknown[0]!r}")
    for name, value in (("random_state", seed), ("n_jobs", 1)):
        if name in known:
            parameters.setdefault(name, value)
    if learner.name.startswith("lightgbm."):
        parameters = {"verbose": -1, "random_state": seed, "n_jobs": 1, **parameters}
    if learner.name == "sklearn.linear_model.LogisticRegression":
        parameters.setdefault("max_iter", 1_000)
    estimator = cls(**parameters)
    fits = is_classifier(estimator) if model.kind == "classification" else is_regressor(estimator)
    if not fits:
        raise LearningError(f"{learner.name} does no {model.kind}")
    if model.kind == "classification" and not hasattr(estimator, "predict_proba"):
        raise LearningError(f"{learner.name} gives no probabilities; take one that does")
    return estimator


def _class(name: str) -> type[Any]:
    if not name.startswith(_MODULES):
        raise LearningError(f"learner {name!r}: expected a class of scikit-learn or LightGBM")
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        extra = "; install continualml[lightgbm]" if name.startswith("lightgbm.") else ""
        raise LearningError(f"learner {name!r}: {error}{extra}") from error
    if not (isinstance(found, type) and issubclass(found, BaseEstimator)):
        raise LearningError(f"learner {name!r}: there is no such estimator")
    return found
