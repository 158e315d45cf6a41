"""Several graphs as one that answers with their weighted mean; the weights are an input."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from continualml.errors import InputError
from continualml.learning.export import ANSWER, CATEGORICAL, NUMERIC
from continualml.learning.learners import LearningError
from continualml.model import Model
from continualml.records import Json, Rows
from continualml.scoring.artifact import (
    FORMAT,
    KEY,
    check,
    read_manifest,
    schema,
    united,
    write_manifest,
)
from continualml.scoring.session import Session

WEIGHTS = "weights"
_TOLERANCE = 1e-5
_CHECKED_ROWS = 64


def merge(
    model: Model, members: Sequence[tuple[str, int, bytes]], rows: Rows, *, strategy: str
) -> tuple[bytes, Json]:
    """Merge artifacts into one; ``members`` are (strategy, version, bytes), in order.

    Returns
    -------
    The merged artifact and its manifest; its graph takes ``weights``, (members,) float32, beside
    the features.

    Raises
    ------
    LearningError
        If a member is of another schema, or the merged graph does not answer as its members do
        on the rows.
    """
    graphs = [onnx.load_from_string(data) for _, _, data in members]
    manifests = [_manifest_of(model, g) for g in graphs]
    manifest: Json = {
        "format": FORMAT,
        "schema": schema(model),
        "model": model.name,
        "strategy": strategy,
        "members": [
            {"strategy": name, "version": version, "learner": m.get("learner")}
            for (name, version, _), m in zip(members, manifests, strict=True)
        ],
        "rows": united([m["rows"] for m in manifests]),
        "libraries": manifests[0].get("libraries"),
    }
    merged = _merged(graphs)
    entry = merged.metadata_props.add()
    entry.key, entry.value = KEY, write_manifest(manifest)
    onnx.checker.check_model(merged)
    artifact = bytes(merged.SerializeToString(deterministic=True))
    _check(model, artifact, [data for _, _, data in members], rows)
    return artifact, manifest


def _merged(graphs: Sequence[Any]) -> Any:
    nodes: list[Any] = []
    initializers: list[Any] = []
    stacked: list[str] = []
    inputs = {i.name: i for i in graphs[0].graph.input}
    for j, graph in enumerate(graphs):
        prefix = f"m{j}_"
        apart = compose.add_prefix_graph(graph.graph, prefix, rename_inputs=False)
        nodes += apart.node
        initializers += apart.initializer
        stacked.append(f"{prefix}stack")
        nodes.append(helper.make_node("Unsqueeze", [prefix + ANSWER, "axis"], [stacked[-1]]))
    # (rows, width, members) x (members, 1): one product for all rows.
    nodes.append(helper.make_node("Concat", stacked, ["stacked"], axis=2))
    nodes.append(helper.make_node("Unsqueeze", [WEIGHTS, "last"], ["column"]))
    nodes.append(helper.make_node("MatMul", ["stacked", "column"], ["mean"]))
    nodes.append(helper.make_node("Squeeze", ["mean", "axis"], [ANSWER]))
    initializers.append(numpy_helper.from_array(np.array([2], dtype=np.int64), "axis"))
    initializers.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "last"))
    weights = helper.make_tensor_value_info(WEIGHTS, TensorProto.FLOAT, [len(graphs)])
    features = [inputs[name] for name in (NUMERIC, CATEGORICAL) if name in inputs]
    merged = helper.make_model(
        helper.make_graph(
            nodes,
            "continualml-blend",
            [*features, weights],
            list(graphs[0].graph.output),
            initializers,
        ),
        opset_imports=graphs[0].opset_import,
        ir_version=graphs[0].ir_version,
    )
    merged.functions.extend(graphs[0].functions)
    return merged


def _manifest_of(model: Model, graph: Any) -> Json:
    manifest = read_manifest(next((p.value for p in graph.metadata_props if p.key == KEY), None))
    try:
        check(manifest, model)
    except InputError as error:
        raise LearningError(f"{model.name} cannot be blended: {error}") from error
    return manifest


def _check(model: Model, artifact: bytes, members: Sequence[bytes], rows: Rows) -> None:
    rows = Rows(numeric=rows.numeric[:_CHECKED_ROWS], categorical=rows.categorical[:_CHECKED_ROWS])
    weights = np.arange(1, len(members) + 1) / sum(range(1, len(members) + 1))
    wanted = sum(w * Session(m).answer(rows) for w, m in zip(weights, members, strict=True))
    got = Session(artifact).answer(rows, weights.astype(np.float32))
    size = max(1.0, float(np.abs(wanted).max()))
    difference = float(np.abs(got - wanted).max()) / size
    if not difference <= _TOLERANCE:
        raise LearningError(
            f"the merged graph of {model.name} differs from its members by {difference:.2g}; "
            f"expected at most {_TOLERANCE:g}"
        )
