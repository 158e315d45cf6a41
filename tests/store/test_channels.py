"""Where people are told, over each database: how far they are, parked or not, and their outbox."""

from sqlalchemy import Engine

from continualml.records import Decision
from continualml.store import channels, ledger, outbox
from continualml.store.engine import read, write


def decided(engine: Engine) -> None:
    said = Decision(model="m", kind="keep", seq=1, because="it was so")
    with write(engine) as conn:
        ledger.record(conn, said, "2026-11-24T12:00:00.000+00:00")


def test_a_channel_begins_at_the_end_of_the_ledger_and_goes_on_where_it_was(
    engine: Engine,
) -> None:
    decided(engine)
    with write(engine) as conn:
        assert channels.opened(conn, "discord", "key").told == 1
        channels.watched(conn, "discord", {"api": {"said": "down"}})
        channels.digested(conn, "discord", 7.5)
        channels.living(conn, "discord", "42")
    decided(engine)
    with write(engine) as conn:
        there = channels.opened(conn, "discord", "key")
    assert (there.told, there.digested_at, there.living) == (1, 7.5, "42")
    assert there.watched == {"api": {"said": "down"}}
    with write(engine) as conn:
        channels.told(conn, "discord", 2)
        assert channels.opened(conn, "discord", "key").told == 2


def test_another_address_is_not_parked_has_no_living_message_and_gets_what_waits(
    engine: Engine,
) -> None:
    with write(engine) as conn:
        channels.opened(conn, "discord", "key")
        channels.living(conn, "discord", "42")
        channels.park(conn, "discord", "the webhook is gone")
        outbox.enqueue(conn, "discord", {"n": 1})
        outbox.postpone(conn, 1, after_s=600.0)
    with write(engine) as conn:
        assert outbox.due(conn, "discord") == []
        there = channels.opened(conn, "discord", "another")
        assert (there.parked, there.living, there.key) == (None, None, "another")
        assert [m.body for m in outbox.due(conn, "discord")] == [{"n": 1}]


def test_only_a_parked_channel_is_unparked(engine: Engine) -> None:
    with write(engine) as conn:
        assert not channels.unpark(conn, "discord")
        channels.opened(conn, "discord", "key")
        assert not channels.unpark(conn, "discord")
        channels.park(conn, "discord", "it is gone")
        assert channels.unpark(conn, "discord")
    with read(engine) as conn:
        there = channels.get(conn, "discord")
    assert there is not None
    assert there.parked is None


def test_equal_messages_wait_once_and_one_that_is_gone_leaves_nothing(engine: Engine) -> None:
    with write(engine) as conn:
        for n in (1, 1, 2, 1):
            outbox.enqueue_once(conn, "discord", {"n": n})
        outbox.enqueue_once(conn, "elsewhere", {"n": 1})
        waiting = outbox.due(conn, "discord")
        assert [m.body["n"] for m in waiting] == [1, 2]
        outbox.gone(conn, waiting[0].id)
        outbox.enqueue_once(conn, "discord", {"n": 1})  # it waits no more, so this one is new
        assert [m.body["n"] for m in outbox.due(conn, "discord")] == [2, 1]
        assert outbox.counts(conn, "discord") == {outbox.WAITING: 2}


def test_who_is_left_alone_for_a_while_has_not_failed(engine: Engine) -> None:
    with write(engine) as conn:
        outbox.enqueue(conn, "discord", {"n": 1})
        outbox.postpone(conn, 1, after_s=600.0)
        assert outbox.due(conn, "discord") == []
        assert outbox.failing(conn, "discord") is None
        outbox.make_due(conn, "discord")
        assert [m.attempts for m in outbox.due(conn, "discord")] == [0]
