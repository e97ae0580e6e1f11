"""The timer index against a plain dictionary, whatever part of it is loaded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import timers
from operators.timers import ALL, TimerIndex

LIMIT = 2

customers = st.sampled_from("abcdefghij")
#: Few times and many customers: ties are the rule.
times = st.integers(0, 4)
changes = st.tuples(customers, st.none() | times)
steps = changes | times
batches = st.lists(st.lists(steps, min_size=1, max_size=6), max_size=12)


def head(stored: dict[str, int], limit: int) -> list[tuple[int, str]]:
    """What Redis answers: the earliest entries, ties by customer."""
    return sorted((due, customer) for customer, due in stored.items())[:limit]


class Checked:
    """An index beside a dictionary that knows everything; a fired customer's next timer comes from ``follow``."""

    def __init__(self, follow: list[int | None]) -> None:
        self.index = TimerIndex()
        self.naive: dict[str, int] = {}
        self.stored: dict[str, int] = {}
        self._follow = follow

    def batch(self, steps: list[tuple[str, int | None] | int]) -> None:
        ticks = [step for step in steps if isinstance(step, int)]
        if ticks and not self.index.covers(max(ticks)):
            limit = len(ticks) * LIMIT + len(steps)
            self.index.fill(head(self.stored, limit), limit)
        for step in steps:
            if isinstance(step, int):
                self.tick(step)
            else:
                self.set(*step)
        self.commit()

    def tick(self, watermark: int) -> None:
        fired = self.index.due(watermark, LIMIT)
        assert fired == [customer for due, customer in head(self.naive, LIMIT) if due <= watermark]
        for customer in fired:
            self.set(customer, self._follow.pop() if self._follow else None)

    def set(self, customer: str, due: int | None) -> None:
        self.index.set(customer, due)
        self.naive.pop(customer, None)
        if due is not None:
            self.naive[customer] = due

    def commit(self) -> None:
        for customer, due in self.index.changed.items():
            self.stored.pop(customer, None)
            if due is not None:
                self.stored[customer] = due
        self.index.changed.clear()
        self.index.trim()
        assert self.stored == self.naive
        self.check_next()

    def check_next(self) -> None:
        """The index never says later than the truth, or a due timer would wait for ever."""
        told = self.index.next_due()
        earliest = min(self.naive.values(), default=None)
        if earliest is not None:
            assert told is not None and told <= earliest
        if self.index.horizon == ALL:
            assert told == earliest


@given(batches, st.lists(st.none() | times, max_size=30), st.integers(1, 3))
@settings(deadline=None)
def test_fires_what_is_due_in_order_however_little_is_loaded(
    batches: list[list[tuple[str, int | None] | int]], follow: list[int | None], kept: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timers, "KEPT", kept)
        checked = Checked(follow)
        for batch in batches:
            checked.batch(batch)


def test_more_customers_of_one_moment_than_a_page_all_fire() -> None:
    index = TimerIndex()
    stored = {f"c{number:03}": 5 for number in range(50)}
    fired: list[str] = []
    while stored:
        assert index.next_due() in (None, 5)
        index.fill(head(stored, 10), 10)
        batch = index.due(5, 7)
        assert batch
        fired += batch
        for customer in batch:
            del stored[customer]
    assert fired == [f"c{number:03}" for number in range(50)]


def test_an_index_never_filled_knows_everything() -> None:
    index = TimerIndex()
    assert index.covers(1 << 60)
    assert index.next_due() is None
    index.set("a", 7)
    index.set("a", 3)
    index.set("a", 7)
    assert index.next_due() == 7
    assert index.due(6, 10) == []
    assert index.due(7, 10) == ["a"] == index.due(7, 10)
    assert index.changed == {"a": 7}


def test_what_lies_beyond_the_horizon_is_only_written() -> None:
    index = TimerIndex()
    index.fill([(1, "a"), (2, "b")], 2)
    index.set("c", 2)
    assert index.due(9, 10) == ["a", "b"]
    index.set("b", None)
    index.set("a", None)
    assert index.next_due() == 2
    assert not index.covers(2) and index.covers(1)
    assert index.changed == {"c": 2, "b": None, "a": None}


def test_trim_keeps_the_next_and_forgets_stale_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers, "KEPT", 2)
    index = TimerIndex()
    for due in range(9, 0, -1):
        index.set("a", due)
    index.trim()
    assert index.horizon == ALL and index.due(9, 10) == ["a"]
    for number in range(9):
        index.set(f"b{number}", 5)
    index.trim()
    assert index.horizon == (5, "b0")
    assert index.due(9, 10) == ["a", "b0"]
