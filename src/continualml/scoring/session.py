"""One artifact in memory, answering: the only place that runs a graph."""

from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from continualml.errors import InputError
from continualml.model import Model
from continualml.records import Json, Rows
from continualml.scoring import artifact as artifacts

_OUTPUTS: Final = ["answer"]
_BROKEN: Final = (
    failures.Fail,
    failures.InvalidArgument,
    failures.InvalidGraph,
    failures.InvalidProtobuf,
    failures.NoModel,
    failures.NotImplemented,
    failures.RuntimeException,
)


class Session:
    """A loaded graph with its manifest; answers are a function of the rows alone.

    Parameters
    ----------
    artifact
        The bytes of one artifact; whoever reads them from a disk checks their hash.

    Raises
    ------
    InputError
        If the bytes are no graph, or not one of ours.
    """

    def __init__(self, artifact: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # with more, workers and sessions fight for the cores
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # what goes wrong comes as an exception
        try:
            self._graph = onnxruntime.InferenceSession(
                artifact, options, providers=["CPUExecutionProvider"]
            )
        except _BROKEN as error:
            got = str(error)[:200]
            raise InputError("artifact", expected="a graph that loads", got=got) from error
        metadata = self._graph.get_modelmeta().custom_metadata_map
        self.manifest: Json = artifacts.read_manifest(metadata.get(artifacts.KEY))
        self._check_shape()
        self._categorical = "categorical" in {i.name for i in self._graph.get_inputs()}
        self._numeric = "numeric" in {i.name for i in self._graph.get_inputs()}
        self.n_members = len(self.manifest.get("members", ()))

    def answer(self, rows: Rows, weights: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
        """Answer each row.

        Parameters
        ----------
        weights
            (members,) of a blend, summing to 1; None for a single graph.

        Returns
        -------
        (n, width) probabilities in the order of the classes, or values; all finite.

        Raises
        ------
        InputError
            If the rows have other columns than the graph, or an answer is not finite.
        """
        answer = self.said(rows, weights)
        if not np.isfinite(answer).all():
            row = int(np.flatnonzero(~np.isfinite(answer).all(axis=1))[0])
            raise InputError(
                f"instances[{row}]",
                expected="features that this version has a finite answer for",
                got=answer[row].tolist(),
            )
        return answer

    def said(self, rows: Rows, weights: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
        """Answer each row, also with what is not finite; see ``answer``."""
        feed: dict[str, NDArray[Any]] = {}
        if self._numeric:
            feed["numeric"] = rows.numeric.astype(np.float32)
        if self._categorical:
            feed["categorical"] = rows.categorical
        if weights is not None:
            feed["weights"] = weights
        try:
            (said,) = self._graph.run(_OUTPUTS, feed)
        except (failures.InvalidArgument, ValueError) as error:
            got = (rows.numeric.shape, rows.categorical.shape)
            expected = f"the columns of the schema, and {self.n_members} weights"
            raise InputError("rows", expected=expected, got=got) from error
        answer: NDArray[np.float64] = said.astype(np.float64)
        return answer

    def warm(self) -> None:
        """Answer twice with nothing known, so that the first client does not wait."""
        columns = self.manifest["schema"]["features"]
        n_numeric = sum(column["kind"] == "numeric" for column in columns)
        categorical = np.full((1, len(columns) - n_numeric), "", dtype=object)
        rows = Rows(numeric=np.full((1, n_numeric), np.nan), categorical=categorical)
        weights = (
            np.full(self.n_members, 1 / self.n_members, np.float32) if self.n_members else None
        )
        for _ in range(2):
            self.answer(rows, weights)

    def fits(self, model: Model) -> None:
        """Refuse to answer for a model whose schema is not the one it was trained for.

        Raises
        ------
        InputError
            Names the first part of the schema that differs.
        """
        artifacts.check(self.manifest, model)

    def _check_shape(self) -> None:
        takes = {i.name: i.type for i in self._graph.get_inputs()}
        gives = {o.name: o.type for o in self._graph.get_outputs()}
        for where, wanted, got in (
            (
                "inputs",
                {
                    "numeric": "tensor(float)",
                    "categorical": "tensor(string)",
                    "weights": "tensor(float)",
                },
                takes,
            ),
            ("outputs", {"answer": "tensor(float)"}, gives),
        ):
            if not got or not got.items() <= wanted.items():
                raise InputError(f"artifact.{where}", expected=str(wanted), got=got)
