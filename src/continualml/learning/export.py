"""One ONNX graph of a whole fitted pipeline, compared with it before anyone may use it."""

import logging
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.pipeline import Pipeline

from continualml.learning.learners import LearningError
from continualml.model import Model
from continualml.records import Json
from continualml.scoring.artifact import KEY, write_manifest

_OPSET = {"": 18, "ai.onnx.ml": 3}
_IR = 9
# Without a name of its own the converter draws one at random, and no hash would repeat.
_GRAPH = "continualml"
NUMERIC, CATEGORICAL, ANSWER = "numeric", "categorical", "answer"


def to_onnx(model: Model, pipeline: Any, classes: list[int], manifest: Json) -> bytes:
    """Convert a fitted pipeline; ``classes`` are the indices of the model's classes it knows.

    Raises
    ------
    LearningError
        If the converter does not know the learner.
    """
    types: list[tuple[str, Any]] = []
    if model.numeric:
        types.append((NUMERIC, FloatTensorType([None, len(model.numeric)])))
    if model.categorical:
        types.append((CATEGORICAL, StringTensorType([None, len(model.categorical)])))
    learner = pipeline.steps[-1][1]
    while isinstance(learner, Pipeline):  # a user's own may be a pipeline itself
        learner = learner.steps[-1][1]
    options = {id(learner): {"zipmap": False}} if model.kind == "classification" else None
    if type(learner).__module__.startswith("lightgbm"):
        _teach_lightgbm(type(learner))
    logging.getLogger("skl2onnx").setLevel(logging.ERROR)
    try:
        graph = convert_sklearn(
            pipeline, _GRAPH, initial_types=types, options=options, target_opset=_OPSET
        )
    except Exception as error:  # the converter raises whatever its parts raise
        name = type(learner).__name__
        raise LearningError(
            f"{name} has no ONNX form here ({type(error).__name__}: {str(error)[:200]}); "
            "choose another learner"
        ) from error
    source = graph.graph.output[-1].name
    _name_the_answer(model, graph, source, classes)
    graph.ir_version = _IR
    entry = graph.metadata_props.add()
    entry.key, entry.value = KEY, write_manifest(manifest)
    return bytes(graph.SerializeToString(deterministic=True))


def _name_the_answer(model: Model, graph: Any, source: str, classes: list[int]) -> None:
    """Leave one output, with a column for each class of the model, also those never seen."""
    inner, width = graph.graph, model.width
    if model.kind == "regression":
        shape = numpy_helper.from_array(np.array([-1, 1], dtype=np.int64), "answer_shape")
        inner.initializer.append(shape)
        inner.node.append(helper.make_node("Reshape", [source, "answer_shape"], [ANSWER]))
    elif classes == list(range(width)):
        inner.node.append(helper.make_node("Identity", [source], [ANSWER]))
    else:
        spread = np.zeros((len(classes), width), dtype=np.float32)
        spread[np.arange(len(classes)), classes] = 1.0
        inner.initializer.append(numpy_helper.from_array(spread, "answer_classes"))
        inner.node.append(helper.make_node("MatMul", [source, "answer_classes"], [ANSWER]))
    del inner.output[:]
    inner.output.append(helper.make_tensor_value_info(ANSWER, TensorProto.FLOAT, [None, width]))
    onnx.checker.check_model(graph)


def _teach_lightgbm(cls: type[Any]) -> None:
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import (  # noqa: PLC0415  an extra
        convert_lightgbm,
    )
    from skl2onnx.common.shape_calculator import (  # noqa: PLC0415  only for LightGBM
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    is_classifier = cls.__name__ == "LGBMClassifier"
    update_registered_converter(
        cls,
        cls.__name__,
        calculate_linear_classifier_output_shapes
        if is_classifier
        else calculate_linear_regressor_output_shapes,
        convert_lightgbm,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]}
        if is_classifier
        else None,
    )


def largest_difference(
    graph: NDArray[np.float64], estimator: NDArray[np.float64], model: Model
) -> float:
    """Largest difference of two answers; relative to the values' size for a regression."""
    size = 1.0 if model.kind == "classification" else max(1.0, float(np.abs(estimator).max()))
    return float(np.abs(graph - estimator).max()) / size
