"""What a tutorial teaches: FastAPI, pydantic and scikit-learn on a NumPy array; nothing is logged.

``app`` answers in the event loop; ``threaded`` in FastAPI's threads, as a route written ``def``.
"""

from typing import Any

import numpy as np
from estimator import features, load
from fastapi import FastAPI
from pydantic import BaseModel, create_model

MODEL, FEATURES = load(), features()
CLASSES = MODEL.classes_.tolist()
Row: Any = create_model("Row", **dict.fromkeys(FEATURES, (float, ...)))


class Body(BaseModel):
    """One row."""

    features: Row


class Bodies(BaseModel):
    """Many rows, in the order of the columns."""

    rows: list[list[float]]


def one(body: Body) -> dict[str, Any]:
    """Answer one row."""
    row = np.array([[getattr(body.features, name) for name in FEATURES]])
    probabilities = MODEL.predict_proba(row)[0].tolist()
    likeliest = CLASSES[probabilities.index(max(probabilities))]
    return {
        "prediction": likeliest,
        "probabilities": dict(zip(CLASSES, probabilities, strict=True)),
    }


def many(body: Bodies) -> dict[str, Any]:
    """Answer many rows."""
    return {"probabilities": MODEL.predict_proba(np.array(body.rows)).tolist()}


app = FastAPI()
threaded = FastAPI()
threaded.post("/predict")(one)
threaded.post("/batch")(many)


@app.post("/predict")
async def predict(body: Body) -> dict[str, Any]:
    """Answer one row in the event loop."""
    return one(body)


@app.post("/batch")
async def batch(body: Bodies) -> dict[str, Any]:
    """Answer many rows in the event loop."""
    return many(body)
