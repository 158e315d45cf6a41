"""Bytes that no well-behaved client sends, to the real server over a real socket."""

import json
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from continualml.app.api import connections
from continualml.settings import Project
from tests.security.conftest import Server

pytestmark = pytest.mark.journey

ROW = b'{"features": {"age": 1.0, "debt": null}}'


class Wire:
    """A connection on which any bytes can be said."""

    def __init__(self, port: int, token: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.token = f"Authorization: Bearer {token}\r\n".encode()
        self.refused = False

    def post(self, *heads: bytes, body: bytes = ROW, path: bytes = b"/predict") -> None:
        self.say(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + self.token)
        self.say(b"".join(head + b"\r\n" for head in heads) + b"\r\n" + body)

    def say(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.refused = True  # it has closed already; what it said can still be read

    def answers(self, silent_s: float = 1.0) -> list[tuple[int, bytes]]:
        """Read until the server closes or says nothing for so long: statuses and bodies."""
        self.socket.settimeout(silent_s)
        data = b""
        try:
            while part := self.socket.recv(65_536):
                data += part
        except (TimeoutError, ConnectionResetError):
            pass
        found = []
        while data:
            head, _, data = data.partition(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            size = int(fields.get(b"content-length", b"0"))
            found.append((int(head.split(b" ")[1]), data[:size]))
            data = data[size:]
        return found

    def is_closed(self, within_s: float) -> bool:
        """Wait for the server to end the connection."""
        self.socket.settimeout(within_s)
        try:
            while self.socket.recv(65_536):
                pass
        except TimeoutError:
            return False
        except ConnectionResetError:
            pass
        return True


Connect = Callable[..., Wire]


@pytest.fixture
def connect(server: Server) -> Iterator[Connect]:
    """Open connections to the server, with its admin token unless told another one."""
    opened: list[Wire] = []

    def connect(token: str | None = None) -> Wire:
        wire = Wire(server.project.settings.port, token or server.token)
        opened.append(wire)
        return wire

    yield connect
    for wire in opened:
        wire.socket.close()
    assert server.process.is_running()


def last_seq(server: Server) -> int:
    """Append one row, which says how many there were before."""
    told = server.api.post("/predict", content=ROW).raise_for_status().json()
    found = server.api.get(f"/predictions/{told['predictions'][0]['observation_id']}").json()
    return int(found["seq"])


N = b"%d" % len(ROW)
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(ROW), ROW)
# Two readers of one of these could disagree about where the request ends.
AMBIGUOUS = {
    "both lengths": ([b"Content-Length: " + N, b"Transfer-Encoding: chunked"], CHUNKED),
    "both, the other way round": ([b"Transfer-Encoding: chunked", b"Content-Length: 4"], CHUNKED),
    "two lengths": ([b"Content-Length: " + N, b"Content-Length: 3"], ROW),
    "a list of lengths": ([b"Content-Length: " + N + b", 3"], ROW),
    "a signed length": ([b"Content-Length: +" + N], ROW),
    "a negative length": ([b"Content-Length: -1"], ROW),
    "a hexadecimal length": ([b"Content-Length: 0x28"], ROW),
    "an endless length": ([b"Content-Length: 99999999999999999999999999"], ROW),
    "a space before the colon": ([b"Content-Length : " + N], ROW),
    "an unknown coding": ([b"Transfer-Encoding: chunked, identity"], CHUNKED),
    "a folded head": ([b"Transfer-Encoding:\r\n chunked", b"Content-Length: " + N], CHUNKED),
    "a bare line feed": ([b"A: b\nContent-Length: 3", b"Content-Length: " + N], ROW),
    "a bare carriage return": ([b"A: b\rContent-Length: 3", b"Content-Length: " + N], ROW),
    "a byte NUL": ([b"A: b\0c", b"Content-Length: " + N], ROW),
    "a bad chunk size": ([b"Transfer-Encoding: chunked"], b"zz\r\n" + CHUNKED),
    "a negative chunk size": ([b"Transfer-Encoding: chunked"], b"-1\r\n" + CHUNKED),
    "a chunk size that wraps": ([b"Transfer-Encoding: chunked"], b"100000000000000" + CHUNKED),
    "a chunk size and a space": (
        [b"Transfer-Encoding: chunked"],
        CHUNKED.replace(b"\r", b" \r", 1),
    ),
    "a line feed in a chunk's extension": (
        [b"Transfer-Encoding: chunked"],
        CHUNKED.replace(b"\r\n", b";a\nb\r\n", 1),
    ),
    "chunks that end with line feeds": (
        [b"Transfer-Encoding: chunked"],
        CHUNKED.replace(b"\r\n", b"\n"),
    ),
    "a length behind its chunks": (
        [b"Transfer-Encoding: chunked"],
        CHUNKED.removesuffix(b"\r\n") + b"Content-Length: 3\r\n\r\n",
    ),
    "the same length twice": ([b"Content-Length: " + N, b"Content-Length: " + N], ROW),
    "an empty length": ([b"Content-Length:"], ROW),
    "nearly a coding": ([b"Transfer-Encoding: xchunked", b"Content-Length: " + N], ROW),
    "a field that is folded": ([b"A: b\r\n c", b"Content-Length: " + N], ROW),
    "a space in a name": ([b"A b: c", b"Content-Length: " + N], ROW),
    "another protocol": (
        [b"Content-Length: " + N, b"Connection: Upgrade", b"Upgrade: h2c"],
        ROW,
    ),
    "another protocol, in chunks": (
        [b"Transfer-Encoding: chunked", b"Connection: Upgrade", b"Upgrade: h2c"],
        CHUNKED,
    ),
    "a chunk longer than it says": ([b"Transfer-Encoding: chunked"], b"3\r\n" + ROW + b"\r\n0\r\n"),
}


def test_a_request_that_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_heard(
    server: Server, connect: Connect
) -> None:
    before = last_seq(server)
    for what, (heads, body) in AMBIGUOUS.items():
        wire = connect()
        wire.post(*heads, body=body)
        wire.post(b"Content-Length: " + N, path=b"/smuggled")
        answers = wire.answers()

        assert [status for status, _ in answers] == [400], what
        assert json.loads(answers[0][1])["type"] == "urn:continualml:problem:malformed-http", what
        assert wire.is_closed(1), what
    assert last_seq(server) == before + 1  # the row of asking


NO_REQUESTS = (
    *(b"GET", b"GET /livez HTTP/9.9", b"GET /liv\xffez HTTP/1.1", b"\x16\x03\x01"),
    *(b"G\0T /livez HTTP/1.1", b"GET  HTTP/1.1", b"PRI * HTTP/2.0", b"GET livez HTTP/1.1"),
    *(b"GET http://[::1 HTTP/1.1", b"CONNECT evil:443 HTTP/1.1", b"GET ? HTTP/1.1"),
)


def test_what_is_no_request_is_400_or_404_and_never_500(connect: Connect) -> None:
    for line in NO_REQUESTS:
        wire = connect()
        wire.say(line + b"\r\nHost: x\r\n\r\n")

        assert {status for status, _ in wire.answers()} <= {400, 401, 404, 405}, line


def test_requests_that_come_in_one_go_are_answered_in_their_order(
    connect: Connect,
) -> None:
    wire = connect()
    bodies = [b'{"features": {"age": %d, "debt": null}}' % i for i in range(20)]
    one_go = b""
    for i, body in enumerate(bodies):
        path = b"/predict" if i % 2 else b"/models/none/predict"
        one_go += b"POST %s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s" % (
            path,
            wire.token,
            len(body),
            body,
        )
    wire.say(one_go)
    answers = wire.answers()

    assert [status for status, _ in answers] == [404, 200] * 10
    said = [json.loads(b)["predictions"][0]["probabilities"]["yes"] for s, b in answers if s == 200]
    assert said == sorted(said)  # it grows with the age


LONG = b'{"features": {"age": 1.0,' + b" " * 40_000 + b'"debt": null}}'
# Ways to say the same; the first is what nearly all clients do, and has a way of its own.
ONE_MEANING = {
    "plain": ([b"Content-Length: " + N], ROW),
    "in chunks": ([b"Transfer-Encoding: chunked"], CHUNKED),
    "after a question": ([b"Content-Length: " + N, b"Expect: 100-continue"], ROW),
    "long": ([b"Content-Length: %d" % len(LONG)], LONG),
    "the last one": ([b"Content-Length: " + N, b"Connection: close"], ROW),
}


def test_however_a_prediction_is_sent_it_is_answered_alike(connect: Connect) -> None:
    said = {}
    for what, (heads, body) in ONE_MEANING.items():
        wire = connect()
        wire.post(*heads, body=body)
        *_, (status, content) = wire.answers()
        assert status == 200, what
        answer = json.loads(content)
        assert len(answer["predictions"][0].pop("observation_id")) == 32
        said[what] = answer
        assert wire.is_closed(0.3) == (what == "the last one"), what
    assert all(answer == said["plain"] for answer in said.values())


def test_a_client_that_goes_before_its_body_or_its_answer_is_forgotten(
    server: Server, connect: Connect
) -> None:
    before = last_seq(server)
    half = connect()
    half.post(b"Content-Length: " + N, body=ROW[:10])
    half.socket.close()
    gone = connect()
    gone.post(b"Content-Length: " + N)
    gone.socket.close()
    stays = connect()
    stays.post(b"Content-Length: " + N)

    assert [status for status, _ in stays.answers()] == [200]
    assert before + 2 <= last_seq(server) <= before + 3  # who is gone may have been answered


def test_a_client_that_asks_and_asks_and_does_not_read_waits_for_itself(
    server: Server, connect: Connect
) -> None:
    n, wire = 6_000, connect()
    one = b"POST /predict HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s" % (wire.token, len(ROW), ROW)
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    asking = threading.Thread(target=wire.say, args=(one * n,))
    asking.start()
    time.sleep(1)
    before, held = last_seq(server), server.process.memory_info().rss
    assert server.api.post("/predict", content=ROW).status_code == 200
    answers = wire.answers(3.0)
    asking.join(20)

    assert before < n  # its answers would not fit anywhere
    assert [status for status, _ in answers] == [200] * n
    assert server.process.memory_info().rss < held + 20 * 2**20


def test_a_chunked_body_is_read_no_further_than_the_limit(server: Server, connect: Connect) -> None:
    wire = connect()
    wire.post(b"Transfer-Encoding: chunked", body=b"")
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    for _ in range(100):  # 3.2 MB, and 50 kB are allowed
        wire.say(chunk)
    answers = wire.answers()

    assert [status for status, _ in answers] in ([413], [])  # a reset may overtake the answer
    assert wire.is_closed(1)
    assert server.process.memory_info().rss < 400e6


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(
    connect: Connect,
) -> None:
    wire = connect()
    wire.post(b"Content-Length: 10000000000", body=b"")

    ((status, said),) = wire.answers()
    assert status == 413
    assert b"max_body_bytes" in said
    assert wire.is_closed(1)


def test_a_flood_of_header_fields_is_refused_in_bounded_memory(
    server: Server, connect: Connect
) -> None:
    before = server.process.memory_info().rss
    floods: tuple[Callable[[int], bytes], ...] = (
        lambda i: b"X-%d: %d\r\n" % (i, i),
        lambda _: b"X: " + b"a" * 1_000 + b"\r\n",
        lambda _: b"a" * 1_000,  # one field that does not end
    )
    for flood in floods:
        wire = connect("none")
        wire.say(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
        for start in range(0, 20_000, 100):
            wire.say(b"".join(flood(i) for i in range(start, start + 100)))
        answers = wire.answers()

        assert [status for status, _ in answers] in ([431], [])
        assert wire.is_closed(1)
    assert server.process.memory_info().rss < before + 50e6
    few = connect()
    few.post(*(b"X-%d: %d" % (i, i) for i in range(90)), b"Content-Length: " + N)
    assert [status for status, _ in few.answers()] == [200]


def test_a_token_behind_the_body_is_none(server: Server, connect: Connect) -> None:
    before = last_seq(server)
    wire = connect()
    behind = CHUNKED.removesuffix(b"\r\n") + wire.token + b"\r\n"
    wire.say(b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + behind)

    assert [status for status, _ in wire.answers()] == [401]
    with_token = connect()
    with_token.post(b"Transfer-Encoding: chunked", body=behind)
    assert [status for status, _ in with_token.answers()] == [200]
    assert last_seq(server) == before + 2


def test_fields_behind_a_body_without_end_are_refused_in_bounded_memory(
    server: Server, connect: Connect
) -> None:
    floods = (b"".join(b"X%d: y\r\n" % i for i in range(6_000)), b"a" * 65_536)
    for token in (None, "none"):
        for begins, flood in zip((b"", b"X: "), floods, strict=True):
            before, wire = server.process.memory_info().rss, connect(token)
            wire.post(b"Transfer-Encoding: chunked", body=b"0\r\n" + begins)
            began, most, n = time.monotonic(), 0, 0
            while not wire.refused and time.monotonic() - began < 4:
                wire.say(flood)
                most, n = max(most, server.process.memory_info().rss), n + len(flood)

            assert wire.refused
            assert n < 20 * 2**20  # what lies between the two ends
            assert most < before + 20 * 2**20


def test_who_was_answered_before_the_body_was_here_is_told_no_second_thing(
    connect: Connect,
) -> None:
    wire = connect("none")
    wire.post(b"Transfer-Encoding: chunked", body=b"5\r\nab")
    time.sleep(0.3)
    wire.say(b"too much for a chunk of five\r\n")

    assert [status for status, _ in wire.answers()] == [401]
    assert wire.is_closed(1)


def test_who_asks_for_another_protocol_is_answered_in_this_one_and_nothing_behind_it_is_heard(
    connect: Connect,
) -> None:
    wire = connect()
    wire.say(b"GET /livez HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    time.sleep(0.3)
    wire.post(b"Content-Length: " + N, path=b"/smuggled")

    assert [status for status, _ in wire.answers()] == [200]
    assert wire.is_closed(1)


def test_who_has_no_token_cannot_go_on_sending_a_body(connect: Connect) -> None:
    wire = connect("none")
    wire.post(b"Transfer-Encoding: chunked", body=b"")
    began = time.monotonic()
    wire.refused = False
    while not wire.refused and time.monotonic() - began < 10:
        wire.say(b"1\r\n \r\n")
        time.sleep(0.05)

    assert wire.refused
    assert time.monotonic() - began < 6


def test_clients_that_say_their_head_slowly_are_ended_and_hold_up_nobody(
    server: Server, connect: Connect
) -> None:
    silent = [connect() for _ in range(50)]
    slow = [connect() for _ in range(50)]
    began = time.monotonic()
    took_s = []
    while time.monotonic() - began < 8:
        for wire in slow:
            wire.say(b"X")
        asked = time.monotonic()
        last_seq(server)
        took_s.append(time.monotonic() - asked)
        time.sleep(0.5)

    assert statistics.median(took_s) < 1
    assert all(wire.is_closed(14 - (time.monotonic() - began)) for wire in silent + slow)
    assert time.monotonic() - began >= 9
    assert server.process.num_fds() < 60


def test_a_body_that_comes_too_slowly_is_given_up(
    api: httpx.Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_REQUEST_S", 2.0)  # for a minute, which is long for a test
    token = api.headers["Authorization"].removeprefix("Bearer ")
    wire = Wire(project.settings.port, token)
    wire.post(b"Content-Length: " + N, body=b"")
    began = time.monotonic()
    while not wire.refused and time.monotonic() - began < 9:
        wire.say(b" ")
        time.sleep(0.25)

    assert [status for status, _ in wire.answers()] in ([408], [])
    assert wire.is_closed(1)
    assert time.monotonic() - began < 9
    wire.socket.close()
    assert api.post("/predict", content=ROW).status_code == 200


def test_beyond_the_most_connections_new_ones_are_turned_away_and_old_ones_go_on(
    api: httpx.Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert api.get("/livez").status_code == 200
    monkeypatch.setattr(connections, "_CONNECTIONS", 5)
    wires = [Wire(project.settings.port, "none") for _ in range(20)]

    closed = [wire.is_closed(0.5) for wire in wires]

    assert closed == [False] * 4 + [True] * 16
    assert api.get("/livez").status_code == 200
    for wire in wires:
        wire.socket.close()
