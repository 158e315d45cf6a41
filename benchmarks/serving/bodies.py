"""One question in each protocol: the same rows, and how the probabilities of an answer are read."""

import csv
import gzip
import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ROOT: Final = Path(__file__).parents[2]
DATA: Final = ROOT / "examples/electricity/electricity.csv.gz"
FEATURES: Final = ("period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer")
CLASSES: Final = ("down", "up")
TRAINED_ON: Final = 1_000
SIZES: Final = (1, 100, 1_000)

Rows = list[list[float]]


def rows(n: int) -> Rows:
    """Return the first rows after those that the model was trained on, in the schema's order."""
    with gzip.open(DATA, "rt", encoding="utf-8") as file:
        lines = csv.DictReader(file)
        for _ in range(TRAINED_ON):
            next(lines)
        return [[float(line[f]) for f in FEATURES] for line in islice(lines, n)]


def named(some: Rows) -> dict[str, Any]:
    """Objects with a name for each value, as ``/predict`` takes them."""
    each = [{"features": dict(zip(FEATURES, row, strict=True))} for row in some]
    return each[0] if len(each) == 1 else {"instances": each}


def tensor(some: Rows) -> dict[str, Any]:
    """One tensor of the Open Inference Protocol (V2), and the one output that all give."""
    flat = [value for row in some for value in row]
    shape = [len(some), len(FEATURES)]
    one = {"name": "rows", "shape": shape, "datatype": "FP64", "data": flat}
    return {"inputs": [one], "outputs": [{"name": "predict_proba"}]}


def split(some: Rows) -> dict[str, Any]:
    """Columns and rows apart, as MLflow's scoring protocol has it."""
    return {"dataframe_split": {"columns": list(FEATURES), "data": some}}


def plain(some: Rows) -> dict[str, Any]:
    """A list of lists."""
    return {"rows": some}


FORMS: Final[dict[str, Callable[[Rows], dict[str, Any]]]] = {
    "named": named,
    "tensor": tensor,
    "split": split,
    "plain": plain,
}


def probabilities(answer: Any) -> NDArray[np.float64]:
    """Read (rows, classes) probabilities out of any of the answers.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    if isinstance(answer, list):
        return np.array(answer, dtype=np.float64)
    if "outputs" in answer:
        found = next(o for o in answer["outputs"] if o["name"] == "predict_proba")
        return np.array(found["data"], dtype=np.float64).reshape(found["shape"])
    for key in ("probabilities", "predictions"):
        if key not in answer:
            continue
        told = answer[key]
        each = told if isinstance(told, list) else [told]
        values = [one.get("probabilities", one) if isinstance(one, dict) else one for one in each]
        return np.array([[v[c] for c in CLASSES] if isinstance(v, dict) else v for v in values])
    raise ValueError(f"no probabilities in {json.dumps(answer)[:200]}")
