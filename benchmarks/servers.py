"""The two servers that ours is held against."""

import os
import sys
from collections.abc import Sequence
from typing import Any

import pandas as pd
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from continualml.app.api import main as api
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
    """FastAPI and a scikit-learn pipeline on a DataFrame, nothing logged."""
    rows = pd.read_csv(os.environ["BENCHMARK_DATA"], nrows=1_000)
    model: Any = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    model.fit(rows[FEATURES], rows["class"])
    app = FastAPI()

    @app.post("/predict")
    def predict(body: Body) -> dict[str, Any]:
        frame = pd.DataFrame([body.features.model_dump()])[FEATURES]
        probabilities = model.predict_proba(frame)[0]
        return {
            "prediction": str(model.classes_[probabilities.argmax()]),
            "probabilities": dict(zip(model.classes_, probabilities.tolist(), strict=True)),
        }

    return app


def unlogged() -> FastAPI:
    """Our application, whose log acknowledges at once and keeps nothing."""

    async def acknowledge(_: GroupCommit, rows: Sequence[Observed]) -> list[Observed | None]:
        return [None] * len(rows)

    GroupCommit.submit = acknowledge  # type: ignore[method-assign,assignment]
    return api.from_environment()


if __name__ == "__main__":
    uvicorn.run(
        {"tutorial": tutorial, "unlogged": unlogged}[sys.argv[1]](),
        port=int(os.environ["CONTINUAL_PORT"]),
        access_log=False,
        log_level="warning",
        loop="uvloop",
        http="httptools",
    )
