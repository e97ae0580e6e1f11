"""What engage counts for the figures of the shop."""

from __future__ import annotations

from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from schemas.outputs import Partial
from tests.engage_helpers import (
    DAY,
    MINUTE,
    SECOND,
    A,
    B,
    T,
    World,
    activate,
    carted,
    constant_model,
    ordered,
    reachable,
    tick,
    viewed,
)


def partials(world: World) -> list[Partial]:
    """All that has been told."""
    return world.written("ts.kpi.partials")


def counted(world: World, minute: int | None = None) -> Counter[str]:
    """All that was told, or what of it happened in a Unix minute."""
    found: Counter[str] = Counter()
    for partial in partials(world):
        for number, counts in partial.minutes.items():
            if minute in (None, number):
                found.update(counts)
    return found


def flushed(world: World, at: int = T + 300 * DAY) -> World:
    """With all that was counted told."""
    return world.feed(tick(T - DAY, at)).run()


def test_a_second_is_told_once_when_the_clock_has_passed_it() -> None:
    world = World().feed(viewed(A, "tea", T), viewed(A, "pot", T + 999)).run()
    assert partials(world) == []
    world.feed(viewed(A, "cup", T + 1_000)).run()
    (told,) = partials(world)
    assert (told.shard, told.second) == (0, T // 1000)
    assert told.minutes[T // MINUTE]["touchpoint/web/Product Viewed"] == 2
    world.feed(tick(T + 5 * SECOND), tick(T + 9 * SECOND)).run()
    assert [each.second for each in partials(world)] == [T // 1000, T // 1000 + 1], "nothing was counted since"


def test_what_is_late_is_counted_when_it_happened_and_beyond_a_day_as_late() -> None:
    world = World().feed(
        viewed(A, "tea", T - 3 * MINUTE, at=T), ordered(A, T - DAY, at=T), ordered(A, T - DAY - 1, at=T)
    )
    flushed(world.run())
    assert counted(world, T // MINUTE - 3)["touchpoint/web/Product Viewed"] == 1
    assert counted(world, (T - DAY) // MINUTE)["order"] == 1
    assert counted(world, T // MINUTE)["late"] == 1
    assert counted(world)["revenue"] == 1000


def test_a_customer_is_active_once_a_second_and_once_a_minute_and_new_once() -> None:
    times = (0, 1, 999, 1_000, 61_000)
    world = flushed(World().feed(*[viewed(A, f"tea {time}", T + time) for time in times]).run())
    counts = counted(world)
    assert T % MINUTE + 1_000 < MINUTE, "or the first four would lie in two minutes"
    assert (counts["active_second"], counts["active_minute"], counts["new"]) == (3, 2, 1)


def test_duplicates_are_no_touchpoints() -> None:
    world = flushed(World().feed(viewed(A, "tea", T), viewed(A, "tea", T)).run())
    assert (counted(world)["touchpoint/web/Product Viewed"], counted(world)["duplicates"]) == (1, 1)
    assert counted(world)["defect/web/duplicates"] == 1


def test_defects_are_counted_by_source() -> None:
    late, prompt = T - 5 * MINUTE - 1, T - 5 * MINUTE
    world = World().feed(viewed(A, "tea", late, at=T), viewed(A, "pot", prompt, at=T), viewed(B, "cup", T)).run()
    assert counted(flushed(world))["defect/web/late"] == 1
    channels = [viewed(A, "a", T), msgspec.structs.replace(viewed(A, "b", T), channel="web")]
    assert counted(flushed(World().feed(*channels).run()))["defect/web/no_channel"] == 1


def test_decisions_are_counted_by_channel_or_code() -> None:
    world = World().feed(*reachable(A), carted(A, "cart", T), carted(B, "cart", T)).run()
    flushed(world.feed(tick(T + 31 * MINUTE)).run())
    counts = counted(world)
    assert counts["play/cart_abandoned/emitted/sms"] == 1
    assert counts["play/cart_abandoned/stopped/no_consent"] == 1
    assert counts["identity/created"] == 1


def test_customers_are_counted_in_the_band_that_they_are_in() -> None:
    world = World()
    for logit, name in ((5.0, "high"), (-5.0, "low")):
        world.models[name] = constant_model(logit, name)
    world.feed(activate("high"), ordered(A, T), ordered(B, T + 1)).run()
    flushed(world, T + MINUTE)
    assert (counted(world)["band/high"], counted(world)["at_risk"]) == (2, 2000)
    world.feed(activate("low", T + DAY), ordered(A, T + DAY)).run()
    flushed(world, T + 2 * DAY)
    assert (counted(world)["band/high"], counted(world)["band/low"], counted(world)["at_risk"]) == (1, 1, 1000)


def test_two_who_are_one_are_counted_as_one() -> None:
    world = World()
    world.models["high"] = constant_model(5.0, "high")
    world.feed(activate("high"), ordered(A, T), ordered(B, T + 1)).run().merge(A, B, 5, T + 2).run()
    flushed(world, T + MINUTE)
    assert (counted(world)["band/high"], counted(world)["at_risk"]) == (1, 2000)


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.integers(0, 5_000)), max_size=20), st.integers(1, 7))
def test_batches_change_nothing(views: list[tuple[str, int]], batch: int) -> None:
    feed = [viewed(customer, f"tea {n}", T + time) for n, (customer, time) in enumerate(views)]
    one, other = World(), World()
    assert partials(flushed(one.feed(*feed).run(1))) == partials(flushed(other.feed(*feed).run(batch)))
    assert sum(counted(one)[name] for name in counted(one) if name.startswith("touchpoint/")) == len(views)
