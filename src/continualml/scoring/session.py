"""One version at work: an ONNX graph with its manifest, answering rows."""

import json

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from continualml.errors import InputError
from continualml.model import Model
from continualml.records import Json, Rows

MANIFEST_KEY = "continualml"
NUMERIC, CATEGORICAL, ANSWER = "numeric", "categorical", "answer"
_WARM_RUNS = 3


class Session:
    """An artifact loaded: the graph's bytes hold the manifest, so one SHA-256 names both.

    Loading runs nobody's code. One thread for each session, or workers fight over the cores.

    Parameters
    ----------
    artifact
        The bytes of the ONNX file.

    Raises
    ------
    InputError
        If the bytes are no graph of ours.
    """

    def __init__(self, artifact: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                artifact, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime's own errors share no public type
            raise InputError("artifact", expected="an ONNX graph", got=str(error)[:200]) from error
        said = self._session.get_modelmeta().custom_metadata_map.get(MANIFEST_KEY)
        if said is None:
            raise InputError("artifact", expected=f"metadata {MANIFEST_KEY!r}", got=None)
        self.manifest: Json = json.loads(said)
        self._inputs = {i.name for i in self._session.get_inputs()}

    def answer(self, rows: Rows) -> NDArray[np.float64]:
        """Answer rows: (n, width) probabilities in the order of the classes, or values."""
        feed: dict[str, object] = {}
        if NUMERIC in self._inputs:
            feed[NUMERIC] = rows.numeric.astype(np.float32)
        if CATEGORICAL in self._inputs:
            feed[CATEGORICAL] = rows.categorical
        answer: NDArray[np.float64] = self._session.run([ANSWER], feed)[0].astype(np.float64)
        return answer

    def fits(self, model: Model) -> None:
        """Refuse a version that was made for another schema.

        Raises
        ------
        InputError
            Naming what differs.
        """
        for key, expected in schema(model).items():
            if (got := self.manifest.get(key)) != expected:
                raise InputError(f"artifact.{key}", expected=repr(expected), got=got)

    def warm(self) -> None:
        """Run a few rows, so that the first real one does not pay for the runtime's first run.

        Raises
        ------
        InputError
            If it does not answer a row with finite numbers.
        """
        kinds = [f["kind"] for f in self.manifest["features"]]
        k, width = kinds.count("numeric"), len(self.manifest["classes"]) or 1
        rows = Rows(
            numeric=np.zeros((1, k)),
            categorical=np.full((1, len(kinds) - k), "", dtype=object),
        )
        for _ in range(_WARM_RUNS):
            answer = self.answer(rows)
            if answer.shape != (1, width) or not np.isfinite(answer).all():
                raise InputError(
                    "artifact", expected=f"{width} finite numbers a row", got=answer.tolist()
                )


def schema(model: Model) -> Json:
    """Return what an artifact must agree on with its model."""
    return {
        "kind": model.kind,
        "target": model.target,
        "classes": list(model.classes),
        "features": [{"name": f.name, "kind": f.kind} for f in model.features],
    }
