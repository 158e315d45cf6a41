"""The API's project and servers, as its own tests have them."""

from tests.api.conftest import (
    _nothing_from_outside,
    api,
    point,
    process,
    project,
    register,
    serve,
    token,
)

__all__ = (
    "_nothing_from_outside",
    "api",
    "point",
    "process",
    "project",
    "register",
    "serve",
    "token",
)
