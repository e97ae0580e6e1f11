"""The statistics of uplift against published examples, how often their intervals hold, and what is counted."""

from __future__ import annotations

from math import comb, exp
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.plays import DAY
from operators.uplift import (
    LEAST,
    Group,
    Interval,
    Tally,
    difference_of_means,
    difference_of_shares,
    lacking,
    t_quantile,
    wilson,
)
from schemas.outputs import Outcome
from tests.engage_helpers import T


def group(*revenues: int) -> Group:
    made = Group()
    for revenue in revenues:
        made = made.with_one(converted=revenue > 0, revenue=revenue)
    return made


# -- published examples ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "n", "y", "m", "difference", "low", "high"),
    [
        (56, 70, 48, 80, 0.2000, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.6000, 0.1705, 0.8090),
        (6, 7, 2, 7, 0.5714, 0.0582, 0.8062),
        (5, 56, 0, 29, 0.0893, -0.0381, 0.1926),
        (0, 10, 0, 20, 0.0, -0.1611, 0.2775),
        (0, 10, 0, 10, 0.0, -0.2775, 0.2775),
        (10, 10, 0, 20, 1.0, 0.6791, 1.0),
        (10, 10, 0, 10, 1.0, 0.6075, 1.0),
    ],
)
def test_shares_differ_as_in_table_two_of_newcombe(
    x: int, n: int, y: int, m: int, difference: float, low: float, high: float
) -> None:
    assert difference_of_shares(x, n, y, m) == pytest.approx((difference, low, high), abs=5e-5)


def test_a_share_lies_where_newcombe_has_it() -> None:
    """Newcombe (1998), Statistics in Medicine 17, 857-872, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    found = [wilson(x, n) for x, n in ((81, 263), (15, 148), (0, 20), (1, 29))]
    expected = [(0.2553, 0.3662), (0.0624, 0.1605), (0.0, 0.1611), (0.0061, 0.1718)]
    assert found == [pytest.approx(each, abs=5e-5) for each in expected]


def test_means_differ_as_in_students_sleep_data() -> None:
    """Student (1908), as R's ``t.test(extra ~ group, data = sleep)`` has it: -3.3654832 to 0.2054832."""
    first = group(7, -16, -2, -12, -1, 34, 37, 8, 0, 20)
    second = group(19, 8, 11, 1, -1, 44, 55, 16, 46, 34)
    found = difference_of_means(first, second)
    assert found is not None
    assert [each / 10 for each in found] == pytest.approx([-1.58, -3.3654832, 0.2054832], abs=1e-6)


@pytest.mark.parametrize(
    ("freedom", "expected"), [(5, 2.5706), (10, 2.2281), (20, 2.0860), (30, 2.0423), (120, 1.9799), (1e12, 1.9600)]
)
def test_t_is_as_in_the_tables(freedom: float, expected: float) -> None:
    assert t_quantile(freedom) == pytest.approx(expected, abs=5e-4)


# -- how often they hold -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "q"), [(0.05, 0.05), (0.1, 0.05), (0.3, 0.2), (0.9, 0.5)])
def test_the_interval_of_shares_holds_19_times_in_20(p: float, q: float) -> None:
    """Exactly, over all that may be seen of 60 and 40 customers."""
    n, m, holds = 60, 40, 0.0
    likely = {(x, s, k): comb(k, x) * s**x * (1 - s) ** (k - x) for s, k in ((p, n), (q, m)) for x in range(k + 1)}
    for x in range(n + 1):
        for y in range(m + 1):
            found = difference_of_shares(x, n, y, m)
            assert found is not None
            holds += (found.low <= p - q <= found.high) * likely[x, p, n] * likely[y, q, m]
    assert 0.93 <= holds <= 0.99


def test_the_interval_of_revenue_holds_19_times_in_20() -> None:
    """Most buy nothing, a few a lot: log-normal baskets of one customer in ten, or in seven."""
    rng, holds, times = Random(7), 0, 600

    def bought(customers: int, share: float) -> Group:
        paid = [round(100 * exp(rng.gauss(4, 0.7))) if rng.random() < share else 0 for _ in range(customers)]
        return group(*paid)

    mean = 100 * exp(4 + 0.7**2 / 2)
    for _ in range(times):
        found = difference_of_means(bought(500, 1 / 7), bought(150, 0.1))
        assert found is not None
        holds += found.low <= mean * (1 / 7 - 0.1) <= found.high
    assert 0.92 <= holds / times <= 0.975


