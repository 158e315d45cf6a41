"""Estimators by dotted name, or by a function of the user's own."""

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
    if ":" in learner.name:
        return _checked(model, learner.name, _own(learner, seed))
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
    return _checked(model, learner.name, cls(**parameters))


def _checked(model: Model, name: str, estimator: Any) -> Any:
    fits = is_classifier(estimator) if model.kind == "classification" else is_regressor(estimator)
    if not fits:
        raise LearningError(f"{name} does no {model.kind}")
    if model.kind == "classification" and not hasattr(estimator, "predict_proba"):
        raise LearningError(f"{name} gives no probabilities; take one that does")
    return estimator


def _own(learner: Learner, seed: int) -> Any:
    """Call ``module:function`` with the seed and the parameters; it makes an estimator."""
    module, _, attribute = learner.name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        raise LearningError(
            f"learner {learner.name!r}: {error}; it is looked for where continual was started"
        ) from error
    if not callable(found):
        raise LearningError(f"learner {learner.name!r}: {module} has no function {attribute!r}")
    try:
        estimator = found(seed=seed, **dict(learner.parameters))
    except TypeError as error:
        raise LearningError(f"learner {learner.name!r}: {error}") from error
    if not isinstance(estimator, BaseEstimator):
        got = type(estimator).__name__
        raise LearningError(f"learner {learner.name!r} gave a {got}, expected an estimator")
    return estimator


def _class(name: str) -> type[Any]:
    if not name.startswith(_MODULES):
        raise LearningError(
            f"learner {name!r}: expected a class of scikit-learn or LightGBM, or module:function"
        )
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        extra = "; install continualml[lightgbm]" if name.startswith("lightgbm.") else ""
        raise LearningError(f"learner {name!r}: {error}{extra}") from error
    if not (isinstance(found, type) and issubclass(found, BaseEstimator)):
        raise LearningError(f"learner {name!r}: there is no such estimator")
    return found
