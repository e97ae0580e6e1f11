"""Features: formulas against a plain reading of them, order and split of touchpoints, bounds."""

from __future__ import annotations

from itertools import pairwise
from math import isfinite, log, log1p
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.features import (
    ACTIVE,
    DAY_MS,
    DOCUMENTED,
    ENGAGED,
    FEATURES,
    TROUBLE,
    VERSION,
    cents,
    join,
    observe,
    purchased_between,
    vector,
)
from schemas.touchpoint import MAX_TIME, MIN_TIME, TYPES, Body, Message, Order, Product, Refund
from state.behaviour import DECAYED, Behaviour

T = 1_700_000_000_000 // DAY_MS * DAY_MS

Happening = tuple[str, int, float]
LINES = [Product(sku=str(number)) for number in range(4)]
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
    return Order(order_id="1", revenue=amount, lines=LINES[: _lines(amount)]) if type.startswith("Order ") else None


def _lines(amount: float) -> int:
    """Some number of lines, and by its parity the channel, so that every order has one of its own."""
    return int(amount) % 4


def _channel(amount: float) -> str | None:
    return ["store", None, "app", "web"][_lines(amount)]


def lived(events: list[Happening]) -> Behaviour:
    behaviour = Behaviour()
    for type, time, amount in events:
        family = TYPES[type][0] if type in TYPES else "custom"
        observe(behaviour, family, type, body(type, amount), time, _channel(amount))
    return behaviour


def exact(behaviour: Behaviour) -> tuple[object, ...]:
    """The fields that do not depend on the order of touchpoints by a single bit."""
    return tuple(getattr(behaviour, name) for name in behaviour.__struct_fields__ if name not in DECAYED)


def decayed(behaviour: Behaviour) -> list[float]:
    return [getattr(behaviour, name) for name in DECAYED]


def named(behaviour: Behaviour, now: int) -> dict[str, float]:
    return dict(zip(FEATURES, vector(behaviour, now), strict=True))


def assert_same(a: Behaviour, b: Behaviour) -> None:
    assert exact(a) == exact(b)
    assert decayed(a) == pytest.approx(decayed(b), rel=1e-9, abs=1e-12)


def plain(events: list[Happening], now: int) -> dict[str, float]:
    """The documented formulas, read literally over all touchpoints."""
    orders = sorted((time, amount) for type, time, amount in events if type == "Order Completed")
    times = [time for time, _ in orders]
    active = [time for type, time, _ in events if type in ACTIVE]
    since = (now - (times[-1] if orders else min(active, default=now))) / DAY_MS
    tenure = (now - min(active, default=now)) / DAY_MS
    gaps = [(later - earlier) / DAY_MS for earlier, later in pairwise(times[-8:])]
    average = 30.0
    for gap in gaps:
        average = 0.7 * average + 0.3 * gap
    days = {time // DAY_MS for time in active if now // DAY_MS - 14 < time // DAY_MS}

    def faded(entries: list[tuple[int, float]], days: float) -> float:
        return sum(amount * 2 ** (-(now - time) / DAY_MS / days) for time, amount in entries)

    def counted(days: float, *types: str) -> float:
        return log1p(faded([(time, 1.0) for type, time, _ in events if type in types], days))

    slow = faded([(time, 1.0) for time in times], 112)
    per_day = (slow + 0.5) / (30 + 112 / log(2) * (1 - 2 ** (-tenure / 112)))
    remote = faded([(time, 1.0) for time, amount in orders if _channel(amount) in ("app", "web")], 112)
    return {
        "recency": log1p(since),
        "gap": log1p(average),
        "rhythm": (log1p(30) + sum(map(log1p, gaps))) / (1 + len(gaps)),
        "longest": log1p(max([since, *gaps])),
        "overdue": since / (since + average),
        "orders_fast": log1p(faded([(time, 1.0) for time in times], 28)),
        "orders_slow": log1p(slow),
        "orders_long": log1p(faded([(time, 1.0) for time in times], 224)),
        "missed": log1p(since * per_day),
        "basket": log1p(faded(orders, 112) / slow) if orders else 0.0,
        "lines": log1p(faded([(time, _lines(amount)) for time, amount in orders], 112)),
        "remote": remote / slow if orders else 0.0,
        "active_days": log1p(len(days)),
        "views": counted(7, "Product Viewed"),
        "engaged": counted(28, "Message Opened", "Message Clicked"),
        "trouble": counted(56, "Ticket Opened", "Order Refunded", "Order Cancelled"),
        "tenure": log1p(tenure),
    }


@given(happenings, st.integers(0, 60 * DAY_MS))
@settings(deadline=None)
def test_vector_is_the_documented_formulas(events: list[Happening], later: int) -> None:
    named = dict(zip(FEATURES, vector(lived(events), T + later), strict=True))
    assert named == pytest.approx(plain(events, T + later), rel=1e-9, abs=1e-9)


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
    assert len(packed) <= 270
    assert len(behaviour.recent) <= 8
    assert msgspec.msgpack.decode(packed, type=Behaviour) == behaviour


def test_a_shorter_array_of_an_older_version_is_read() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode([5, 6]), type=Behaviour) == Behaviour(
        first_seen=5, last_seen=6
    )


