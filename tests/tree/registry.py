"""What stands in a real MLflow, asked over HTTP."""

from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class Registry:
    """The registered model of one of our models; versions are our numbers, not MLflow's."""

    url: str
    model: str
    login: tuple[str, str]

    def is_up(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", trust_env=False, timeout=5).is_success
        except httpx.TransportError:
            return False

    def versions(self) -> list[int]:
        """Return the registered versions, in order; one that is there twice comes twice."""
        asked = {"filter": f"name='{self.model}'", "max_results": "10000"}
        told = self._get("model-versions/search", asked).json()
        assert not told.get("next_page_token")
        return sorted(_ours(v) for v in told.get("model_versions", []))

    def runs(self) -> list[tuple[int, str]]:
        """Return version and state of every run, in order; empty before the first one."""
        there = self._get("experiments/get-by-name", {"experiment_name": self.model})
        if there.status_code == httpx.codes.NOT_FOUND:
            return []
        number = there.raise_for_status().json()["experiment"]["experiment_id"]
        body = {"experiment_ids": [number], "max_results": 1_000}
        url = f"{self.url}/api/2.0/mlflow/runs/search"
        answer = httpx.post(url, json=body, auth=self.login, trust_env=False, timeout=20)
        told = answer.raise_for_status().json()
        return sorted((_ours(r["data"]), r["info"]["status"]) for r in told.get("runs", []))

    def aliased(self, alias: str) -> int | None:
        """Return the version to which an alias points."""
        found = self._aliased(alias)
        return None if found is None else _ours(found)

    def page_of(self, alias: str) -> str:
        """Return the address of the page of the version to which an alias points."""
        found = self._aliased(alias)
        assert found is not None
        return f"{self.url}/#/models/{self.model}/versions/{found['version']}"

    def _aliased(self, alias: str) -> dict[str, Any] | None:
        answer = self._get("registered-models/alias", {"name": self.model, "alias": alias})
        found: dict[str, Any] | None = answer.json().get("model_version")
        return found

    def _get(self, path: str, asked: dict[str, str]) -> httpx.Response:
        url = f"{self.url}/api/2.0/mlflow/{path}"
        return httpx.get(url, params=asked, auth=self.login, trust_env=False, timeout=20)


def _ours(tagged: dict[str, Any]) -> int:
    return next(int(t["value"]) for t in tagged["tags"] if t["key"] == "continualml.version")
