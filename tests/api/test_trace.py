"""The trace of a request: read as W3C wants it, kept with what the request brought."""

import httpx
import pytest
from starlette.types import Scope

from continualml.app.api import trace

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"  # pragma: allowlist secret


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


def test_an_observation_and_its_labels_keep_their_traces(api: httpx.Client) -> None:
    row = {"features": {"age": 1.0, "debt": None}, "observation_id": "a"}
    sent = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    api.post("/predict", json=row, headers=sent).raise_for_status()
    again = {"traceparent": f"00-{'ef' * 16}-{PARENT}-01"}
    api.post("/predict", json=row, headers=again).raise_for_status()  # the first answer stays
    api.post("/predict", json={**row, "observation_id": "b"}).raise_for_status()
    assert api.get("/predictions/b").json()["trace"] is None
    another = "ab" * 16
    headers = {"traceparent": f"00-{another}-{PARENT}-01"}
    for revision, sent in ((0, headers), (1, {"traceparent": "nonsense"}), (2, {})):
        body = {"labels": [{"observation_id": "a", "label": "yes", "revision": revision}]}
        api.post("/labels", json=body, headers=sent).raise_for_status()

    told = api.get("/predictions/a").json()
    assert told["trace"] == TRACE
    assert [label["trace"] for label in told["labels"]] == [another, None, None]
