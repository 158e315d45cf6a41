"""The trace of a request: read as W3C wants it, kept with what the request brought."""

from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
from starlette.types import Scope

from continualml.app.api import trace
from continualml.settings import Project
from continualml.store.engine import open_store, write
from continualml.store.log import Observed, append_observations

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def scope(*headers: str) -> Scope:
    return {"headers": [(b"accept", b"*/*"), *((b"traceparent", h.encode()) for h in headers)]}


@pytest.mark.parametrize(
    ("header", "read"),
    [
        (f"00-{TRACE}-{PARENT}-01", TRACE),
        (f"00-{TRACE}-{PARENT}-00", TRACE),
        (f" 00-{TRACE}-{PARENT}-01\t", TRACE),
        (f"cc-{TRACE}-{PARENT}-01", TRACE),  # a later version
        (f"cc-{TRACE}-{PARENT}-01-what-it-may-add", TRACE),
        (f"cc-{TRACE}-{PARENT}-01.what", None),
        (f"00-{TRACE}-{PARENT}-01-more", None),
        (f"ff-{TRACE}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{PARENT}-01", None),
        (f"00-{TRACE[:-1]}-{PARENT}-01", None),
        (f"00-{TRACE}-{PARENT}", None),
        (f"00-{TRACE}-{PARENT}-0x", None),
        ("", None),
        ("é", None),
    ],
)
def test_a_header_is_taken_if_it_is_valid_and_passed_over_otherwise(
    header: str, read: str | None
) -> None:
    assert trace.of(scope(header)) == read


def test_two_headers_are_none() -> None:
    assert trace.of(scope()) is None
    assert trace.of(scope(f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01")) is None


def test_an_observation_and_its_labels_keep_their_traces(
    api: httpx.Client, project: Project
) -> None:
    engine = open_store(project.settings.database_url)
    row = Observed(
        model="loan",
        observation_id="a",
        numeric=np.array([1.0, 2.0]).tobytes(),
        categorical=None,
        version=1,
        answer=np.array([0.25, 0.75]).tobytes(),
        recorded_at=datetime.now(UTC).timestamp(),
        trace=TRACE,
    )
    with write(engine) as conn:
        append_observations(conn, [row])
    another = "ab" * 16
    headers = {"traceparent": f"00-{another}-{PARENT}-01"}
    for revision, sent in ((0, headers), (1, {"traceparent": "nonsense"}), (2, {})):
        body = {"labels": [{"observation_id": "a", "label": "yes", "revision": revision}]}
        api.post("/labels", json=body, headers=sent).raise_for_status()

    told = api.get("/predictions/a").json()
    assert told["trace"] == TRACE
    assert [label["trace"] for label in told["labels"]] == [another, None, None]
