import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continualml.app.api.attempts import Attempts, whom


def guess(attempts: Attempts, who: str, word: object, now: float) -> bool:
    return attempts.failed(who, hashlib.sha256(repr(word).encode()).hexdigest(), now)


def test_after_its_burst_one_waits_and_others_do_not() -> None:
    attempts = Attempts(burst=3, per_s=0.5, most=10)

    assert [guess(attempts, "a", i, 0.0) for i in range(5)] == [False] * 3 + [True] * 2
    assert attempts.wait_s("a", 0.0) == pytest.approx(2.0)
    assert attempts.wait_s("a", 1.5) == pytest.approx(0.5)
    assert attempts.wait_s("a", 2.0) == attempts.wait_s("b", 0.0) == 0.0
    assert not guess(attempts, "a", "later", 2.0)
    assert guess(attempts, "a", "too soon", 2.1)


def test_the_same_wrong_secret_again_uses_up_nothing() -> None:
    attempts = Attempts(burst=2, per_s=0.001, most=10)

    assert not any(guess(attempts, "a", "outdated", float(i)) for i in range(1_000))

    assert attempts.wait_s("a", 1_000.0) == 0.0
    assert not guess(attempts, "a", "another", 0.0)
    assert guess(attempts, "a", "a third", 0.0)


def test_one_who_knew_the_secret_begins_anew() -> None:
    attempts = Attempts(burst=1, per_s=0.001, most=10)
    guess(attempts, "a", 1, 0.0)
    assert attempts.wait_s("a", 0.0) > 0

    attempts.succeeded("a")

    assert attempts.wait_s("a", 0.0) == 0.0
    assert not guess(attempts, "a", 2, 0.0)


def test_a_clock_that_is_set_back_frees_nobody_and_locks_nobody_out() -> None:
    attempts = Attempts(burst=1, per_s=1.0, most=10)
    guess(attempts, "a", 1, 100.0)

    assert attempts.wait_s("a", 0.0) == pytest.approx(1.0)
    assert attempts.wait_s("a", 101.0) == 0.0


@given(
    tries=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 50), st.floats(0, 5)), max_size=300)
)
def test_nobody_is_let_guess_more_than_burst_and_refill_and_memory_is_bounded(
    tries: list[tuple[int, int, float]],
) -> None:
    attempts = Attempts(burst=3, per_s=0.25, most=31)
    now, taken = 0.0, dict[str, set[int]]()
    for who, word, passed in tries:
        now += passed
        if not guess(attempts, str(who), word, now):
            taken.setdefault(str(who), set()).add(word)

    # Different words that were counted; a word that was forgotten and came again counts once more,
    # which only makes the left side smaller.
    assert all(len(words) <= 3 + 0.25 * now + 1e-6 for words in taken.values())
    assert len(attempts) <= 31


def test_those_seen_longest_ago_are_forgotten_first() -> None:
    attempts = Attempts(burst=1, per_s=0.001, most=3)
    for who in ("a", "b", "c"):
        guess(attempts, who, 1, 0.0)
    guess(attempts, "a", 1, 1.0)  # again: seen just now

    guess(attempts, "d", 1, 2.0)

    assert len(attempts) == 3
    assert attempts.wait_s("b", 2.0) == 0.0
    assert attempts.wait_s("a", 2.0) > 0


def test_all_addresses_of_one_ipv6_host_are_one() -> None:
    assert whom("2001:db8:1:2::1") == whom("2001:db8:1:2:ffff::9%eth0") == "2001:db8:1:2::/64"
    assert whom("2001:db8:1:3::1") != whom("2001:db8:1:2::1")
    assert whom("::ffff:192.0.2.7") == whom("192.0.2.7") == "192.0.2.7"
    assert whom("192.0.2.8") != whom("192.0.2.7")
    assert whom("") == ""
