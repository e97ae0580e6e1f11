"""What becomes of a product, told to those who looked at it: crossings, repeats, order, steps, units, merges."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.playbook import PlayBook
from operators.signals import KEPT
from schemas import stitched
from schemas.config import Limits
from schemas.plays import PlayFile
from schemas.stitched import Change, Control, Event, shard_of
from schemas.touchpoint import TYPES
from state.shards import Output
from tests.engage_helpers import (
    DAY,
    MINUTE,
    SHARDS,
    A,
    B,
    T,
    World,
    config,
    event,
    living_in,
    ordered,
    reachable,
    replayed,
    tick,
    token,
    viewed,
)
from tests.test_plays import HOUR, plays, world
from tests.test_replaying import decisions
from tests.test_replaying import replayed as again

INTERESTED = {
    "of": {"event": ["Product Viewed", "Product Added", "Product Added to Wishlist"], "by": "event.product.sku"},
    "within": "30d",
    "unless": {"event": "Order Completed", "by": "event.skus"},
}


def of(interested: dict[str, Any] | None = None, **kind: Any) -> dict[str, Any]:
    """A play about products."""
    return {"when": {"product": {"interested": INTERESTED | (interested or {}), **kind}}}


def priced(price: float, time: int, *, at: int | None = None, **more: Any) -> Event:
    return event("product:tea", "Price Changed", {"sku": "tea", "price": price, **more}, time, at=at)


def stocked(stock: int, time: int, *, at: int | None = None) -> Event:
    return event("product:tea", "Stock Changed", {"sku": "tea", "stock": stock}, time, at=at)


DROP = plays(cheaper=of(price_drop=10))
BACK = plays(back=of(back_in_stock={"per_unit": 1}))
LOW = plays(low=of(low_stock=5))


def told(file: PlayFile, *changes: Event) -> list[tuple[str, str]]:
    """What a customer hears who looked at tea a day before."""
    return world(file).feed(viewed(A, "tea", T - DAY)).run().feed(*changes).run().told()


def wanted(found: World, sku: str = "tea") -> set[str]:
    """Whom the index names."""
    return {customer for index in found.index for customer in index.get(sku, {})}


# -- what wakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prices", "times"),
    [
        ([100, 90], 1),
        ([100, 90.01], 0),
        ([100, 95, 90, 85.6], 0),  # each little by little
        ([90, 100], 0),
        ([50], 0),  # nothing known before
        ([100, 90, 90, 90], 1),
        ([100, 90, 80], 2),
        ([100, 90, 100, 90], 2),
        ([0, 100], 0),
    ],
)
def test_a_price_drop_is_against_the_price_before(prices: list[float], times: int) -> None:
    changes = [priced(price, T + n * MINUTE) for n, price in enumerate(prices)]
    assert len(told(DROP, *changes)) == times


def test_a_first_price_says_itself_what_was_before() -> None:
    assert told(DROP, priced(90, T, old_price=100)) == [("cheaper", "emitted")]
    assert told(DROP, priced(100, T), priced(95, T + MINUTE, old_price=200)) == []


@pytest.mark.parametrize(
    ("stocks", "times"),
    [([0, 3], 1), ([3], 0), ([3, 5], 0), ([0, 0, 3, 4], 1), ([0], 0), ([0, 3, 0, 3], 2)],
)
def test_back_in_stock_is_after_none(stocks: list[int], times: int) -> None:
    file = plays(back=of(back_in_stock={"per_unit": 1_000}))
    assert len(told(file, *[stocked(stock, T + n * MINUTE) for n, stock in enumerate(stocks)])) == times


@pytest.mark.parametrize(
    ("stocks", "times"),
    [([6, 5], 1), ([9, 1], 1), ([6, 0], 0), ([5, 4], 0), ([4], 0), ([0, 4], 0), ([7, 5, 4, 3], 1), ([7, 5, 6, 5], 2)],
)
def test_low_stock_is_what_falls_and_is_not_gone(stocks: list[int], times: int) -> None:
    assert len(told(LOW, *[stocked(stock, T + n * MINUTE) for n, stock in enumerate(stocks)])) == times


def test_what_is_sold_out_is_not_cheaper() -> None:
    assert told(DROP, priced(100, T), stocked(0, T), priced(50, T + MINUTE)) == []
    assert len(told(DROP, priced(100, T), stocked(1, T), priced(50, T + MINUTE))) == 1


def test_a_late_change_wakes_nothing_and_neither_does_history() -> None:
    late = [priced(100, T), priced(99, T + 2 * MINUTE), priced(50, T + MINUTE, at=T + 3 * MINUTE)]
    assert told(DROP, *late) == []
    old = [priced(100, T - 3 * HOUR), priced(50, T - 2 * HOUR, at=T)]
    assert told(DROP, *old) == []


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), max_size=12, unique_by=lambda each: each[1]))
@settings(max_examples=60, deadline=None)
def test_whoever_reads_late_hears_no_more_than_in_order(changes: list[tuple[int, int]]) -> None:
    """Out of order, back in stock is told only of what is there then; a repeat tells nothing new."""
    file = plays(back=of(back_in_stock={"per_unit": 1_000}))
    some = [stocked(stock, T + minute * MINUTE, at=T + 31 * MINUTE) for stock, minute in changes]
    newest = [each for n, each in enumerate(changes) if all(each[1] > before[1] for before in changes[:n])]
    stocks = [stock for stock, _ in newest]
    crossings = sum(a == 0 < b for a, b in pairwise(stocks))
    assert len(told(file, *some, *some)) == crossings


# -- for whom ------------------------------------------------------------------------------------------------------


def dropped(at: int = T) -> list[Event]:
    return [priced(100, at - MINUTE), priced(80, at)]


@pytest.mark.parametrize(
    "some",
    [
        [viewed(A, "tea", T - 29 * DAY)],
        [event(A, "Product Added", {"cart_id": "c", "product": {"sku": "tea"}}, T - DAY)],
        [event(A, "Product Added to Wishlist", {"product": {"sku": "tea"}}, T - DAY)],
        [ordered(A, T - 2 * DAY, "tea"), viewed(A, "tea", T - DAY)],
        [ordered(A, T - HOUR, "coffee"), viewed(A, "tea", T - DAY)],
        [viewed(A, "tea", T - 40 * DAY, at=T - DAY), viewed(A, "tea", T - 2 * DAY)],
    ],
)
def test_who_was_interested_is_told(some: list[Event]) -> None:
    assert world(DROP).feed(*some).run().feed(*dropped()).run().told() == [("cheaper", "emitted")]


@pytest.mark.parametrize(
    "some",
    [
        [],
        [viewed(A, "coffee", T - DAY)],
        [viewed(A, "tea", T - 31 * DAY)],
        [viewed(A, "tea", T - 2 * DAY), ordered(A, T - DAY, "tea")],
        [ordered(A, T - DAY, "tea"), viewed(A, "tea", T - 2 * DAY, at=T - HOUR)],  # the order came first
        [event(A, "Product Removed from Wishlist", {"product": {"sku": "tea"}}, T - DAY)],
    ],
)
def test_who_was_not_or_has_bought_it_is_not(some: list[Event]) -> None:
    assert world(DROP).feed(*some).run().feed(*dropped()).run().told() == []


def test_each_play_asks_for_the_time_it_wants_and_shares_what_is_kept() -> None:
    file = plays(short=of({"within": "1d"}, price_drop=10), long=of({"within": "9d"}, price_drop=10))
    found = world(file, A, B).feed(viewed(A, "tea", T - 2 * DAY), viewed(B, "tea", T - HOUR)).run()
    assert len(found.profile(A).progress) == 1
    found.feed(*dropped()).run()
    assert {(each.play, each.customer) for each in found.decisions} == {("long", A), ("long", B), ("short", B)}


def test_interest_is_indexed_once_a_day() -> None:
    found = world(DROP).feed(viewed(A, "tea", T)).run()
    before = found.index[0]["tea"][A]
    found.feed(viewed(A, "tea", T + MINUTE)).run()
    assert found.index[0]["tea"][A] == before
    found.feed(viewed(A, "tea", T + DAY)).run()
    assert found.index[0]["tea"][A] == T + DAY


def test_without_such_plays_nothing_is_kept_and_nothing_told() -> None:
    found = World().feed(*reachable(A, T - DAY), viewed(A, "tea", T - DAY), *dropped()).run()
    assert found.index == [{}] * SHARDS
    assert not any(each.topic == "ts.stitched" for each in found.everything())


def test_what_the_message_says() -> None:
    values = {"sku": "product.sku", "now": "product.price", "before": "product.was", "left": "product.stock"}
    file = plays(cheaper=of(price_drop=10) | {"values": values})
    found = world(file).feed(viewed(A, "tea", T - DAY), *dropped()).run()
    (trigger,) = found.triggers
    assert trigger.data.values == {"sku": "tea", "now": 80.0, "before": 100.0}
    assert (trigger.data.business_key, trigger.data.touchpoint) == ("tea", priced(80, T).eid)


def test_what_cannot_be_evaluated_stops_with_an_error_of_the_play() -> None:
    huge = f"round({' * '.join(['round(PRICE)'] * 36)} / 1.5)"
    file = plays(cheaper=of(price_drop=10) | {"values": {"x": huge.replace("PRICE", "product.price")}})
    drop = [priced(1e9, T - MINUTE), priced(8e8, T)]
    assert world(file).feed(viewed(A, "tea", T - DAY), *drop).run().told() == [("cheaper", "error")]
    where = f"round({' * '.join(['event.points'] * 45)} / 1.5) > 1"
    file = plays(cheaper=of({"of": {"event": "Points Earned", "by": "event.tier", "where": where}}, low_stock=1))
    earned = event(A, "Points Earned", {"points": 10**9, "tier": "gold"}, T)
    assert world(file).feed(earned).run().told() == [("cheaper", "error")]


def test_a_journey_begins_with_a_product_and_goes_on_without_it() -> None:
    file = plays(cheaper=of(price_drop=10) | {"steps": [{"wait": "1d"}]})
    found = world(file).feed(viewed(A, "tea", T - DAY), *dropped(), priced(100, T + HOUR)).run()
    found.feed(tick(T + DAY + HOUR)).run()
    assert found.told() == [("cheaper", "emitted")] * 2


# -- to every shard, in steps --------------------------------------------------------------------------------------


def many(count: int, shard: int = 0) -> list[str]:
    """Customers of one shard."""
    names = (f"one-{n}" for n in range(100 * count))
    return [name for name in names if shard_of(name, SHARDS) == shard][:count]


def test_steps_are_small_and_reach_all_the_latest_interest_first() -> None:
    customers = many(25)
    found = World(config(Limits(customers_per_step=10)), plays=DROP)
    for n, customer in enumerate(customers):
        found.feed(*reachable(customer, T - DAY), viewed(customer, "tea", T - DAY + n))
    found.run().feed(*dropped()).run(batch=100)
    assert [len(step) for step in found.steps if step] == [10, 10, 5]
    assert [each.customer for each in found.decisions] == customers[::-1]


def test_customers_whose_interest_is_as_old_are_all_reached() -> None:
    customers = many(21)
    found = World(config(Limits(customers_per_step=10)), plays=DROP)
    found.feed(*[each for one in customers for each in (*reachable(one, T - DAY), viewed(one, "tea", T - DAY))])
    found.run().feed(*dropped()).run()
    assert sorted(each.customer for each in found.decisions) == sorted(customers)


def test_what_no_longer_holds_ends_between_two_steps() -> None:
    customers = many(25, shard_of("product:tea", SHARDS))
    found = World(config(Limits(customers_per_step=10)), plays=DROP)
    found.feed(*[each for one in customers for each in (*reachable(one, T - DAY), viewed(one, "tea", T - DAY))])
    found.run().feed(*dropped(), priced(95, T + MINUTE)).run()
    assert len(found.decisions) == 10


def test_a_second_drop_goes_on_for_the_first() -> None:
    customers = many(25, shard_of("product:tea", SHARDS))
    found = World(config(Limits(customers_per_step=10)), plays=plays(cheaper=of(price_drop=10) | {"cool_down": "1d"}))
    found.feed(*[each for one in customers for each in (*reachable(one, T - DAY), viewed(one, "tea", T - DAY))])
    found.run().feed(*dropped(), priced(40, T + MINUTE)).run()
    assert sorted(each.customer for each in found.decisions if not each.code) == sorted(customers)
    assert [each.code for each in found.decisions].count("cool_down") == 10
    assert len(found.decisions) == 35


@pytest.mark.parametrize(("stock", "per_unit"), [(1, 1), (3, 1), (4, 1), (5, 3), (60, 1)])
def test_at_most_so_many_are_told_a_unit(stock: int, per_unit: int) -> None:
    file = plays(back=of(back_in_stock={"per_unit": per_unit}))
    customers = [each for shard in range(SHARDS) for each in many(12, shard)]
    found = World(config(Limits(customers_per_step=5)), plays=file)
    for n, customer in enumerate(customers):
        found.feed(*reachable(customer, T - DAY), viewed(customer, "tea", T - DAY + n))
    found.run().feed(stocked(0, T), stocked(stock, T + MINUTE)).run()
    assert len(found.triggers) == min(stock * per_unit, len(customers))
    assert len(found.decisions) == len(found.triggers)


def test_who_is_not_sent_anything_takes_no_unit() -> None:
    file = plays(back=of(back_in_stock={"per_unit": 1}))
    customers = many(6)
    found = World(plays=file)
    for n, customer in enumerate(customers):
        found.feed(*(reachable(customer, T - DAY) if n < 3 else ()), viewed(customer, "tea", T - DAY + n))
    found.run().feed(stocked(0, T), stocked(2 * SHARDS, T + MINUTE)).run()
    assert [each.code for each in found.decisions] == ["no_consent"] * 3 + [None, None]


# -- held, and no longer so ----------------------------------------------------------------------------------------

NIGHT = {"quiet_hours": {"start": "00:00", "end": "12:00"}, "caps": []}


@pytest.mark.parametrize(
    ("meanwhile", "code"),
    [
        ([], None),
        ([priced(95, T + HOUR)], "product_changed"),
        ([priced(85, T + HOUR)], None),
        ([stocked(0, T + HOUR)], "product_changed"),
        ([ordered(A, T + HOUR, "tea")], "no_interest"),
        ([ordered(A, T + HOUR, "coffee")], None),
    ],
)
def test_what_was_held_is_checked_again_at_release(meanwhile: list[Event], code: str | None) -> None:
    found = world(plays(NIGHT, cheaper=of(price_drop=10))).feed(viewed(A, "tea", T - DAY), *dropped()).run()
    assert found.told() == [("cheaper", "quiet_hours")]
    found.feed(*meanwhile).run().feed(tick(T + 4 * HOUR)).run()
    assert found.decisions[-1].code == code
    assert len(found.triggers) == (code is None)


def test_a_shard_where_nothing_happens_learns_the_time_from_the_signal() -> None:
    elsewhere = living_in((shard_of("product:tea", SHARDS) + 1) % SHARDS)
    found = World(
        plays=plays({"quiet_hours": {"start": "07:00", "end": "08:30"}, "caps": []}, cheaper=of(price_drop=10))
    )
    found.feed(*reachable(elsewhere, T - HOUR), viewed(elsewhere, "tea", T - HOUR)).run()
    assert found.feed(*dropped()).run().told() == [("cheaper", "emitted")]


def test_of_two_drops_in_a_night_the_second_is_told() -> None:
    file = plays(NIGHT, cheaper=of(price_drop=10) | {"values": {"price": "product.price"}})
    found = world(file).feed(viewed(A, "tea", T - DAY), *dropped(), priced(60, T + HOUR)).run()
    found.feed(tick(T + 4 * HOUR)).run()
    assert [each.data.values for each in found.triggers] == [{"price": 60.0}]


def test_what_was_woken_is_forgotten_after_some_days() -> None:
    found = world(DROP).feed(viewed(A, "tea", T - DAY), *dropped()).run()
    assert sum(key.startswith("p:") for key in found.entities) == SHARDS
    found.feed(tick(T + KEPT)).run()
    assert sum(key.startswith("p:") for key in found.entities) == 0
    assert found.profile("product:tea").timers == []


# -- merged, parted, erased ----------------------------------------------------------------------------------------


def test_interest_goes_along_when_customers_merge_and_each_is_told_once() -> None:
    found = world(DROP, A, B).feed(viewed(A, "tea", T - DAY), viewed(B, "tea", T - 2 * DAY)).run()
    found.merge(A, B, 5).run().feed(*dropped()).run()
    assert [each.customer for each in found.decisions] == [B]
    only = world(DROP, A, B).feed(viewed(A, "tea", T - DAY)).run().merge(A, B, 5).run()
    assert [each.customer for each in only.feed(*dropped()).run().decisions] == [B]


def test_what_one_side_bought_the_other_is_no_longer_told() -> None:
    found = world(DROP, A, B).feed(viewed(A, "tea", T - 2 * DAY), ordered(B, T - DAY, "tea")).run()
    assert found.merge(A, B, 5).run().feed(*dropped()).run().told() == []


def test_who_waits_for_a_hand_over_is_not_told_before_it() -> None:
    found = world(DROP, A, B).feed(viewed(B, "tea", T - DAY)).run()
    found.feed(Change(T, token("m"), "merged", B, 5, T, old=A, new=B)).run()
    assert found.feed(*dropped()).run().told() == []


def test_who_was_erased_is_not_told() -> None:
    found = world(DROP, A, B).feed(viewed(A, "tea", T - DAY), viewed(B, "tea", T - DAY)).run()
    found.feed(Change(T, token("e"), "erased", A, 5, T)).run()
    assert wanted(found) == {A, B}
    assert [each.customer for each in found.feed(*dropped()).run().decisions] == [B]


# -- other plays in force ------------------------------------------------------------------------------------------


def apply(found: World, file: PlayFile, at: int = T) -> World:
    book = PlayBook(file)
    found.books[book.version] = book
    return found.feed(Control(at, "plays", "", book.version)).run()


def test_interest_outlives_plays_that_ask_for_the_same_and_no_others() -> None:
    found = world(DROP).feed(viewed(A, "tea", T - DAY)).run()
    assert apply(found, LOW).feed(stocked(9, T), stocked(2, T + 1)).run().told() == [("low", "emitted")]
    other = of({"of": {"event": "Product Added", "by": "event.product.sku"}}, low_stock=5)
    found = world(DROP).feed(viewed(A, "tea", T - DAY)).run()
    assert apply(found, plays(low=other)).feed(stocked(9, T), stocked(2, T + 1)).run().told() == []


def test_what_was_forgotten_under_other_plays_does_not_come_back() -> None:
    short, long = plays(low=of({"within": "1d"}, low_stock=5)), plays(low=of({"within": "90d"}, low_stock=5))
    found = World(plays=short).feed(*reachable(A, T - 9 * DAY), viewed(A, "tea", T - 9 * DAY), tick(T)).run()
    assert wanted(found) == {A}  # nothing has made the index forget it yet
    assert apply(found, long).feed(stocked(9, T), stocked(2, T + 1)).run().told() == []


def test_a_play_that_is_gone_or_paused_says_nothing() -> None:
    found = world(DROP).feed(viewed(A, "tea", T - DAY), Control(T, "pause", "cheaper")).run()
    assert found.feed(*dropped()).run().told() == [("cheaper", "paused")]
    found = world(DROP).feed(viewed(A, "tea", T - DAY)).run()
    assert apply(found, LOW).feed(*dropped()).run().told() == []


# -- the same again ------------------------------------------------------------------------------------------------

BOTH = plays(
    {"quiet_hours": {"start": "09:00", "end": "10:00"}, "caps": []},
    cheaper=of(price_drop=10),
    back=of({"within": "2d"}, back_in_stock={"per_unit": 2}),
    low=of(low_stock=2),
)
minutes = st.integers(0, 4 * 24 * 60).map(lambda minute: T + minute * MINUTE)
names = st.sampled_from([living_in(shard, f"{name}") for shard in range(SHARDS) for name in "abc"])
records = st.one_of(
    st.builds(viewed, names, st.sampled_from(["tea", "coffee"]), minutes),
    st.builds(ordered, names, minutes, st.just("tea")),
    st.builds(priced, st.sampled_from([100.0, 89.0, 70.0]), minutes),
    st.builds(stocked, st.sampled_from([0, 0, 1, 2, 9]), minutes),
    st.builds(tick, minutes),
    st.tuples(names, names),
)


@given(st.lists(records, max_size=40), st.lists(st.integers(1, 9), max_size=6), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_a_replay_in_other_batches_does_the_same(log: list[Any], splits: list[int], per_step: int) -> None:
    found = World(config(Limits(customers_per_step=per_step)), plays=BOTH, cached=1)
    people = [living_in(shard, name) for shard in range(SHARDS) for name in "abc"]
    found.feed(*[each for one in people for each in reachable(one, T - DAY)])
    for version, record in enumerate(log, 5):
        if isinstance(record, tuple):
            old, new = record
            if old != new:
                found.merge(old, new, version)
        else:
            found.feed(record)
    found.run(batch=5)
    again = replayed(found, splits)
    assert again.outputs == found.outputs
    assert again.entities == found.entities
    assert again.index == found.index
    assert again.timers == found.timers
    ids = [each.id for each in found.triggers]
    assert len(ids) == len(set(ids))


def told_of(outputs: Sequence[Output]) -> list[tuple[str, str, str, str]]:
    """Decisions as (play, customer, id, code or outcome)."""
    return [(each.play, each.customer, each.id, each.code or each.outcome) for each in decisions(outputs)]


def test_a_backtest_tells_the_same_of_products() -> None:
    found = World(plays=BOTH)
    people = [living_in(shard, name) for shard in range(SHARDS) for name in "abc"]
    for number, one in enumerate(people):
        found.feed(*reachable(one, T - DAY), viewed(one, "tea", T - DAY + number))
    history = [list(log) for log in found.log]
    changes = [
        priced(100, T),
        stocked(0, T + 1),
        priced(80, T + 2),
        stocked(9, T + 3),
        priced(60, T + MINUTE),
        stocked(2, T + HOUR),
        viewed(people[0], "coffee", T + 2 * HOUR),
    ]
    found.run()
    for change in changes:
        history[shard_of(change.customer, SHARDS)].append(stitched.encode(change))
        found.feed(change).run()
    found.feed(tick(T + 2 * HOUR)).run()
    live = sorted(told_of(found.everything()))
    for virtual, logs in ((False, found.log), (True, history)):
        _, outputs = again(logs, BOTH, virtual=virtual)
        assert sorted(told_of(outputs)) == live
    assert len({play for play, *_ in live}) == 3


def test_types_about_wishes_are_known() -> None:
    assert {"Product Added to Wishlist", "Product Removed from Wishlist"} <= TYPES.keys()
