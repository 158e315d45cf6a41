import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from continualml.app.api.looked import Looked
from continualml.app.api.problems import ProblemError


def test_an_answer_is_computed_once_while_it_is_young_and_dropped_with_the_next_call() -> None:
    looked, computed = Looked(keep_s=0.2), list[str]()

    def compute() -> str:
        computed.append("a")
        return "large"

    assert [looked.at("a", compute) for _ in range(5)] == ["large"] * 5
    assert computed == ["a"]
    time.sleep(0.25)
    assert looked.at("b", lambda: "other") == "other"
    assert len(looked) == 1
    looked.at("a", compute)
    assert computed == ["a", "a"]


def test_few_answers_are_kept_and_no_error_is() -> None:
    looked = Looked(keep_s=60.0)
    for key in range(100):
        looked.at(key, lambda: "large")
    with pytest.raises(ZeroDivisionError):
        looked.at("error", lambda: 1 // 0)

    assert len(looked) == 8
    assert looked.at("error", lambda: 1) == 1


def test_few_wait_the_others_are_told_to_come_back_and_what_is_known_needs_no_turn() -> None:
    looked, go, begun = Looked(keep_s=60.0), threading.Event(), threading.Event()
    looked.at("known", lambda: "here")

    def slow() -> str:
        begun.set()
        assert go.wait(20)
        return "done"

    with ThreadPoolExecutor(40) as pool:
        first = pool.submit(looked.at, "slow", slow)
        assert begun.wait(20)
        asked = [pool.submit(looked.at, key, lambda: "later") for key in range(30)]
        try:
            until = time.monotonic() + 20
            while sum(a.done() for a in asked) < 22:
                assert time.monotonic() < until
                time.sleep(0.01)
            assert looked.at("known", lambda: "anew") == "here"
        finally:
            go.set()

    refused = [e for a in asked if (e := a.exception()) is not None]
    assert len(refused) == 22
    for one in refused:
        assert isinstance(one, ProblemError)
        assert (one.status, one.headers) == (503, {"Retry-After": "2"})
    assert first.result() == "done"
    assert [a.result() for a in asked if a.exception() is None] == ["later"] * 8
    assert looked.at("after", lambda: "free") == "free"
