"""When conditions turn by time alone: found exactly, and what cannot be followed is refused."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.expressions import compile_expression
from operators.following import Clock, counted
from operators.language import Name, Scope
from operators.syntax import ExpressionError

NAMES = {
    "a": Name("time", "a"),
    "b": Name("time", "b", maybe=True),
    "n": Name("number", "n"),
    "now": Name("time", "now", moves=True),
    "short": Name("number", "counted(buckets, now, 1, 40)"),
    "long": Name("number", "counted(buckets, now, 7, 9)"),
}
SCOPE = Scope(NAMES, ("a", "b", "n", "buckets", "now"), followed=True)
#: Milliseconds: `minutes(1 / 60000)` is one of them.
MS = "minutes(1 / 60000)"
FOLLOWED = [
    f"since(a) > {MS} * n",
    f"since(a) >= {MS} * 30.5",
    f"since(a) / {MS} > 20 and since(a) * 2 <= {MS} * 150",
    f"now - a < {MS} * 17 or now == b + {MS} * 60",
    f"now != a and {MS} * 9 < since(b) < {MS} * 90.25",
    f"-since(a) < {MS} * -12",
    f"since(a if since(b) > {MS} * 40 else b) > {MS} * 25",
    f"min(since(a) / {MS}, since(b) / {MS}) > 33",
    f"max(since(a) / {MS}, n) == n",
    f"default(b, now) < now - {MS} * 5",
    f"since(a) * n > {MS} * 100",
    "short >= 2 and not long > 3",
    f"short == 0 or since(a) > {MS} * short * 10",
    f"(now - a) + (now - b) > {MS} * 111",
    f"(now - a) - (now - b) > {MS} * 1",
    f"known(b) and since(b) - {MS} * n > {MS} * 3",
]
times = st.integers(900, 1_100)


@pytest.mark.parametrize("source", FOLLOWED)
@given(a=times, b=st.none() | times, n=st.integers(-5, 60), seen=st.dictionaries(times, st.integers(1, 3), max_size=5))
@settings(max_examples=30)
def test_following_turn_by_turn_gives_what_asking_at_every_moment_does(
    source: str, a: int, b: int | None, n: int, seen: dict[int, int]
) -> None:
    holds: Callable[..., bool] = compile_expression(source, SCOPE)
    buckets = seen if "short" in source else {at // 7: amount for at, amount in seen.items()}
    answer, turns = None, 1_000
    for now in range(1_000, 1_300):
        if now == turns:
            clock = Clock(now)
            answer, turns = holds(a, b, n, buckets, clock.now), clock.turns
            assert turns == 0 or turns > now
        assert answer == holds(a, b, n, buckets, now)


def test_it_turns_at_the_very_moment_and_once() -> None:
    holds: Any = compile_expression(f"since(a) > {MS} * 30", SCOPE)
    for now, expected in ((1_000, (False, 1_031)), (1_030, (False, 1_031)), (1_031, (True, 0))):
        clock = Clock(now)
        assert (holds(1_000, None, 0, {}, clock.now), clock.turns) == expected


def test_a_window_turns_whenever_its_oldest_leaves() -> None:
    holds: Any = compile_expression("short >= 2", SCOPE)
    buckets, told = {970: 1, 980: 1, 990: 1}, []
    for now in (1_000, 1_010, 1_020, 1_030):
        clock = Clock(now)
        told.append((holds(0, None, 0, buckets, clock.now), clock.turns))
    assert told == [(True, 1_010), (True, 1_020), (False, 1_030), (False, 0)]


def test_a_clock_is_let_go_of_without_the_collector() -> None:
    gc.collect()
    assert not Clock(1_000).now - 400 > 700
    assert gc.collect() == 0


def test_what_was_not_asked_turns_nothing() -> None:
    clock = Clock(1_000)
    assert not compile_expression(f"n > 0 and since(a) > {MS} * 30", SCOPE)(1_000, None, 0, {}, clock.now)
    assert clock.turns == 0


def test_what_is_too_far_never_turns() -> None:
    clock = Clock(1_000)
    assert clock.now * 1e-300 < 1e300
    assert not clock.now - 10**15 > 0
    assert clock.turns == 0


def test_windows_are_read_the_same_with_a_clock_and_without() -> None:
    buckets = {3: 2, 5: 1}
    for now in range(100):
        assert counted(buckets, now, 10, 4) == counted(buckets, Clock(now).now, 10, 4)
    assert counted(None, 5, 10, 4) == counted({}, Clock(5).now, 10, 4) == 0


@pytest.mark.parametrize(
    ("source", "at"),
    [
        (f"n > 1 and since(a) * (since(b) / {MS}) > {MS}", 11),
        ("days(1) / since(a) > n", 1),
        ("round(since(a) / days(1)) > 3", 1),
        ("round(min(since(a) / days(1), n)) == 3", 1),
    ],
)
def test_what_cannot_be_followed_is_refused_at_its_character(source: str, at: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source, SCOPE)
    ((where, text),) = caught.value.faults
    assert (where, "cannot be foretold" in text) == (at, True)
    compile_expression(source, SCOPE._replace(followed=False))
