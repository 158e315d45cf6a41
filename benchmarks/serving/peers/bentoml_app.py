"""The model in BentoML: an array of rows in, their probabilities out."""

import os
from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import DType
from estimator import load
from numpy.typing import NDArray

Rows = Annotated[NDArray[np.float64], DType("float64")]


@bentoml.service(workers=int(os.environ["SERVING_WORKERS"]), logging={"access": {"enabled": False}})
class Probabilities:
    """The service."""

    def __init__(self) -> None:
        self.model = load()

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Answer all rows."""
        return self.model.predict_proba(rows)
