"""When a component counts as down, and when as up again."""

from continualml.notices.of_components import (
    DOWN,
    OK,
    Change,
    Component,
    Watched,
    notice_of,
    step,
)

DEAD = Component(status=DOWN, because="it does not answer")
WELL = Component(status=OK)


def looks(*seen: Component, every_s: float = 10.0) -> list[Change]:
    watched: dict[str, Watched] = {}
    changes: list[Change] = []
    for i, component in enumerate(seen):
        watched, some = step(watched, {"api": component}, at_s=1_000 + i * every_s, settle_s=30)
        changes += some
    return changes


def test_what_is_down_for_long_enough_is_said_once() -> None:
    (change,) = looks(WELL, *[DEAD] * 20)
    assert (change.before, change.status, change.because) == (OK, DOWN, "it does not answer")
    assert change.since_s == 1_010


def test_what_comes_back_sooner_was_not_down() -> None:
    assert looks(WELL, DEAD, DEAD, DEAD, WELL, DEAD, WELL, WELL, WELL, WELL) == []


def test_what_is_down_at_the_first_look_is_said_and_what_is_well_is_not() -> None:
    assert looks(*[WELL] * 9) == []
    assert [c.status for c in looks(*[DEAD] * 9)] == [DOWN]


def test_what_is_up_again_says_how_long_it_was_down() -> None:
    down, up = looks(WELL, *[DEAD] * 12, *[WELL] * 9)
    assert (down.status, up.status) == (DOWN, OK)
    assert up.lasted_s == 120
    told = notice_of(up, at="2026-11-24T12:00:00+00:00")
    assert ("Was down for", "2 min") in told.facts
    assert (told.event, told.section) == ("component up", "all-is-well")


def test_who_was_not_looked_at_stays_as_it_was() -> None:
    watched, _ = step({}, {"api": DEAD}, at_s=0, settle_s=0)
    assert step(watched, {}, at_s=60, settle_s=0) == (watched, ())


def test_a_notice_of_what_is_down_says_why_and_where_to_read_on() -> None:
    (change,) = looks(WELL, *[DEAD] * 9)
    told = notice_of(change, at="2026-11-24T12:00:00+00:00")
    assert told.title == "api is down"
    assert "it does not answer" in told.what
    assert (told.event, told.section, told.tone) == ("component down", "component-down", "bad")