def test_the_list_of_features_is_what_its_version_says() -> None:
    """A changed list or formula is another version: models learned before are not served with it."""
    assert VERSION == "35a17871276e627e"
    assert FEATURES[:2] == ("recency", "gap")


def test_the_page_lists_the_features_as_they_are() -> None:
    page = (Path(__file__).parent.parent / "docs" / "churn.md").read_text()
    rows = [f"| `{name}` | {unit} | {formula} |\n" for name, (unit, formula) in DOCUMENTED.items()]
    assert "| feature | unit | formula |\n|---|---|---|\n" + "".join(rows) + "\n" in page


@pytest.mark.parametrize("type", sorted(set(TYPES) - ACTIVE - ENGAGED - TROUBLE))
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


@pytest.mark.parametrize(("days_ago", "counted"), [(0, 1), (1, 2), (13, 2), (14, 1), (55, 1), (56, 1), (400, 1)])
def test_active_days_are_those_of_two_weeks(days_ago: int, counted: int) -> None:
    events = [("Page Viewed", T, 0.0), ("Page Viewed", T - days_ago * DAY_MS, 0.0)]
    for order in (events, events[::-1]):
        assert named(lived(order), T + DAY_MS - 1)["active_days"] == log1p(counted)
        assert named(lived(order), T + 14 * DAY_MS)["active_days"] == 0


def test_active_days_of_a_clock_behind_are_the_latest_two_weeks() -> None:
    behaviour = lived([("Page Viewed", T - day * DAY_MS, 0.0) for day in range(80)])
    assert named(behaviour, T - 9 * DAY_MS)["active_days"] == log1p(14)


def test_a_click_is_activity_a_message_is_not() -> None:
    assert lived([("Message Clicked", T, 0.0)]) == Behaviour(T, T, days=1, engaged=1.0, engaged_at=T)
    assert lived([("Message Opened", T, 0.0)]) == Behaviour(engaged=1.0, engaged_at=T)
    assert lived([("Message Sent", T, 0.0)]) == Behaviour()


def test_trouble_is_no_visit_but_for_a_ticket() -> None:
    assert lived([("Order Cancelled", T, 0.0)]) == Behaviour(trouble=1.0, trouble_at=T)
    assert lived([("Ticket Opened", T, 0.0)]) == Behaviour(T, T, days=1, trouble=1.0, trouble_at=T)
    assert lived([("Ticket Closed", T, 0.0)]) == Behaviour()


@pytest.mark.parametrize(("channel", "remote"), [(None, 0.0), ("store", 0.0), ("app", 1.0)])
def test_orders_outside_stores_are_remote(channel: str | None, remote: float) -> None:
    behaviour = Behaviour()
    observe(behaviour, "order", "Order Completed", Order(order_id="1"), T, channel)
    assert named(behaviour, T)["remote"] == remote


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
    nothing = named(Behaviour(), T)
    assert {name for name, value in nothing.items() if value} == {"gap", "rhythm"}
    assert nothing["gap"] == nothing["rhythm"] == pytest.approx(log1p(30))
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
