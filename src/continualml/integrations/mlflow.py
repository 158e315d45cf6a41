"""MLflow: takes versions and aliases, gives what became of each; people look there, we never do.

While MLflow is down, slow or silent its messages wait in the outbox; predict, promote and roll
back go on.
"""

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import mlflow.onnx
import onnx
import requests
from google.protobuf.message import DecodeError
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    RESOURCE_ALREADY_EXISTS,
    ErrorCode,
)
from mlflow.tracking import MlflowClient

from continualml.integrations.delivery import Delivered, Delivery, Refused, Retry
from continualml.records import Json, Version

_TAG = "continualml.version"
_ALIASES = {"champion": "champion", "challenger": "challenger", "previous": "previous"}
_REQUIREMENTS = ["onnxruntime", "numpy"]
_LONGEST = 240
# With MLflow's own 120 s and 7 retries a silent server holds a message for a quarter of an hour.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
_USER = re.compile(r"//[^/@\s]+@")


class Mirror:
    """One MLflow server; the same message twice does no harm.

    An answer is awaited for 20 seconds and asked for once, unless the environment says otherwise
    by MLflow's own names.
    """

    def __init__(self, uri: str) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        mlflow.set_tracking_uri(uri)
        self._client = MlflowClient(uri)
        self._experiments: dict[str, str] = {}

    def version(self, known: Version, artifact: bytes) -> Delivery:
        """Log a version as a run with its parameters, metrics and graph, and register it."""
        try:
            if self._number(known.model, known.version) is None:
                self._log(known, artifact)
        except (DecodeError, onnx.checker.ValidationError) as error:
            return Refused(because=f"version {known.version} is no graph: {error}")
        except (MlflowException, requests.RequestException) as error:
            return _failed(error)
        return Delivered()

    def alias(self, model: str, alias: str, version: int) -> Delivery:
        """Point an alias to the registered version of that number, whose message came before."""
        if alias not in _ALIASES:
            return Delivered()
        try:
            number = self._number(model, version)
            if number is None:
                return Refused(because=f"{model} has no version {version} there")
            self._client.set_registered_model_alias(model, alias, number)
        except (MlflowException, requests.RequestException) as error:
            return _failed(error)
        return Delivered()

    def _log(self, known: Version, artifact: bytes) -> None:
        """Write the run first and register last: what is registered is whole."""
        tags = {_TAG: str(known.version), "sha256": known.sha256}
        run = self._run(known, tags)
        number, at = run.info.run_id, run.info.start_time
        check: Json = known.manifest.get("check", {})
        self._client.log_batch(
            number,
            metrics=[Metric(k, float(v), at, 0) for k, v in check.items()],
            params=[Param(k, v) for k, v in _parameters(known).items()],
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            mlflow.onnx.save_model(
                onnx.load_from_string(artifact), str(path), pip_requirements=_REQUIREMENTS
            )
            self._client.log_artifacts(number, str(path), "model")
        self._client.set_terminated(number)
        # With runs:/ as its source the server itself could not find a version's files.
        source = f"{run.info.artifact_uri}/model"
        self._client.create_model_version(
            known.model, source=source, run_id=number, tags=tags, await_creation_for=0
        )

    def _run(self, known: Version, tags: dict[str, str]) -> Run:
        """Return the version's run, which an earlier try may have left."""
        experiment = self._experiment(known.model)
        asked = f"tags.`{_TAG}` = '{known.version}' and tags.sha256 = '{known.sha256}'"
        left = self._client.search_runs([experiment], asked, max_results=1)
        name = f"{known.strategy}-{known.version}"
        if left:
            return left[0]
        return self._client.create_run(experiment, run_name=name, tags=tags)

    def _experiment(self, model: str) -> str:
        if model not in self._experiments:
            there = self._client.get_experiment_by_name(model)
            self._experiments[model] = (
                there.experiment_id if there else self._client.create_experiment(model)
            )
            try:
                self._client.create_registered_model(model)
            except MlflowException as error:
                if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                    raise
        return self._experiments[model]

    def _number(self, model: str, version: int) -> str | None:
        asked = f"name = '{model}' and tag.`{_TAG}` = '{version}'"
        found = self._client.search_model_versions(asked, max_results=1)
        return str(found[0].version) if found else None


def _parameters(known: Version) -> dict[str, str]:
    manifest = known.manifest
    learner: Any = manifest.get("learner", {})
    rows: Any = manifest.get("rows", {})
    return {
        "strategy": known.strategy,
        "learner": str(learner.get("name")),
        **{str(k): str(v) for k, v in learner.get("parameters", {}).items()},
        "rows": str(rows.get("n")),
        "through": str(rows.get("through")),
        "seed": str(manifest.get("seed")),
    }


def _failed(error: Exception) -> Retry | Refused:
    text = _USER.sub("//***@", str(error))  # it names the URL, which may hold a password
    # Where it was asked stands at the beginning, what went wrong at the end
    short = text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}…{text[-_LONGEST // 2 :]}"
    because = f"{type(error).__name__}: {short}"
    code = getattr(error, "error_code", None)
    refused = code == ErrorCode.Name(INVALID_PARAMETER_VALUE)
    return Refused(because=because) if refused else Retry(because=because)
