"""The one model of all servers: a logistic regression made again from the coefficients."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

MODEL = "SERVING_MODEL"  # names the file with the coefficients


def load() -> Any:
    """Return the estimator; its columns are in the order of the schema."""
    kept = json.loads(Path(os.environ[MODEL]).read_text(encoding="utf-8"))
    model = LogisticRegression()
    model.coef_ = np.array([kept["coefficients"]])
    model.intercept_ = np.array([kept["intercept"]])
    model.classes_ = np.array(kept["classes"])
    model.n_features_in_ = len(kept["coefficients"])
    return model


def features() -> list[str]:
    """Return the columns' names."""
    names: list[str] = json.loads(Path(os.environ[MODEL]).read_text("utf-8"))["features"]
    return names
