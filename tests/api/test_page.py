"""The page for people asks nothing of anybody else, and its files come with the package."""

import re

import httpx


def test_the_page_names_no_other_host_and_all_that_it_names_is_there(api: httpx.Client) -> None:
    page = api.get("/docs", headers={"Authorization": ""})
    assert page.status_code == 200
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert "http" not in page.text
    assert len(named) == 3
    for path in [*named, "openapi.json"]:
        answer = api.get(f"/{path}", headers={"Authorization": ""})
        assert answer.status_code == 200
        assert len(answer.content) > 500
    assert api.get("/redoc").status_code == 404  # its page cannot do without other hosts


def test_no_file_beside_them_is_served(api: httpx.Client) -> None:
    for path in ("..%2fmain.py", "%2e%2e/main.py", "../main.py", "nothing.js"):
        assert api.get(f"/docs/files/{path}").status_code == 404