@given(st.integers(0, 50), st.integers(1, 50), st.integers(0, 50), st.integers(1, 50))
@settings(deadline=None)
def test_intervals_are_in_order_and_turn_round(x: int, n: int, y: int, m: int) -> None:
    x, y = min(x, n), min(y, m)
    found, back = difference_of_shares(x, n, y, m), difference_of_shares(y, m, x, n)
    assert found is not None
    assert back is not None
    assert -1 <= found.low <= found.difference <= found.high <= 1
    assert back == pytest.approx((-found.difference, -found.high, -found.low))


def test_without_customers_there_is_no_interval() -> None:
    assert difference_of_shares(0, 0, 1, 2) is difference_of_means(Group(), group(1, 2)) is None
    assert difference_of_means(group(5), group(1, 2)) is None
    assert difference_of_means(group(5, 5), group(5, 5)) == Interval(0.0, 0.0, 0.0)


# -- too little data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("treated", "held_out", "expected"),
    [
        (Group(1_000, 100), Group(LEAST - 1, 9), "only 99 were held out, 100 are needed"),
        (Group(50, 5), Group(1_000, 9), "only 50 were sent it, 100 are needed"),
        (Group(900, 40), Group(100, 9), "4.9 conversions are expected in the smaller group, 5 are needed"),
        (Group(900, 50), Group(100, 0), ""),
        (Group(900, 860), Group(100, 91), "4.9 customers who do not convert are expected in the smaller group, 5 are"),
        (Group(900, 450), Group(100, 50), ""),
    ],
)
def test_what_is_too_little_is_said(treated: Group, held_out: Group, expected: str) -> None:
    found = lacking(treated, held_out)
    assert found.startswith(expected)
    assert bool(found) == bool(expected)


# -- what is counted ---------------------------------------------------------------------------------------


def outcome(customer: str, at: int = T, outcome: str = "emitted", converted: bool = False, **more: object) -> Outcome:
    made = Outcome(f"{customer} {at}", "play", "v", customer, outcome, at, at + DAY, at + DAY, converted)
    return msgspec.structs.replace(made, **more)


def tally(*outcomes: Outcome, period: int = 30 * DAY) -> Tally:
    made = Tally(period)
    for each in outcomes:
        made.add(each)
    return made


PERIOD = T - T % (30 * DAY) + 30 * DAY


@pytest.mark.parametrize("order", [1, -1])
def test_a_customers_first_decision_in_a_period_counts(order: int) -> None:
    some = [
        outcome("a", PERIOD),
        outcome("a", PERIOD + DAY, converted=True, revenue=9.0),
        outcome("a", PERIOD + 30 * DAY, converted=True, revenue=2.5),
        outcome("b", PERIOD, "held_out", converted=True, revenue=1.0),
        outcome("b", PERIOD + DAY, "emitted"),
    ]
    (found,) = tally(*some[::order]).comparisons()
    assert (found.treated, found.held_out) == (Group(2, 1, 250, 62_500), Group(1, 1, 100, 10_000))
    assert found.natural == 2.0


def test_who_was_treated_before_and_what_was_not_observed_is_counted_apart() -> None:
    some = [outcome("a"), outcome("b", outcome="held_out", treated=True), outcome("c", observed=False)]
    found = tally(*some, outcome("c", T + DAY))
    (row,) = found.comparisons()
    assert (row.treated.customers, row.held_out.customers) == (1, 0)
    assert found.excluded == {"treated": 1, "not_observed": 1}


def test_variants_are_compared_with_those_they_were_drawn_for() -> None:
    found = tally(
        outcome("a", variant="x", converted=True), outcome("b", variant="y"), outcome("c", variant="x"),
        outcome("d", outcome="held_out", variant="x"), outcome("e", outcome="held_out", variant="y", converted=True),
    ).comparisons()  # fmt: skip
    assert [(row.variant, row.treated.customers, row.held_out.conversions) for row in found] == [
        (None, 3, 1), ("x", 2, 0), ("y", 1, 1),
    ]  # fmt: skip


def test_who_has_become_one_counts_once() -> None:
    found = tally(outcome("a", PERIOD + 1, "held_out"), outcome("b", PERIOD), outcome("c", PERIOD))
    found.resolve({"a": "b"})
    (row,) = found.comparisons()
    assert (row.treated.customers, row.held_out.customers) == (2, 0)
