"""Every route with every token, from the routes of the application itself."""

import hashlib
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from starlette.routing import BaseRoute, Mount, Route

from continualml.app.api import main
from continualml.settings import Project
from continualml.store import tokens
from continualml.store.engine import open_store, write

# What each route needs; a new route without a line here fails. Open ones say nothing about what
# the log holds: whether the process turns, and how the API is used.
OPEN = None
NEEDED: dict[str, str | None] = {
    "/predict": "predict",
    "/models/{model}/predict": "predict",
    "/labels": "label",
    "/feedback": "label",
    "/generate": "label",
    "/models": "read",
    "/model-status": "read",
    "/models/{model}": "read",
    "/models/{model}/versions/{number}": "read",
    "/models/{model}/performance": "read",
    "/decisions": "read",
    "/decisions/{n}": "read",
    "/predictions/{observation_id:path}": "read",
    "/models/{model}/evidence": "read",
    "/models/{model}/performance/rolling": "read",
    "/models/{model}/distributions": "read",
    "/models/{model}/label-lag": "read",
    "/models/{model}/trials": "read",
    "/models/{model}/versions": "read",
    "/models/{model}/compare": "read",
    "/models/{model}/try": "read",
    "/models/{model}/jobs": "read",
    "/jobs/{job}": "read",
    "/login": OPEN,  # it asks for a secret of its own, and counts the wrong ones
    "/login/oidc": OPEN,  # likewise: the provider's signature, and the allow list
    "/logout": "read",
    "/health": "read",
    "/metrics": "read",
    "/invocations": "predict",
    "/models/{model}/invocations": "predict",
    "/version": "predict",
    "/v2": "predict",
    "/v2/models/{model}": "predict",
    "/v2/models/{model}/ready": "predict",
    "/v2/models/{model}/infer": "predict",
    "/v2/models/{model}/versions/{version}": "predict",
    "/v2/models/{model}/versions/{version}/ready": "predict",
    "/v2/models/{model}/versions/{version}/infer": "predict",
    "/v2/health/live": OPEN,
    "/v2/health/ready": OPEN,
    "/ping": OPEN,
    "/livez": OPEN,
    "/readyz": OPEN,
    "/docs": OPEN,
    "/docs/files": OPEN,
    "/openapi.json": OPEN,
}
FILLED = {"job": "0" * 16, "model": "loan", "version": "1", "number": "1", "n": "1"}
FILLED["observation_id:path"] = "a"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")


def routes(found: list[BaseRoute], before: str = "") -> Iterator[tuple[str, set[str]]]:
    """Walk the routes with their methods; those of an included router are its own."""
    for route in found:
        if isinstance(route, Route):
            yield before + route.path, set(route.methods or METHODS)
        elif isinstance(route, Mount):
            yield before + route.path, {"GET", "HEAD"}
        else:
            router = getattr(route, "original_router", None)
            assert router is not None, f"a kind of route that this test does not know: {route!r}"
            yield from routes(router.routes, before + route.include_context.prefix)  # type: ignore[attr-defined]


def url_of(path: str) -> str:
    for name, value in FILLED.items():
        path = path.replace(f"{{{name}}}", value)
    assert "{" not in path, f"say in FILLED what stands for the parameter of {path}"
    return path


@pytest.fixture
def known(project: Project, api: httpx.Client, token: Callable[..., str]) -> dict[str, str]:
    """Make a token of each scope, and a revoked one that was an admin's; the server knows."""
    secrets = {scope: token(scope) for scope in tokens.SCOPES}
    engine = open_store(project.settings.database_url)
    with write(engine) as conn:
        revoked, secrets["revoked"] = tokens.create(conn, "revoked", ("admin",))
    bearer = {"Authorization": f"Bearer {secrets['revoked']}"}
    until(lambda: api.get("/models", headers=bearer).status_code == 200)
    with write(engine) as conn:
        tokens.revoke(conn, revoked.id)
    engine.dispose()
    until(lambda: api.get("/models", headers=bearer).status_code == 401)
    return secrets


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def unfit(secrets: dict[str, str]) -> list[dict[str, str | bytes]]:
    """Return the headers that let nobody in, though most of them hold a token that is valid."""
    admin = secrets["admin"]
    said: list[str | bytes] = [
        *("", "Bearer", "Bearer  x", "Bearer wrong", f"Bearer {secrets['revoked']}"),
        *(admin, f"Basic {admin}", f"Token {admin}", f"Bearer{admin}", f"Bearer: {admin}"),
        *(f"Bearer {admin}x", f"Bearer {admin[:-1]}", f"Bearer {admin.upper()}"),
        *(f"Bearer {admin}, Bearer {admin}", f"Bearer x {admin}", f'Bearer "{admin}"'),
        f"Bearer {hashlib.sha256(admin.encode()).hexdigest()}",  # what the store holds
        *(b"Bearer \xff\xfe" + admin.encode(), b"Bearer \xc3\xa9" * 200, b"B" * 8_000),
    ]
    headers: list[dict[str, str | bytes]] = [{"Authorization": one} for one in said]
    headers += [{"X-API-Key": admin}, {"Cookie": f"token={admin}"}, {"Proxy-Authorization": admin}]
    return headers


