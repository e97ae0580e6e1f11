"""Features: formulas against a plain reading of them, order and split of touchpoints, bounds."""

from __future__ import annotations

from math import isfinite, log1p
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.features import ACTIVE, DAY_MS, FEATURES, VERSION, cents, join, observe, purchased_between, vector
from schemas.touchpoint import MAX_TIME, MIN_TIME, TYPES, Body, Message, Order, Refund
from state.behaviour import Behaviour

T = 1_700_000_000_000 // DAY_MS * DAY_MS

Happening = tuple[str, int, float]
#: Orders and views are what most fields hang on: half of all touchpoints.
types = st.sampled_from(["Order Completed", "Product Viewed"]) | st.sampled_from([*TYPES, "Something New"])
happenings = st.lists(
    st.tuples(
        types,
        st.integers(T - 50 * DAY_MS, T),
        st.floats(0, 1e5).map(lambda amount: round(amount, 2)),
    ),
    max_size=40,
)
wild = st.lists(
    st.tuples(st.sampled_from([*TYPES]), st.integers(MIN_TIME, MAX_TIME - 1), st.floats(-1e9, 1e9)), max_size=20
)


def body(type: str, amount: float) -> Body | None:
    if type == "Order Refunded":
        return Refund(order_id="1", amount=amount)
    return Order(order_id="1", revenue=amount) if type.startswith("Order ") else None


def lived(events: list[Happening]) -> Behaviour:
    behaviour = Behaviour()
    for type, time, amount in events:
        observe(behaviour, TYPES[type][0] if type in TYPES else "custom", type, body(type, amount), time)
    return behaviour


def exact(behaviour: Behaviour) -> tuple[object, ...]:
    """The fields that do not depend on the order of touchpoints by a single bit."""
    b = behaviour
    return b.first_seen, b.last_seen, b.days, b.orders, b.first_order, b.recent, b.spent, b.returned, b.views_at


def decayed(behaviour: Behaviour) -> list[float]:
    return [behaviour.orders_fast, behaviour.orders_slow, behaviour.spend_slow, behaviour.views]


def assert_same(a: Behaviour, b: Behaviour) -> None:
    assert exact(a) == exact(b)
    assert decayed(a) == pytest.approx(decayed(b), rel=1e-9, abs=1e-12)


def plain(events: list[Happening], now: int) -> list[float]:
    """The documented formulas, read literally over all touchpoints."""
    orders = sorted(time for type, time, _ in events if type == "Order Completed")
    active = [time for type, time, _ in events if type in ACTIVE]
    spans = [(time, amount) for type, time, amount in events if type == "Order Completed"]
    since = (now - (orders[-1] if orders else min(active, default=now))) / DAY_MS
    latest = orders[-8:]
    gap = (60 + (latest[-1] - latest[0]) / DAY_MS) / len(latest) if latest else 60
    recent_days = {time // DAY_MS for time in active if now // DAY_MS - 28 < time // DAY_MS}

    def faded(entries: list[tuple[int, float]], days: float) -> float:
        return log1p(sum(amount * 2 ** (-(now - time) / DAY_MS / days) for time, amount in entries))

    return [
        log1p(since),
        log1p(gap),
        since / (since + gap),
        faded([(time, 1.0) for time in orders], 28),
        faded([(time, 1.0) for time in orders], 112),
        faded(spans, 112),
        log1p(len(recent_days)),
        faded([(time, 1.0) for type, time, _ in events if type == "Product Viewed"], 7),
        log1p((now - min(active, default=now)) / DAY_MS),
    ]


@given(happenings, st.integers(0, 60 * DAY_MS))
@settings(deadline=None)
def test_vector_is_the_documented_formulas(events: list[Happening], later: int) -> None:
    assert vector(lived(events), T + later) == pytest.approx(plain(events, T + later), rel=1e-9, abs=1e-9)


@given(happenings, st.randoms())
@settings(deadline=None)
def test_order_of_arrival_does_not_matter(events: list[Happening], random: Random) -> None:
    shuffled = list(events)
    random.shuffle(shuffled)
    assert_same(lived(shuffled), lived(events))


@given(happenings, happenings)
@settings(deadline=None)
def test_join_is_what_one_customer_would_have_seen(one: list[Happening], other: list[Happening]) -> None:
    assert_same(join(lived(one), lived(other)), lived(one + other))


@given(wild, wild, wild)
@settings(deadline=None)
def test_join_is_commutative_and_associative(a: list[Happening], b: list[Happening], c: list[Happening]) -> None:
    x, y, z = lived(a), lived(b), lived(c)
    assert join(x, y) == join(y, x)
    assert exact(join(join(x, y), z)) == exact(join(x, join(y, z)))
    left, right = decayed(join(join(x, y), z)), decayed(join(x, join(y, z)))
    # Sums of both signs may cancel: the rounding is relative to what was added up, at most 60 x 1e11 cents.
    assert left == pytest.approx(right, rel=1e-9, abs=1e-2)


@given(wild)
@settings(deadline=None)
def test_nobody_joins_as_nothing_and_arguments_stay(events: list[Happening]) -> None:
    behaviour, before = lived(events), lived(events)
    joined = join(behaviour, Behaviour())
    joined.recent.append(0)
    assert behaviour == before
    assert join(Behaviour(), behaviour) == before
    assert join(Behaviour(), Behaviour()) == Behaviour()


@given(wild, st.integers(MIN_TIME, MAX_TIME))
@settings(deadline=None)
def test_vector_is_finite_whatever_happened(events: list[Happening], now: int) -> None:
    features = vector(lived(events), now)
    assert len(features) == len(FEATURES)
    assert all(isfinite(value) and value >= 0 for value in features)


@given(wild)
@settings(deadline=None)
def test_behaviour_is_small_and_survives_the_profile(events: list[Happening]) -> None:
    behaviour = lived(events)
    packed = msgspec.msgpack.encode(behaviour)
    assert len(packed) <= 190
    assert len(behaviour.recent) <= 8
    assert msgspec.msgpack.decode(packed, type=Behaviour) == behaviour


def test_a_shorter_array_of_an_older_version_is_read() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode([5, 6]), type=Behaviour) == Behaviour(
        first_seen=5, last_seen=6
    )


