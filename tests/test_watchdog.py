"""Calls that do not come back: who ends the process, and when."""

from __future__ import annotations

import gc
import threading

import pytest

from operators import watchdog
from operators.watchdog import HUNG, Watchdog


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "_EVERY", 0.01)


class Left:
    """Instead of the end of the process."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.happened = threading.Event()

    def __call__(self, code: int) -> None:
        self.codes.append(code)
        self.happened.set()


def test_who_hangs_while_the_broker_answers_leaves() -> None:
    left = Left()
    with Watchdog("commit", 0.05, lambda: True, left):
        assert left.happened.wait(30)
    assert set(left.codes) == {HUNG}


def test_who_waits_for_a_broker_that_is_away_stays() -> None:
    left, asked = Left(), threading.Semaphore(0)

    def answers() -> bool:
        asked.release()
        return False

    with Watchdog("commit", 0.0, answers, left):
        for _ in range(3):
            assert asked.acquire(timeout=30)
    assert left.codes == []


def test_what_came_back_while_the_broker_was_asked_has_not_hung() -> None:
    left, asked, back = Left(), threading.Event(), threading.Event()

    def answers() -> bool:
        asked.set()
        return back.wait(30)

    dog = Watchdog("commit", 0.0, answers, left)
    with dog:
        assert asked.wait(30)
    back.set()
    dog.look()
    assert left.codes == []


def test_nobody_is_watched_who_is_not_called() -> None:
    left = Left()
    dog = Watchdog("commit", 0.0, lambda: True, left)
    dog.look()
    assert left.codes == []


def test_the_thread_ends_with_its_watchdog() -> None:
    dog = Watchdog("of a kind", 0.0, lambda: True)
    (thread,) = [each for each in threading.enumerate() if each.name == "watch of a kind"]
    del dog
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()
