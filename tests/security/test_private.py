"""What lies on the disk is its owner's; secrets stand nowhere else; nothing goes outside."""

import os
import re
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from continualml.store import private
from continualml.store.engine import StoreUnavailableError, open_store
from tests.security.conftest import Server

pytestmark = [pytest.mark.journey, pytest.mark.patient]

ROOT = Path(__file__).parents[2]
ROW = {"features": {"age": 1.0, "debt": None}}
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def test_what_clients_sent_and_every_secret_is_readable_by_its_owner_alone(server: Server) -> None:
    data = server.project.settings.data
    server.api.post("/predict", json=ROW).raise_for_status()

    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    for name in ("log.sqlite", "log.sqlite-wal", "log.sqlite-shm", "admin.token"):
        assert not stat.S_IMODE((data / name).stat().st_mode) & OTHERS, name
    for path in (data / "artifacts").iterdir():
        assert not stat.S_IMODE(path.stat().st_mode) & OTHERS


def test_a_store_in_a_folder_that_others_may_enter_is_still_private(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    before = os.umask(0)
    try:
        open_store(f"sqlite:///{shared}/new/deep/log.sqlite").dispose()
        open_store(f"sqlite:///{shared}/log.sqlite").dispose()
    finally:
        os.umask(before)

    assert stat.S_IMODE((shared / "log.sqlite").stat().st_mode) == 0o600
    assert stat.S_IMODE((shared / "new").stat().st_mode) == 0o700
    assert stat.S_IMODE((shared / "new/deep").stat().st_mode) == 0o700
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755  # it is not ours


def test_a_place_where_nothing_can_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(StoreUnavailableError, match=r"Not a directory|File exists"):
        open_store(f"sqlite:///{tmp_path}/file/log.sqlite")
    private.make_folder(tmp_path)  # there: nothing to do


SECRETS = {
    "API_KEY": "k3y-0f-th1s-pr0ject-wh1ch-n0b0dy-kn0ws",
    "DISCORD_WEBHOOK_URL": "https://discord.invalid/api/webhooks/17/h00k-0f-th1s-pr0ject",
    "CONTINUAL_DATABASE_URL": "postgresql://me:p4ssw0rd-0f-th1s@127.0.0.1:1/log",
}
PARTS = ("k3y-0f-th1s", "h00k-0f-th1s", "p4ssw0rd-0f-th1s")


def test_no_answer_no_log_and_no_process_list_tells_a_token(server: Server) -> None:
    token, api = server.token, server.api
    wrong = "my-other-password-which-i-mistyped"
    said = [
        api.post("/predict", json=ROW),
        api.post("/predict", content=b'{"features": {"age": "' + token.encode() + b'x"'),
        api.post("/predict", headers={"Authorization": f"Bearer {wrong}"}, json=ROW),
        api.post("/predict", headers={"Authorization": f"Basic {token}"}, json=ROW),
        api.request("BREW", "/models", headers={"X-Forwarded-For": "evil", "X-Key": wrong}),
        *(api.get(u) for u in ("/health", "/models", "/decisions", "/openapi.json", "/docs")),
        *(api.get(u) for u in ("/metrics", "/model-status", "/models/loan/versions/1", "/none")),
    ]

    for answer in said:
        assert token not in answer.text, answer.url
        assert wrong not in answer.text, answer.url
        assert not re.search(r"Traceback|site-packages|\.py\b", answer.text), answer.url
        assert "server" not in answer.headers  # nor which server it is
    printed = server.said.read_text("utf-8")
    assert "answers now" in printed
    assert token not in printed
    assert wrong not in printed
    family = [server.process, *server.process.children(recursive=True)]
    assert not any(token in part for process in family for part in process.cmdline())


def test_no_verb_prints_a_secret_not_even_in_an_error(tmp_path: Path) -> None:
    env = {n: v for n, v in os.environ.items() if not n.startswith("CONTINUAL_")} | SECRETS
    said = tmp_path / "said"
    for verb in (["config", "show"], ["doctor"], ["serve"], ["token", "list"]):
        with said.open("wb") as out:
            run = subprocess.Popen(
                [sys.executable, "-m", "continualml", *verb],
                cwd=tmp_path,
                env=env,
                stdout=out,
                stderr=out,
            )
        # The server goes on to wait for its database.
        while verb == ["serve"] and "127.0.0.1" not in said.read_text("utf-8"):
            assert run.poll() is None
            time.sleep(0.1)
        if verb == ["serve"]:
            run.terminate()
        run.wait(60)
        printed = said.read_text("utf-8")
        assert printed, verb
        assert "127.0.0.1:1" in printed or verb[0] != "config"
        assert not [part for part in PARTS if part in printed], verb


def test_the_repository_holds_no_file_for_a_secret() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"],  # noqa: S607  the one on the path
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if tracked.returncode:
        pytest.skip("this is no working copy of git")
    names = tracked.stdout.splitlines()
    kinds = re.compile(r"(^|/)(\.env|.*\.(pem|key|p12|sqlite|token|pkl|pickle|joblib))$")

    assert "pyproject.toml" in names
    assert [n for n in names if kinds.search(n)] == []


def test_serving_connects_to_nobody_and_listens_on_this_machine_alone(server: Server) -> None:
    server.api.post("/predict", json=ROW).raise_for_status()
    connections = server.process.net_connections("all")

    listening = [c for c in connections if c.status == psutil.CONN_LISTEN]
    assert [c.laddr for c in listening] == [("127.0.0.1", server.project.settings.port)]
    others = [c.raddr for c in connections if c.family == socket.AF_INET and c not in listening]
    assert others  # this test's own
    assert all(address[0] == "127.0.0.1" for address in others)
    assert not [
        c for c in connections if c.type == socket.SOCK_DGRAM
    ]  # no datagrams, as to a name server
