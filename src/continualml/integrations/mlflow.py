"""MLflow: takes versions and aliases, gives what became of each; people look there, we never do.

While MLflow is down its messages wait in the outbox; predict, promote and roll back go on.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.onnx
import onnx
import requests
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.tracking import MlflowClient

from continualml.records import Json, Version

_TAG = "continualml.version"
_ALIASES = {"champion": "champion", "challenger": "challenger", "previous": "previous"}
_REQUIREMENTS = ["onnxruntime", "numpy"]


@dataclass(frozen=True, slots=True)
class Delivered:
    """It is there, or was there already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """MLflow could not take it now."""

    because: str


Delivery = Delivered | Retry


class Mirror:
    """One MLflow server; the same message twice does no harm."""

    def __init__(self, uri: str) -> None:
        mlflow.set_tracking_uri(uri)
        self._client = MlflowClient(uri)
        self._experiments: dict[str, str] = {}

    def version(self, known: Version, artifact: bytes) -> Delivery:
        """Log a version as a run with its parameters, metrics and graph, and register it."""
        try:
            if self._number(known.model, known.version) is None:
                self._log(known, artifact)
        except (MlflowException, requests.RequestException) as error:
            return Retry(because=_said(error))
        return Delivered()

    def alias(self, model: str, alias: str, version: int) -> Delivery:
        """Point an alias to the registered version of that number."""
        if alias not in _ALIASES:
            return Delivered()
        try:
            number = self._number(model, version)
            if number is None:
                return Retry(because=f"version {version} is not there yet")
            self._client.set_registered_model_alias(model, alias, number)
        except (MlflowException, requests.RequestException) as error:
            return Retry(because=_said(error))
        return Delivered()

    def _log(self, known: Version, artifact: bytes) -> None:
        run = self._client.create_run(
            self._experiment(known.model), run_name=f"{known.strategy}-{known.version}"
        )
        number = run.info.run_id
        at = run.info.start_time
        check: Json = known.manifest.get("check", {})
        self._client.log_batch(
            number,
            metrics=[Metric(k, float(v), at, 0) for k, v in check.items()],
            params=[Param(k, v) for k, v in _parameters(known).items()],
            tags=[RunTag(_TAG, str(known.version)), RunTag("sha256", known.sha256)],
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            mlflow.onnx.save_model(
                onnx.load_from_string(artifact), str(path), pip_requirements=_REQUIREMENTS
            )
            self._client.log_artifacts(number, str(path), "model")
        self._client.create_model_version(
            known.model,
            source=f"runs:/{number}/model",
            run_id=number,
            tags={_TAG: str(known.version), "sha256": known.sha256},
        )
        self._client.set_terminated(number)

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


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
