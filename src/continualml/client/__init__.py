"""A typed client of the API: predict, label, status; waits out what passes, and never doubles.

Each row gets its ``observation_id`` here, before the first try. So a request that is sent again,
because its answer was lost, is answered from the log and not recorded twice.
"""

from continualml.client.calls import (
    LabelAnswer,
    Prediction,
    RefusedError,
    Truth,
    UnavailableError,
)
from continualml.client.sending import AsyncClient, Client

__all__ = [
    "AsyncClient",
    "Client",
    "LabelAnswer",
    "Prediction",
    "RefusedError",
    "Truth",
    "UnavailableError",
]
