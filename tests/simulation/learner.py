"""A trainer without a child process: least squares as a graph, a fit in a millisecond.

It takes simulated time, fails as a child does (killed, too slow, refused), and ends with its
process in the middle of a fit. What it gives is a real artifact: the loop loads, checks, merges
and scores it as any other.
"""

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from continualml.learning.learners import LearningError
from continualml.learning.merge import merge
from continualml.loop.training import Product, Trainer, TrainingError
from continualml.model import Learner, Model
from continualml.records import Json, Rows, Window
from continualml.scoring.artifact import FORMAT, KEY, rows_of, schema, write_manifest
from tests.simulation.schedule import Process, Schedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OPSET, _IR = 18, 9


class SimulatedTrainer(Trainer):
    """Fits for one process, in simulated time.

    Parameters
    ----------
    failing
        Chance that a fit or a merge brings nothing.
    """

    def __init__(self, schedule: Schedule, process: Process, failing: float) -> None:
        super().__init__()
        self._schedule = schedule
        self._process = process
        self.failing = failing

    def fit(
        self,
        model: Model,
        learner: Learner,
        window: Window,
        *,
        strategy: str,
        seed: int,
        resumes: bool = False,
        state: bytes = b"",
        before: Json | None = None,
    ) -> Product:
        """Fit by least squares; what would go on learning begins anew here."""
        del resumes, state, before
        self._takes_time(f"fit of {strategy}")
        classes = sorted({int(t) for t in window.target})
        if len(classes) < 2:
            raise TrainingError(f"all {len(window)} rows are of one class")
        manifest: Json = {
            "format": FORMAT,
            "schema": schema(model),
            "model": model.name,
            "strategy": strategy,
            "learner": {"name": learner.name, "parameters": dict(learner.parameters)},
            "seed": seed,
            "rows": {**rows_of(window.observation_seq), "through": int(window.seq[-1])},
            "libraries": {},
        }
        return Product(artifact=_graph(window, manifest), manifest=manifest)

    def merge(
        self, model: Model, members: list[tuple[str, int, bytes]], rows: Rows, *, strategy: str
    ) -> Product:
        """Merge as the child does."""
        self._takes_time(f"merge to {strategy}")
        try:
            artifact, manifest = merge(model, members, rows, strategy=strategy)
        except LearningError as error:
            raise TrainingError(str(error)) from error
        return Product(artifact=artifact, manifest=manifest)

    def _takes_time(self, what: str) -> None:
        self._schedule.point(self._process, "fit")
        slow = self._schedule.chance(0.1) and self._schedule.hazards > 0
        self._schedule.sleep(self._schedule.between(*((5, 40) if slow else (0.02, 0.3))))
        if self._schedule.chance(self.failing):
            self._schedule.say(self._process.name, f"{what} fails")
            raise TrainingError("the training process died (SIGKILL)")
        self._schedule.say(self._process.name, what)
        self._schedule.point(self._process, "fitted")


def _graph(window: Window, manifest: Json) -> bytes:
    """Write the graph: missing values are 0, then a plane, then the probabilities."""
    x: NDArray[np.float64] = np.nan_to_num(window.rows.numeric.astype(np.float32)).astype("f8")
    ones = np.ones((len(x), 1))
    plane, *_ = np.linalg.lstsq(np.hstack([x, ones]), 2 * window.target - 1, rcond=None)
    weights = np.stack([-plane, plane], axis=1).astype(np.float32) * 2
    nodes = [
        helper.make_node("IsNaN", ["numeric"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "numeric"], ["known"]),
        helper.make_node("MatMul", ["known", "weights_of"], ["distance"]),
        helper.make_node("Add", ["distance", "bias_of"], ["score"]),
        helper.make_node("Softmax", ["score"], ["answer"], axis=1),
    ]
    constants = [
        numpy_helper.from_array(np.zeros((), np.float32), "zero"),
        numpy_helper.from_array(weights[:-1], "weights_of"),
        numpy_helper.from_array(weights[-1], "bias_of"),
    ]
    takes = helper.make_tensor_value_info("numeric", TensorProto.FLOAT, [None, x.shape[1]])
    gives = helper.make_tensor_value_info("answer", TensorProto.FLOAT, [None, 2])
    model = helper.make_model(
        helper.make_graph(nodes, "simulated", [takes], [gives], constants),
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=_IR,
    )
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, write_manifest(manifest)
    return bytes(model.SerializeToString(deterministic=True))
