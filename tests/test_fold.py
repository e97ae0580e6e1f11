"""Folding: what each family does to a profile, and what does not depend on the order of arrival."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import fold, progress
from operators.fold import seen, set_timer
from schemas.stitched import Event
from schemas.touchpoint import TYPES
from state.behaviour import DECAYED
from state.profile import SEEN_EVENTS, SEEN_WIDTH, Profile, Timer
from tests.engage_helpers import BOOK, MINUTE, A, T, carted, consented, event, ordered, token


def folded(*events: Event) -> Profile:
    """Whom these touchpoints make, and how far they move the starter set's plays."""
    profile = Profile(A)
    for each in events:
        body = msgspec.json.decode(each.data, type=TYPES[each.type][1]) if each.type in TYPES else None
        fold.fold(profile, each, body)
        progress.observe(profile, each, body, BOOK)
    return profile


# -- deduplication -----------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 30), max_size=200))
@settings(deadline=None)
def test_seen_is_a_window_of_the_latest_ids(numbers: list[int]) -> None:
    profile, window = Profile(A), list[int]()
    for number in numbers:
        assert seen(profile, token(str(number))) == (number in window)
        if number not in window:
            window = [*window, number][-SEEN_EVENTS:]
    assert profile.seen == "".join(token(str(number))[:SEEN_WIDTH] for number in window)


@given(st.lists(st.text("ab", min_size=SEEN_WIDTH, max_size=SEEN_WIDTH), max_size=150))
@settings(deadline=None)
def test_seen_is_not_misled_by_ids_that_overlap(eids: list[str]) -> None:
    profile, window = Profile(A), list[str]()
    for eid in eids:
        assert seen(profile, eid) == (eid in window)
        if eid not in window:
            window = [*window, eid][-SEEN_EVENTS:]


# -- timers ------------------------------------------------------------------------------------------------


def test_a_timer_is_set_moved_and_cancelled() -> None:
    profile = Profile(A)
    set_timer(profile, "cart", "one", 5)
    set_timer(profile, "cart", "two", 6)
    set_timer(profile, "cart", "one", 7)
    assert profile.timers == [Timer(6, "cart", "two"), Timer(7, "cart", "one")]
    set_timer(profile, "cart", "two", None)
    set_timer(profile, "grid", "one", None)
    assert profile.timers == [Timer(7, "cart", "one")]


# -- families ----------------------------------------------------------------------------------------------


def test_a_cart_keeps_its_value() -> None:
    first, second = carted(A, "cart", T, 12.345), carted(A, "cart", T + MINUTE)
    cart = folded(first, second).carts["cart"]
    assert (cart.time, cart.value) == (T + MINUTE, 1_234)
    assert folded(second).carts["cart"].value == 0


def test_an_order_counts_units_and_ends_carts() -> None:
    carts = carted(A, "old", T), carted(A, "named", T + 2), carted(A, "new", T + 2)
    profile = folded(*carts, ordered(A, T + 1, "tea", "cup", cart="named"))
    assert (profile.units, sorted(profile.carts)) == (4, ["new"])
    cancelled = event(A, "Order Cancelled", {"order_id": "o", "lines": [{"sku": "mug"}]}, T)
    assert folded(cancelled).units == 0
    assert sorted(folded(carted(A, "old", T), cancelled).carts) == ["old"]


@pytest.mark.parametrize(
    ("happened", "field", "expected"),
    [
        ([("Ticket Opened", {"ticket_id": "t"})] * 2 + [("Ticket Closed", {"ticket_id": "t"})], "tickets", 1),
        ([("Points Earned", {"points": 7}), ("Points Spent", {"points": 2})], "points", 5),
        ([("Points Earned", {"points": 7}), ("Points Earned", {"balance": 3, "points": 3})], "points", 3),
        ([("Tier Changed", {"tier": "gold"}), ("Points Earned", {})], "tier", "gold"),
        ([("Signed Up", {"timezone": "Asia/Shanghai"}), ("Signed Up", {"country": "CN"})], "timezone", "Asia/Shanghai"),
        ([("Stock Changed", {"sku": "tea", "stock": 3}), ("Stock Changed", {"sku": "tea", "stock": 0})], "stock", 0),
        ([("Price Changed", {"sku": "tea", "price": 9.99})], "price", 999),
        ([("Signed In", {}), ("Page Viewed", {})], "units", 0),
    ],
)
def test_what_the_other_families_leave(happened: list[tuple[str, dict[str, Any]]], field: str, expected: Any) -> None:
    events = [event(A, kind, data, T + n) for n, (kind, data) in enumerate(happened)]
    assert getattr(folded(*events), field) == expected


def test_stock_and_price_are_the_newest_whatever_comes_last() -> None:
    stock = [event(A, "Stock Changed", {"sku": "tea", "stock": n}, T + n) for n in (2, 1)]
    price = [event(A, "Price Changed", {"sku": "tea", "price": n}, T + n) for n in (2, 1)]
    profile = folded(*stock, *price)
    assert (profile.stock, profile.price) == (2, 200)


# -- order of arrival --------------------------------------------------------------------------------------

happenings = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "ordered",
                "consented",
                "Ticket Opened",
                "Ticket Closed",
                "Points Earned",
                "Points Spent",
                "Order Refunded",
            ]
        ),
        st.integers(0, 30),
        st.booleans(),
    ),
    max_size=25,
)


def touchpoint(kind: str, time: int, granted: bool) -> Event:
    if kind == "ordered":
        return ordered(A, T + time * MINUTE, "tea")
    if kind == "consented":
        return consented(A, T + time, sms=granted)
    data = {"ticket_id": "t", "order_id": "o", "points": time, "amount": float(time)}
    return event(A, kind, data, T + time)


@given(happenings, st.randoms())
@settings(deadline=None)
def test_counts_sums_and_consent_do_not_depend_on_the_order_of_arrival(
    happened: list[tuple[str, int, bool]], random: Random
) -> None:
    events = [touchpoint(*each) for each in happened]
    shuffled = list(events)
    random.shuffle(shuffled)
    one, other = folded(*events), folded(*shuffled)
    for profile in (one, other):
        for field in DECAYED:
            setattr(profile.behaviour, field, pytest.approx(getattr(profile.behaviour, field)))
    assert one == other


@given(st.lists(st.sampled_from(["cart", "order"]), max_size=8), st.randoms())
@settings(deadline=None)
def test_which_cart_is_open_does_not_depend_on_the_order_of_arrival(kinds: list[str], random: Random) -> None:
    """Within the hour in which a touchpoint can start something."""
    events = [
        carted(A, f"cart{n % 2}", T + n * MINUTE, 1.0, at=T + MINUTE * 30)
        if kind == "cart"
        else ordered(A, T + n * MINUTE, at=T + MINUTE * 30)
        for n, kind in enumerate(kinds)
    ]
    shuffled = list(events)
    random.shuffle(shuffled)
    one, other = folded(*events), folded(*shuffled)
    assert one.carts == other.carts
    assert sorted(map(msgspec.structs.astuple, one.timers)) == sorted(map(msgspec.structs.astuple, other.timers))
