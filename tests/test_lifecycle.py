"""Where a buyer stands: fifths, cells and their names, stages, high potential."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.lifecycle import BINS, LEAST, MOST, count, stage, standing
from state.behaviour import Behaviour

DAY = 86_400_000
NOW, H = 1_000 * DAY, 28 * DAY


def buyer(*days_ago: float, each: float = 10.0, orders: int = 0) -> Behaviour:
    """Who ordered so many days ago, for so much each."""
    recent = sorted(NOW - int(day * DAY) for day in days_ago)[-8:]
    number = orders or len(days_ago)
    first = recent[0] if recent else 0
    return Behaviour(recent=recent, orders=number, first_order=first, first_seen=first, spent=int(number * each * 100))


def crowd(number: int, seed: int = 1) -> list[list[int]]:
    """Buyers from yesterday's to those of long ago, of one order to forty, of 5 to 500 money each."""
    draw, ranks = random.Random(seed), list[list[int]]()
    for _ in range(number):
        orders, since = draw.randint(1, 40), draw.uniform(0, 100)
        ranks = count(ranks, buyer(since, each=draw.uniform(5, 500), orders=orders), NOW)
    return ranks


RANKS = crowd(2_000)


@pytest.mark.parametrize(
    ("days_ago", "orders", "each", "cell", "segment"),
    [
        (1, 40, 450, "5-5-5", "champion"),
        (1, 1, 6, "5-1-1", "new"),
        (30, 20, 250, "4-3-3", "potential_loyal"),
        (50, 40, 450, "3-5-5", "loyal"),
        (50, 20, 250, "3-3-3", "need_attention"),
        (70, 1, 6, "2-1-1", "hibernating"),
        (95, 40, 450, "1-5-5", "cannot_lose"),
        (95, 20, 250, "1-3-3", "at_risk"),
        (99, 1, 6, "1-1-1", "lost"),
    ],
)
def test_a_cell_and_its_name(days_ago: float, orders: int, each: float, cell: str, segment: str) -> None:
    found = standing(RANKS, buyer(days_ago, each=each, orders=orders), "low", NOW, H)
    assert (found.rfm, found.rfm_segment) == (cell, segment)


def test_fifths_are_fifths() -> None:
    """Of those who were counted about a fifth is in each."""
    draw, found = random.Random(2), [0] * 6
    for _ in range(2_000):
        each = buyer(draw.uniform(0, 100), orders=draw.randint(1, 40))
        found[int(standing(RANKS, each, "low", NOW, H).rfm[2])] += 1
    assert found[0] == 0
    assert all(260 < number < 540 for number in found[1:])


def test_nothing_is_said_before_there_is_enough_to_compare_with() -> None:
    few = crowd(LEAST - 1)
    assert standing(few, buyer(1), "low", NOW, H)[:2] == ("", "")
    assert standing(count(few, buyer(1), NOW), buyer(1), "low", NOW, H).rfm
    assert standing([], buyer(1), "low", NOW, H) == ("", "", "new", False)


def test_what_is_counted_is_of_constant_size_and_the_old_fades() -> None:
    ranks = crowd(300)
    for _ in range(3 * MOST):
        ranks = count(ranks, buyer(1, each=1_000.0), NOW)
    assert [len(counts) for counts in ranks] == [BINS] * 4
    assert {sum(counts) for counts in ranks} <= set(range(MOST // 2, MOST))
    # Who was in the middle of the former crowd is at the end of what has come.
    assert standing(ranks, buyer(50, each=250.0, orders=1), "low", NOW, H).rfm[4] == "1"


@given(st.integers(0, 10**7), st.floats(0, 10**4), st.floats(0, 10**7), st.floats(0, 10**7))
def test_everybody_has_a_place(orders: int, days: float, each: float, returned: float) -> None:
    behaviour = buyer(days, each=each, orders=orders or 1)
    behaviour.returned = int(returned * 100)
    ranks = count([[1] * BINS for _ in range(4)], behaviour, NOW)
    assert [sum(counts) for counts in ranks] == [BINS + 1] * 4
    assert all("1" <= digit <= "5" for digit in standing(ranks * 1, behaviour, "low", NOW, H).rfm.split("-") if digit)


@pytest.mark.parametrize(
    ("behaviour", "band", "expected"),
    [
        (buyer(), "low", "prospect"),
        (buyer(29), "low", "lapsed"),
        (buyer(29), "high", "lapsed"),
        (buyer(28), "low", "new"),
        (buyer(3), "medium", "new"),
        (buyer(3), "high", "at_risk"),
        (buyer(3, 32), "low", "won_back"),
        (buyer(3, 31), "low", "active"),
        (buyer(3, 10, 20), "low", "active"),
        (buyer(3, 10, 20, 84), "low", "loyal"),
        (buyer(3, 10, 20, 85), "low", "active"),
        (buyer(3, 25, 50, 77), "low", "loyal"),
        (buyer(3, 31, 58, 85), "low", "active"),
    ],
)
def test_stages(behaviour: Behaviour, band: str, expected: str) -> None:
    assert stage(behaviour, band, NOW, H) == expected


@pytest.mark.parametrize(
    ("behaviour", "band", "expected"),
    [
        (buyer(3, 10, each=480.0), "low", True),
        (buyer(3, 10, each=480.0), "high", False),
        (buyer(30, each=480.0), "low", False),
        (buyer(3, 10, each=100.0), "low", False),
        (buyer(3, 10, 20, 25, each=480.0), "low", False),
        (buyer(3, 27, 85, each=480.0), "low", False),
        (buyer(3, 27, 84, each=480.0), "low", True),
    ],
)
def test_high_potential(behaviour: Behaviour, band: str, expected: bool) -> None:
    assert standing(RANKS, behaviour, band, NOW, H).high_potential is expected
