"""The pipeline that a schema implies: impute, scale, one-hot, then the learner."""

from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from continualml.learning.learners import SPLITTING
from continualml.model import Learner, Model


def preparation(model: Model, learner: Learner) -> Any:
    """Make the steps before the learner; numeric columns come first, then the categorical ones."""
    k, c = len(model.numeric), len(model.categorical)
    parts: list[tuple[str, Any, Any]] = []
    if k:
        parts.append(("numeric", _numeric(learner), slice(0, k)))
    if c:
        parts.append(("categorical", OneHotEncoder(handle_unknown="ignore"), slice(k, k + c)))
    return ColumnTransformer(parts) if c else parts[0][1]


def _numeric(learner: Learner) -> Any:
    impute = SimpleImputer(keep_empty_features=True)
    if learner.name.startswith(SPLITTING):
        return impute
    return Pipeline([("impute", impute), ("scale", StandardScaler())])
