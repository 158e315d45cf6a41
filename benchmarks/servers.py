"""The servers that ours is held against."""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from pydantic import BaseModel
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from continualml.app.api import main as api
from continualml.app.api.connections import Connection
from continualml.store.group_commit import GroupCommit
from continualml.store.log import Observed

FEATURES = ["period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer"]


class Features(BaseModel):
    """What a tutorial validates."""

    period: float
    nswprice: float
    nswdemand: float
    vicprice: float
    vicdemand: float
    transfer: float


class Body(BaseModel):
    """One row."""

    features: Features


def tutorial() -> FastAPI:
    """FastAPI, pydantic and a plain logistic regression on a NumPy row, nothing logged."""
    rows = _rows()
    model: Any = LogisticRegression().fit(rows[FEATURES].to_numpy(), rows["class"])

    def answer(features: Features) -> NDArray[np.float64]:
        row = np.array([[getattr(features, name) for name in FEATURES]])
        probabilities: NDArray[np.float64] = model.predict_proba(row)[0]
        return probabilities

    return _app(answer, model.classes_.tolist())


def pipeline() -> FastAPI:
    """The same with a pipeline (impute, scale, regress) on a DataFrame, as one trains it."""
    rows = _rows()
    model: Any = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    model.fit(rows[FEATURES], rows["class"])

    def answer(features: Features) -> NDArray[np.float64]:
        frame = pd.DataFrame([features.model_dump()])[FEATURES]
        probabilities: NDArray[np.float64] = model.predict_proba(frame)[0]
        return probabilities

    return _app(answer, model.classes_.tolist())


def _rows() -> pd.DataFrame:
    return pd.read_csv(os.environ["BENCHMARK_DATA"], nrows=1_000)


def _app(answer: Callable[[Features], NDArray[np.float64]], classes: list[str]) -> FastAPI:
    app = FastAPI()

    @app.post("/predict")
    async def predict(body: Body) -> dict[str, Any]:
        probabilities = answer(body.features)
        return {
            "prediction": str(classes[probabilities.argmax()]),
            "probabilities": dict(zip(classes, probabilities.tolist(), strict=True)),
        }

    return app


def unlogged() -> FastAPI:
    """Our application, whose log acknowledges at once and keeps nothing."""

    def acknowledge(
        _: GroupCommit,
        rows: Sequence[Observed],
        told: Callable[[list[Observed | None]], None],
        *,
        alone: bool = False,  # noqa: ARG001  as it is called
    ) -> None:
        asyncio.get_running_loop().call_soon(told, list[Observed | None]([None] * len(rows)))

    GroupCommit.append = acknowledge  # type: ignore[method-assign,assignment]
    return api.from_environment()


if __name__ == "__main__":
    uvicorn.run(
        {"tutorial": tutorial, "pipeline": pipeline, "unlogged": unlogged}[sys.argv[1]](),
        port=int(os.environ["CONTINUAL_PORT"]),
        access_log=False,
        log_level="warning",
        loop="uvloop",
        http=Connection if sys.argv[1] == "unlogged" else "httptools",
    )
