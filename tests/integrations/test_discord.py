"""The webhook against a server that behaves as Discord's, on a real socket."""

import logging
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger
from pydantic import SecretStr

from continualml.integrations.delivery import (
    Closed,
    Delivered,
    Gone,
    Later,
    Refused,
    Retry,
)
from continualml.integrations.discord import Webhook, _became, embed
from continualml.notices.notice import Links, Notice
from tests import discord
from tests.discord import Discord

NOTICE = Notice(
    event="promoted",
    tone="good",
    title="loan: version 9 promoted",
    what="Strategy newest_500 is proven better.",
    why=("evidence 5e+04 of 3.9e+04, reached",),
    facts=(("Versions", "3 → 9"),),
    section="promoted",
    at="2026-11-24T12:00:00.000+00:00",
)
LINKS = Links(dashboard="http://127.0.0.1:8501", runbook="https://example.org/runbook.md")


@pytest.fixture
def server() -> Iterator[Discord]:
    with discord.serve() as one:
        yield one


def webhook(server: Discord, *, url: str | None = None, timeout_s: float = 5.0) -> Webhook:
    return Webhook(SecretStr(url or server.url), links=LINKS, timeout_s=timeout_s)


def test_a_message_says_what_why_and_where_to_look_and_pings_nobody(server: Discord) -> None:
    result = webhook(server).post(NOTICE)
    (number,) = server.messages
    assert result == Delivered(receipt=number)
    body = server.messages[number]
    assert body["allowed_mentions"] == {"parse": []}
    (told,) = body["embeds"]
    assert told["title"] == NOTICE.title
    assert told["description"] == "Strategy newest\\_500 is proven better."  # no italics
    assert told["timestamp"] == NOTICE.at
    fields = {f["name"]: f["value"] for f in told["fields"]}
    assert fields["Versions"] == "3 → 9"
    assert fields["Why"] == "• evidence 5e+04 of 3.9e+04, reached"
    assert fields["Look"] == (
        "[dashboard](http://127.0.0.1:8501) · [what to do](https://example.org/runbook.md#promoted)"
    )


def test_a_message_is_edited_in_place_and_gone_once_somebody_has_deleted_it(
    server: Discord,
) -> None:
    there = webhook(server)
    posted = there.post(NOTICE)
    assert isinstance(posted, Delivered)
    assert posted.receipt is not None
    edited = there.edit(posted.receipt, replace(NOTICE, title="later"))
    assert isinstance(edited, Delivered)
    assert server.titles() == ["later"]
    server.messages.clear()
    assert isinstance(there.edit(posted.receipt, NOTICE), Gone)


def test_a_message_in_a_thread_keeps_its_thread(server: Discord) -> None:
    there = webhook(server, url=f"{server.url}?thread_id=7")
    assert isinstance(there.post(NOTICE), Delivered)


def test_the_last_message_of_a_window_says_how_long_the_next_one_waits(server: Discord) -> None:
    server.window_s = 5.0
    there = webhook(server)
    pauses = [r.pause_s for r in (there.post(NOTICE) for _ in range(5)) if isinstance(r, Delivered)]
    assert pauses[:4] == [0.0] * 4
    assert 4.0 < pauses[4] <= 5.0
    late = there.post(NOTICE)
    assert isinstance(late, Later)
    assert late.after_s is not None
    assert 4.0 < late.after_s <= 5.0  # the whole seconds of Retry-After are rounded up


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_what_may_heal_is_tried_again(server: Discord, status: int) -> None:
    server.faults = [status]
    assert isinstance(webhook(server).post(NOTICE), Retry)


def test_who_is_silent_or_hangs_up_is_tried_again(server: Discord) -> None:
    server.faults, server.slow_s = ["slow", "hang up"], 1.0
    assert webhook(server, timeout_s=0.2).post(NOTICE) == Retry(because="Discord: ReadTimeout")
    assert isinstance(webhook(server).post(NOTICE), Retry)
    assert isinstance(
        webhook(server, url="http://127.0.0.1:1/api/webhooks/1/x").post(NOTICE), Retry
    )


@pytest.mark.parametrize("said", ["inf", "nan", "-3", "1e9", "Tue, 24 Nov 2026 12:00:00 GMT", None])
def test_an_answer_that_makes_no_sense_stops_nobody_for_ever(said: object) -> None:
    odd = httpx.Response(429, json={"retry_after": said}, headers={"Retry-After": str(said)})
    assert _became(odd) == Later(after_s=None)
    where = httpx.Response(200, json={"id": "../../another"})
    assert _became(where) == Delivered(receipt=None)
    assert isinstance(_became(httpx.Response(502, text="<html>")), Retry)
    assert isinstance(_became(httpx.Response(400, json=["a", "list"])), Refused)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_no_waiting_heals_closes_the_channel_and_names_the_remedy(
    server: Discord, status: int
) -> None:
    server.faults = [status]
    result = webhook(server).post(NOTICE)
    assert isinstance(result, Closed)
    assert str(status) in result.because
    assert "continual notify unpark discord" in result.remedy


def test_a_wrong_token_and_a_webhook_that_is_gone_close_it_too(server: Discord) -> None:
    wrong = webhook(server, url=server.url[:-1] + "x").post(NOTICE)
    assert isinstance(wrong, Closed)
    assert "401: Invalid Webhook Token" in wrong.because
    server.deleted = True
    gone = webhook(server).edit("1", NOTICE)  # the message too, but not it alone
    assert isinstance(gone, Closed)
    assert "404: Unknown Webhook" in gone.because


def test_a_message_that_is_itself_the_fault_is_refused(server: Discord) -> None:
    server.faults = [400]
    assert isinstance(webhook(server).post(NOTICE), Refused)


@pytest.mark.parametrize("address", ["no address", "http://[::1", "ftp://127.0.0.1/x", ""])
def test_an_address_that_is_none_closes_the_channel(address: str) -> None:
    result = Webhook(SecretStr(address), links=Links()).post(NOTICE)
    assert isinstance(result, Closed)
    assert "DISCORD_WEBHOOK_URL" in result.remedy


@given(
    texts=st.lists(st.text(max_size=40).map(lambda t: (t or "x") * 90), max_size=30),
    n=st.integers(0, 40),
)
def test_whatever_a_notice_says_the_embed_stays_within_the_limits(texts: list[str], n: int) -> None:
    long = replace(
        NOTICE,
        title=(texts or ["t"])[0],
        what=" ".join(texts),
        why=tuple(texts),
        facts=tuple((f"fact {i}", t) for i, t in enumerate((texts or ["y"]) * n)),
    )
    told = embed(long, LINKS)
    assert list(discord.wrong({"embeds": [told]})) == []
    assert told["fields"][-1]["name"] == "Look"  # whatever is long before it


def test_the_address_is_in_no_log_and_in_no_value(
    server: Discord, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    sink = logger.add(said.append, level=0)
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, logger=name)
    server.faults = [500, 404, 400, "hang up"]
    there = webhook(server)
    results = [there.post(NOTICE) for _ in range(6)]
    results.append(there.edit("1", NOTICE))
    results.append(webhook(server, url=f"http://127.0.0.1:1/{discord.TOKEN}").post(NOTICE))
    logger.remove(sink)
    everything = "\n".join([*said, caplog.text, repr(results), repr(there)])
    assert discord.TOKEN not in everything