def test_the_list_of_features_is_what_its_version_says() -> None:
    """A changed list or formula is another version: models learned before are not served with it."""
    assert VERSION == "bb81c800283e5e55"
    assert FEATURES[:2] == ("recency", "gap")


@pytest.mark.parametrize("type", sorted(set(TYPES) - ACTIVE - {"Order Cancelled", "Order Refunded"}))
def test_what_is_done_to_a_customer_changes_nothing(type: str) -> None:
    behaviour = lived([("Product Viewed", T, 0)])
    observe(behaviour, TYPES[type][0], type, Message(channel="email"), T + DAY_MS)
    assert behaviour == lived([("Product Viewed", T, 0)])


def test_money_is_cents_and_what_comes_back_is_kept_apart() -> None:
    behaviour = lived([("Order Completed", T, 19.99), ("Order Completed", T, 0.29), ("Order Refunded", T, 5.5)])
    observe(behaviour, "order", "Order Cancelled", Order(order_id="1", revenue=0.29), T)
    assert (behaviour.spent, behaviour.returned, behaviour.orders) == (2028, 579, 2)
    assert behaviour.spend_slow == 2028
    assert cents(11.77) == 1177
    assert cents(-0.01) == -1


def test_an_order_without_a_readable_body_is_still_an_order() -> None:
    behaviour = Behaviour()
    observe(behaviour, "order", "Order Completed", None, T)
    observe(behaviour, "order", "Order Cancelled", None, T)
    assert (behaviour.orders, behaviour.spent, behaviour.returned, behaviour.recent) == (1, 0, 0, [T])


@pytest.mark.parametrize(("days_ago", "counted"), [(0, 1), (1, 2), (27, 2), (28, 1), (55, 1), (56, 1), (400, 1)])
def test_active_days_are_those_of_four_weeks(days_ago: int, counted: int) -> None:
    events = [("Page Viewed", T, 0.0), ("Page Viewed", T - days_ago * DAY_MS, 0.0)]
    for order in (events, events[::-1]):
        assert vector(lived(order), T + DAY_MS - 1)[6] == log1p(counted)
        assert vector(lived(order), T + 28 * DAY_MS)[6] == 0


def test_active_days_of_a_clock_behind_are_the_latest_four_weeks() -> None:
    behaviour = lived([("Page Viewed", T - day * DAY_MS, 0.0) for day in range(80)])
    assert vector(behaviour, T - 9 * DAY_MS)[6] == log1p(28)


def test_a_click_is_activity_a_message_is_not() -> None:
    assert lived([("Message Clicked", T, 0.0)]) == Behaviour(first_seen=T, last_seen=T, days=1)
    assert lived([("Message Opened", T, 0.0)]) == Behaviour()


def test_joined_orders_keep_the_latest_eight_and_their_weight() -> None:
    old = lived([("Order Completed", T - day * DAY_MS, 10.0) for day in range(112, 118)])
    new = lived([("Order Completed", T - day * DAY_MS, 10.0) for day in range(6)])
    joined = join(old, new)
    assert joined.recent == sorted([*new.recent, T - 113 * DAY_MS, T - 112 * DAY_MS])
    assert joined.spend_slow == pytest.approx(new.spend_slow + old.spend_slow / 2)
    assert joined.orders_fast == pytest.approx(new.orders_fast + old.orders_fast / 16)


def test_days_are_kept_for_eight_weeks() -> None:
    behaviour = lived([("Page Viewed", T - day * DAY_MS, 0.0) for day in range(80)])
    assert behaviour.days == (1 << 56) - 1
    assert lived([("Page Viewed", T - 55 * DAY_MS, 0.0), ("Page Viewed", T, 0.0)]).days == 1 << 55 | 1


def test_features_hold_before_the_first_touchpoint_and_for_a_clock_behind() -> None:
    assert vector(Behaviour(), T) == [0.0, log1p(60), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    behaviour = lived([("Order Completed", T, 10), ("Product Viewed", T, 0)])
    assert vector(behaviour, T - DAY_MS) == vector(behaviour, T)


def test_purchased_between_excludes_its_start_and_includes_its_end() -> None:
    behaviour = lived([("Order Completed", T, 1), ("Product Viewed", T + 50, 0)])
    assert purchased_between(behaviour, T - 1, T)
    assert not purchased_between(behaviour, T, T + 100)
    assert not purchased_between(behaviour, T - 100, T - 1)
    assert not purchased_between(Behaviour(), 0, T)


def test_purchased_between_believes_in_a_buyer_whose_older_orders_are_forgotten() -> None:
    eight = [("Order Completed", T + day * DAY_MS, 1.0) for day in range(1, 9)]
    assert not purchased_between(lived(eight), T - DAY_MS, T)
    nine = lived([*eight, ("Order Completed", T, 1.0)])
    assert nine.recent[0] == T + DAY_MS
    assert purchased_between(nine, T - DAY_MS, T)
    assert not purchased_between(nine, T + 8 * DAY_MS, T + 9 * DAY_MS)
    assert not purchased_between(nine, T + DAY_MS, T + DAY_MS + 1)
