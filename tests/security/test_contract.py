"""Schemathesis over the whole OpenAPI document, against a real server process."""

from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

from tests.security.conftest import Server

pytestmark = [pytest.mark.journey, pytest.mark.patient]

EXAMPLES = 10  # valid and invalid ones for each operation; some 400 requests in half a minute
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.ignored_auth,
]


# What the document leaves open, because it is the project's: the names, and a model's features.
NAMES = {
    "model": {"enum": ["loan", "price"]},
    "observation_id": {"enum": ["there", "nobody"]},
    "number": {"enum": [1, 2]},
}
FEATURES = {
    "type": "object",
    "properties": {"age": {"type": "number"}, "debt": {"type": ["number", "null"]}},
    "required": ["age", "debt"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_operation_answers_as_the_document_says(server: Server, mode: GenerationMode) -> None:
    document = server.api.get("/openapi.json").json()
    said = {"features": {"age": 1.0, "debt": None}, "observation_id": "there"}
    server.api.post("/predict", json=said).raise_for_status()
    if mode is GenerationMode.POSITIVE:
        name_what_is_there(document)
    schema = schemathesis.openapi.from_dict(document)
    found = [o.ok() for o in schema.get_all_operations() if isinstance(o, Ok)]
    assert len(found) == sum(map(len, document["paths"].values()))

    statuses: Counter[str] = Counter()
    for operation in found:
        if mode is GenerationMode.POSITIVE or takes_something(operation):
            statuses += try_out(operation, mode, server)

    assert statuses.total() > EXAMPLES * len(found) / 2
    reached = {
        GenerationMode.POSITIVE: {"POST /predict 200", "POST /labels 200", "GET /decisions 200"},
        GenerationMode.NEGATIVE: {"POST /predict 422", "GET /decisions 422", "POST /labels 401"},
    }
    assert reached[mode] <= statuses.keys()
    assert server.process.is_running()


def name_what_is_there(document: dict[str, Any]) -> None:
    for item in document["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = NAMES.get(parameter["name"], parameter["schema"])
    for part in ("PredictBody", "Instance"):
        document["components"]["schemas"][part]["properties"]["features"] = FEATURES


def takes_something(operation: APIOperation[Any, Any, Any, Any]) -> bool:
    raw = operation.definition.raw
    return bool(raw.get("parameters") or raw.get("requestBody") or raw.get("security"))


def try_out(
    operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode, server: Server
) -> Counter[str]:
    """Send what is generated, check each answer, and count them."""
    statuses: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def sent(case: Case[Any]) -> None:
        bearer = {"Authorization": f"Bearer {server.token}"}
        answer = case.call(base_url=str(server.api.base_url), headers=bearer)
        statuses[f"{operation.label} {answer.status_code}"] += 1
        case.validate_response(answer, checks=CHECKS)

    sent()
    return statuses
