"""The value of a customer: its formula, and the choice between outlooks by what they have proven."""

from __future__ import annotations

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.clv import MARGIN, PRIOR_DAYS, PRIOR_ORDERS, Worth, outlooks
from operators.features import DAY_MS, join, observe
from schemas.touchpoint import Order
from state.behaviour import Behaviour

T = 1_700_000_000_000


def bought(*orders: tuple[float, float]) -> Behaviour:
    """Orders as (days before T, amount)."""
    behaviour = Behaviour()
    for days, amount in orders:
        time = T - round(days * DAY_MS)
        observe(behaviour, "order", "Order Completed", Order(order_id="1", revenue=amount), time)
    return behaviour


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 500)), min_size=1, max_size=12))
def test_outlooks_are_worth_times_repeated_orders(orders: list[tuple[int, int]]) -> None:
    first = max(days for days, _ in orders)
    counted = [2 ** (-days / 112) for days, _ in orders]
    worth = sum(amount * share for (_, amount), share in zip(orders, counted, strict=True)) / sum(counted)
    repeated = sum(2 ** (-days / 56) for days, _ in orders) - 2 ** (-first / 56) + PRIOR_ORDERS
    watched = 56 / log(2) * (1 - 2 ** (-first / 56))
    expected = [28 * worth * repeated / (watched + days) for days in PRIOR_DAYS]
    assert outlooks(bought(*orders), T, 28) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_nothing_is_expected_of_who_has_bought_nothing() -> None:
    assert outlooks(Behaviour(), T, 28) == (0.0, 0.0)
    assert outlooks(bought((3, -5.0)), T, 28) == (0.0, 0.0)


def test_two_halves_of_a_customer_are_worth_what_the_whole_is() -> None:
    one, other = bought((90, 10.0), (20, 30.0)), bought((50, 20.0), (1, 5.0))
    whole = bought((90, 10.0), (50, 20.0), (20, 30.0), (1, 5.0))
    assert outlooks(join(one, other), T, 28) == pytest.approx(outlooks(whole, T, 28))


def test_the_first_outlook_is_believed_before_anything_is_known() -> None:
    assert Worth().expected((10.0, 20.0)) == 10.0


def test_the_outlook_that_errs_less_is_believed() -> None:
    worth = Worth()
    for _ in range(10):
        worth.learn((10.0, 20.0), 20.0)
    assert worth.choice() == (1, 1.0)


def test_a_factor_is_used_where_it_errs_less_by_a_margin() -> None:
    worth = Worth()
    for _ in range(200):
        worth.learn((10.0, 40.0), 20.0)
    assert worth.choice() == (0, 2.0)
    assert worth.expected((7.0, 1.0)) == 14.0
    # One that gains next to nothing is not worth the risk that it is of yesterday.
    worth = Worth()
    for spent in [*[0.0] * 50, *[22.0] * 50] * 10:
        worth.learn((10.0, 100.0), spent)
    rival = worth.rivals[0]
    assert rival.corrected < rival.plain * (1 + MARGIN)
    assert worth.choice() == (0, 1.0)


def test_errors_are_measured_before_learning() -> None:
    worth = Worth()
    worth.learn((10.0, 10.0), 30.0)
    assert worth.rivals[0].corrected == worth.rivals[0].plain == 400.0
    assert worth.rivals[0].factor == 3.0
