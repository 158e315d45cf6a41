"""The model in LitServe: a list of rows in, their probabilities out."""

import os
from typing import Any

import litserve as ls
import numpy as np
from estimator import load


class Probabilities(ls.LitAPI):
    """One process that answers, behind LitServe's own."""

    def setup(self, device: str) -> None:
        """Load the model."""
        _ = device
        self.model = load()

    def decode_request(self, request: dict[str, Any]) -> Any:
        """Make an array of the rows."""
        return np.array(request["rows"])

    def predict(self, x: Any) -> Any:
        """Answer all rows."""
        return self.model.predict_proba(x)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Write the probabilities."""
        return {"probabilities": output.tolist()}


if __name__ == "__main__":
    workers = int(os.environ["SERVING_WORKERS"])
    server = ls.LitServer(Probabilities(), accelerator="cpu", workers_per_device=workers)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["SERVING_PORTS"].split()[0]),
        num_api_servers=workers,
        generate_client_file=False,
        log_level="warning",
    )