def test_every_route_says_whether_it_is_open_or_which_scope_it_needs(project: Project) -> None:
    app = main.create(project)

    walked = dict(routes(app.routes))

    assert walked.keys() == NEEDED.keys()
    described = {path.replace(":path", "") for path in walked}
    assert set(app.openapi()["paths"]) <= described


def test_each_route_lets_in_its_scope_and_admin_and_nobody_else(
    api: httpx.Client, project: Project, known: dict[str, str]
) -> None:
    del api.headers["Authorization"]
    for path, methods in routes(main.create(project).routes):
        for method in methods:
            needed, url = NEEDED[path], url_of(path)
            if needed is OPEN:
                assert api.request(method, url).status_code not in {401, 403}, path
                continue

            for headers in unfit(known):
                answer = api.request(method, url, headers=headers)  # type: ignore[arg-type]
                assert answer.status_code in {401, 429}, (path, headers)
                assert answer.headers["content-type"] == "application/problem+json"
                expected = answer.status_code == 401
                assert (answer.headers.get("www-authenticate") == "Bearer") is expected
            status = {
                scope: api.request(
                    method, url, headers={"Authorization": f"bearer {known[scope]}"}
                ).status_code
                for scope in tokens.SCOPES
            }

            refused = {scope for scope, code in status.items() if code in {401, 403, 429}}
            assert refused == set(tokens.SCOPES) - {needed, "admin"}, path
            assert all(status[scope] == 403 for scope in refused), path


def test_no_other_method_and_no_other_spelling_of_a_path_lets_anybody_in(
    api: httpx.Client, project: Project, known: dict[str, str]
) -> None:
    wrong_scope = {
        "predict": "read",
        "label": "predict",
        "read": "label",
    }
    del api.headers["Authorization"]
    base = str(api.base_url).rstrip("/")  # "//v2" alone would be another host
    for path, methods in routes(main.create(project).routes):
        if (needed := NEEDED[path]) is OPEN:
            continue
        url = url_of(path)
        spelt = (
            *(
                f"{url}/",
                f"{base}/{url}",
                f"{base}//{url}/",
                url.upper(),
                f"{url}%00",
                f"{url};admin",
            ),
            *(f"{url}?token={known['admin']}", f"/livez/..{url}", f"/docs/files/..{url}"),
            *(f"/docs/files/%2e%2e{url}", url.replace("/", "/./"), f"%2f{url[1:]}"),
        )
        for token in (None, known[wrong_scope[needed]]):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            for method in METHODS:
                if method not in methods:
                    assert api.request(method, url, headers=headers).status_code in {401, 403, 405}
            for other in spelt:
                for method in methods:
                    answer = api.request(method, other, headers=headers)
                    assert answer.status_code in {401, 403, 404, 405}, (other, token)


def test_who_has_no_token_is_not_told_what_else_is_wrong_or_missing(api: httpx.Client) -> None:
    del api.headers["Authorization"]
    for url in (
        *("/decisions?limit=x", "/decisions/x", "/models/none", "/models/loan/versions/x"),
        *("/predictions/none?model=none", "/decisions?limit=0&before=-1"),
    ):
        assert api.get(url).status_code == 401, url


def test_what_is_refused_has_written_nothing(api: httpx.Client, known: dict[str, str]) -> None:
    time.sleep(2.1)  # health looks every two seconds
    before = api.get("/health").json()["components"]["store"]["last_seq"]
    row = {"features": {"age": 1.0, "debt": None}, "observation_id": "refused"}
    label = {"labels": [{"observation_id": "refused", "label": "yes"}]}
    for token in ("x", known["read"], known["revoked"]):
        headers = {"Authorization": f"Bearer {token}"}
        for url, body in (("/predict", row), ("/labels", label), ("/generate", {"n": 5})):
            assert api.post(url, json=body, headers=headers).status_code in {401, 403}

    assert api.get("/predictions/refused").status_code == 404
    time.sleep(2.1)  # health looks every two seconds
    assert api.get("/health").json()["components"]["store"]["last_seq"] == before
