"""What wakes plays and what stops them, through the whole core: one small file of plays per rule."""

from __future__ import annotations

import random
import re
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flows import playfile
from operators import fold, progress
from operators.governance import KEPT_DECISIONS
from operators.playbook import PlayBook
from operators.plays import crossed
from operators.progress import CROWDED, KEPT_KEYS
from operators.texts import rfc3339
from schemas.outputs import Sealed
from schemas.plays import PlayFile
from schemas.stitched import EVERY, Control, Event
from schemas.touchpoint import TYPES
from state.profile import Profile
from tests.effort import thorough
from tests.engage_helpers import (
    DAY,
    MINUTE,
    A,
    B,
    T,
    World,
    carted,
    config,
    consented,
    created,
    event,
    ordered,
    reachable,
    signed_up,
    tick,
    token,
    viewed,
)

HOUR = 60 * MINUTE
SENT = {"channels": ["sms"], "cool_down": "1m"}


def plays(limits: dict[str, Any] | None = None, **written: dict[str, Any]) -> PlayFile:
    """A file of these plays, sent by SMS and hardly cooling down where they do not say otherwise."""
    tree = {"plays": {name: SENT | play for name, play in written.items()}, "limits": limits or {"caps": []}}
    return playfile.parse(yaml.safe_dump(tree).encode(), "plays.yaml")


def world(file: PlayFile, *customers: str) -> World:
    return World(plays=file).feed(*[each for one in customers or (A,) for each in reachable(one, T - DAY)])


def on(type: str, **pattern: Any) -> dict[str, Any]:
    return {"when": {"event": {"event": type, **pattern}}}


def tier(name: str, at: int = T) -> Event:
    return event(A, "Tier Changed", {"tier": name}, at)


# -- events ------------------------------------------------------------------------------------------------


def test_an_event_wakes_where_its_filter_holds() -> None:
    file = plays(big=on("Order Completed", where="event.revenue >= 20") | {"values": {"paid": "event.revenue"}})
    told = world(file).feed(order("o1", T, 19.0), order("o2", T + HOUR, 20.0)).run()
    (trigger,) = told.triggers
    assert (trigger.data.values, trigger.data.touchpoint_time) == ({"paid": 20.0}, T + HOUR)


def order(order_id: str, time: int, revenue: float, *skus: str) -> Event:
    lines = [{"sku": sku, "category": f"of {sku}"} for sku in skus]
    return event(A, "Order Completed", {"order_id": order_id, "revenue": revenue, "lines": lines}, time)


def test_a_filter_sees_the_profile_as_the_event_has_left_it() -> None:
    file = plays(second=on("Order Completed", where="profile.orders == 2"))
    told = world(file).feed(*[order(f"o{n}", T + n * HOUR, 1.0) for n in range(3)]).run()
    assert [each.touchpoint for each in told.decisions] == [order("o1", T + HOUR, 1.0).eid]


def test_one_event_wakes_a_play_once_for_each_of_its_keys() -> None:
    file = plays(review=on("Order Completed", by="event.skus") | {"values": {"sku": "key"}, "cool_down": "1m"})
    told = world(file).feed(order("o", T, 1.0, "tea", "cup", "tea")).run()
    assert [(each.business_key, each.code) for each in told.decisions] == [("tea", None), ("cup", "cool_down")]


def test_once_is_once_for_ever_and_else_every_event_is_another_occasion() -> None:
    file = plays(once=on("Tier Changed") | {"once": True}, each=on("Tier Changed"))
    told = world(file).feed(tier("gold"), tier("silver", T + HOUR)).run().told()
    assert sorted(told) == [("each", "emitted"), ("each", "emitted"), ("once", "duplicate"), ("once", "emitted")]


def test_once_is_remembered_longer_than_decisions_are() -> None:
    file = plays(gained=on("Tier Changed", by="event.tier") | {"once": True, "cool_down": "1m"})
    some = [tier(f"t{n}", T + n * HOUR) for n in range(KEPT_DECISIONS + 5)]
    told = world(file).feed(*some, tier("t0", T + DAY * 3)).run()
    assert told.decisions[-1].code == "duplicate"
    assert len({each.id for each in told.triggers}) == len(told.triggers) == len(some)


def test_what_was_waited_from_begins_no_second_wait() -> None:
    again = msgspec.structs.replace(checkout("one", T), eid=token("told twice"), at=T + 50 * MINUTE)
    told = world(plays({"caps": [], "start_within": "2h"}, left=waiting())).feed(checkout("one", T), again)
    late = msgspec.structs.replace(checkout("one", T), eid=token("told late"), at=T + 61 * MINUTE)
    told.feed(tick(T + HOUR), late, tick(T + 5 * HOUR)).run()
    assert told.told() == [("left", "emitted")]


def test_what_history_began_ends_when_it_would_have_and_what_is_over_starts_nothing() -> None:
    missed = {"when": {"silence": {"of": {"event": "Tier Changed"}, "wait": "30d"}}}
    expiring = {"of": {"event": "Points Earned"}, "time": "event.expires_at", "before": "1d"}
    file = plays(missed=missed, left=waiting(within="20d"), expiring={"when": {"date": expiring}})
    told: list[tuple[str, dict[str, Any], int]] = [("Tier Changed", {"tier": "x"}, days) for days in (40, 20, 35)]
    told += [("Points Earned", {"points": 1, "expires_at": T + left * DAY}, 9) for left in (2, 0)]
    history = [event(A, kind, data, T - days * DAY, at=T) for kind, data, days in told]
    history += [msgspec.structs.replace(checkout(cart, T - days * DAY), at=T) for cart, days in (("a", 10), ("b", 21))]
    for imported in (history, [*reversed(history)]):
        found = world(file).feed(*imported, *[tick(T + n * DAY) for n in range(31)]).run()
        assert [(each.play, each.business_key, each.at, each.code) for each in found.decisions] == [
            ("expiring", history[3].eid, T + DAY, None), ("left", "a", T + 10 * DAY, None),
            ("missed", "", T + 10 * DAY, None),
        ]  # fmt: skip


def test_once_per_key() -> None:
    file = plays(gained=on("Tier Changed", by="event.tier") | {"once": True})
    some = [tier("gold"), tier("silver", T + HOUR), tier("gold", T + 2 * HOUR)]
    assert [code for _, code in world(file).feed(*some).run().told()] == ["emitted", "emitted", "duplicate"]


def test_a_type_of_nobodys_schema_can_wake_too() -> None:
    file = plays(spun=on("Spun Around"))
    assert world(file).feed(event(A, "Spun Around", {"any": "thing"}, T)).run().told() == [("spun", "emitted")]


def test_a_trigger_says_all_that_a_marketing_system_needs() -> None:
    file = plays(each=on("Tier Changed") | {"channels": ["email", "sms"], "expires": "2h"})
    told = world(file).feed(*reachable_by_mail(A), tier("gold", T + HOUR)).run()
    (trigger,) = told.triggers
    data = trigger.data
    assert (data.channel, data.channels, data.contact) == (
        "email",
        ["email", "sms"],
        Sealed("email", "kid", f"sealed {A} email"),
    )
    assert (data.consent, data.expires_at) == (["marketing", T - DAY + 1], T + 3 * HOUR)
    assert (data.not_before, data.customer_number, data.reasons) == (T + HOUR, None, {})
    assert (trigger.specversion, trigger.subject, trigger.time) == ("1.0", A, rfc3339(T + HOUR))
    again = world(file).feed(*reachable_by_mail(A), tier("gold", T + HOUR), tier("x", T + 2 * HOUR)).run().triggers
    assert again[0].traceparent == trigger.traceparent != again[1].traceparent
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", trigger.traceparent)


def test_a_trigger_carries_the_customers_own_number_which_no_channel_writes_to() -> None:
    file = plays(each=on("Tier Changed") | {"channels": ["email"], "skips": ["consent"]})
    number = created(A, T - DAY, "member")
    assert world(file).feed(number, tier("gold")).run().told() == [("each", "unreachable")]
    (trigger,) = world(file).feed(number, *reachable_by_mail(A), tier("gold")).run().triggers
    assert trigger.data.customer_number == Sealed("member", "kid", f"sealed {A} member")
    other = config()
    other = msgspec.structs.replace(other, identity=msgspec.structs.replace(other.identity, customer_number=None))
    (trigger,) = World(other, plays=file).feed(number, *reachable_by_mail(A), tier("gold")).run().triggers
    assert trigger.data.customer_number is None


def test_a_message_that_does_not_ask_for_consent_proves_none() -> None:
    file = plays(each=on("Tier Changed") | {"skips": ["consent"]})
    (trigger,) = World(plays=file).feed(created(A, T - DAY, "phone"), tier("gold")).run().triggers
    assert (trigger.data.consent, trigger.data.expires_at) == ([], None)


def test_what_is_missing_is_left_out_of_the_message() -> None:
    file = plays(left=on("Product Added") | {"values": {"cart": "event.cart_id", "worth": "event.value"}})
    told = world(file).feed(carted(A, "cart", T)).run()
    assert [trigger.data.values for trigger in told.triggers] == [{"cart": "cart"}]


def test_a_play_of_several_types() -> None:
    file = plays(seen={"when": {"event": {"event": ["Signed Up", "Tier Changed"]}}})
    assert len(world(file).feed(signed_up(A), tier("gold", T + HOUR), ordered(A, T + HOUR)).run().told()) == 2


# -- counts ------------------------------------------------------------------------------------------------


def counting(times: int = 2, within: str = "1h", **more: Any) -> dict[str, Any]:
    return {"when": {"count": {"of": {"event": "Products Searched"}, "times": times, "within": within, **more}}}


def searched(*minutes: int, results: int = 0, at: int | None = None) -> list[Event]:
    return [
        event(A, "Products Searched", {"query": "x", "results": results}, T + each * MINUTE, at=at) for each in minutes
    ]


def test_a_count_without_a_key_and_its_window() -> None:
    assert world(plays(lost=counting())).feed(*searched(0, 60)).run().told() == []
    assert world(plays(lost=counting())).feed(*searched(0, 59)).run().told() == [("lost", "emitted")]


def test_a_count_with_a_filter() -> None:
    file = plays(lost=counting(of={"event": "Products Searched", "where": "event.results == 0"}))
    assert world(file).feed(*searched(0), *searched(1, results=3)).run().told() == []
    assert world(file).feed(*searched(0), *searched(1, results=3), *searched(2)).run().told() == [("lost", "emitted")]


def test_what_resets_a_count_has_a_filter_too() -> None:
    file = plays(lost=counting(reset={"event": "Order Completed", "where": "event.revenue > 5"}))
    small, large = order("o", T + MINUTE, 5.0), order("o", T + MINUTE, 6.0)
    assert len(world(file).feed(*searched(0), small, *searched(2)).run().told()) == 1
    assert len(world(file).feed(*searched(0), large, *searched(2)).run().told()) == 0


# -- absence -----------------------------------------------------------------------------------------------


def waiting(**more: Any) -> dict[str, Any]:
    after, without = (
        {"event": "Checkout Started", "by": "event.cart_id"},
        {"event": "Order Completed", "by": "event.cart_id"},
    )
    return {"when": {"absence": {"after": after, "without": without, "within": "1h", **more}}}


def checkout(cart: str | None, time: int) -> Event:
    return event(A, "Checkout Started", {} if cart is None else {"cart_id": cart}, time)


def test_many_instances_wait_at_once_and_each_is_ended_by_its_own() -> None:
    some = [checkout("one", T), checkout("two", T + MINUTE), ordered(A, T + 2 * MINUTE, cart="one")]
    told = world(plays(left=waiting())).feed(*some, tick(T + 3 * HOUR)).run()
    assert [each.business_key for each in told.decisions] == ["two"]


def test_what_has_no_key_is_not_waited_for_and_ends_all() -> None:
    some = [checkout(None, T), checkout("one", T), checkout("two", T), ordered(A, T + MINUTE)]
    assert world(plays(left=waiting())).feed(*some, tick(T + 3 * HOUR)).run().told() == []
    assert world(plays(left=waiting())).feed(checkout(None, T), tick(T + 3 * HOUR)).run().told() == []


def test_an_absence_fires_once_and_can_begin_again() -> None:
    told = world(plays(left=waiting())).feed(checkout("one", T), tick(T + 3 * HOUR), tick(T + 4 * HOUR)).run()
    assert len(told.decisions) == 1
    told.feed(checkout("one", T + 5 * HOUR), tick(T + 7 * HOUR)).run()
    assert [each.code for each in told.decisions] == [None, None]


def test_a_wait_for_a_play_that_was_removed_ends_with_that() -> None:
    told = world(plays(left=waiting())).feed(checkout("one", T)).run()
    other = PlayBook(plays(lost=counting()))
    told.books[other.version] = other
    told.feed(Control(T, "plays", "", other.version), tick(T + 3 * HOUR)).run()
    assert told.told() == [("left", "play_removed")]
    assert (told.profile(A).timers, told.profile(A).progress["left"]["one"].due) == ([], 0)


#: After, without, their keys, and minutes.
happenings = st.lists(
    st.tuples(st.booleans(), st.sampled_from(["one", "two", None]), st.integers(0, 30)),
    max_size=10,
    unique_by=lambda each: each[2],
)


def done(some: list[tuple[bool, str | None, int]], book: PlayBook) -> Profile:
    profile = Profile(A)
    for after, cart, minute in some:
        time = T + minute * MINUTE
        made = checkout(cart, time) if after else event(A, "Order Completed", {"order_id": "o", "cart_id": cart}, time)
        late = msgspec.structs.replace(made, at=T + 31 * MINUTE)
        body = msgspec.json.decode(late.data, type=TYPES[late.type][1])
        fold.fold(profile, late, body)
        progress.observe(profile, late, body, book)
    return profile


@given(happenings, st.randoms())
@thorough
def test_an_absence_goes_by_event_time(some: list[tuple[bool, str | None, int]], chance: random.Random) -> None:
    """Whatever the order of arrival: waited for is a cart whose latest checkout no order of it has followed."""
    book = PlayBook(plays(left=waiting()))
    shuffled = chance.sample(some, len(some))
    expected = {}
    for cart in ("one", "two"):
        begun = max([minute for after, each, minute in some if after and each == cart], default=-1)
        ended = max([minute for after, each, minute in some if not after and each in (cart, None)], default=-1)
        if begun > ended:
            expected[f"left\x1f{cart}"] = T + begun * MINUTE + HOUR
    for profile in (done(some, book), done(shuffled, book)):
        assert {timer.key: timer.due for timer in profile.timers} == expected


@given(happenings, st.randoms())
@thorough
def test_a_count_goes_by_event_time(some: list[tuple[bool, str | None, int]], chance: random.Random) -> None:
    """Whatever the order of arrival: counted are the checkouts of a cart since its latest order."""
    of, reset = (
        {"event": "Checkout Started", "by": "event.cart_id"},
        {"event": "Order Completed", "by": "event.cart_id"},
    )
    book = PlayBook(plays(many={"when": {"count": {"of": of, "times": 20, "within": "1d", "reset": reset}}}))
    for order in (some, chance.sample(some, len(some))):
        counted = done(order, book).progress.get("many", {})
        for cart in ("one", "two"):
            ended = max([minute for after, each, minute in some if not after and each in (cart, None)], default=-1)
            times = [T + minute * MINUTE for after, each, minute in some if after and each == cart and minute > ended]
            assert (counted[cart].times if cart in counted else ()) == tuple(sorted(times))


def test_what_a_play_follows_is_bounded_and_what_ended_all_is_not_forgotten() -> None:
    book = PlayBook(plays(left=waiting()))
    some = [(False, None, 0), *[(True, f"cart{n}", 1) for n in range(KEPT_KEYS + 5)]]
    profile = done(some, book)
    assert len(profile.progress["left"]) == KEPT_KEYS
    assert len(profile.timers) == KEPT_KEYS - 1
    assert profile.progress["left"][""].ended == T


def test_what_is_long_over_is_forgotten() -> None:
    file = plays(thrice={"when": {"count": {
        "of": {"event": "Product Viewed", "by": "event.product.sku"}, "times": 3, "within": "7d",
        "reset": {"event": "Order Completed", "by": "event.skus"},
    }}})  # fmt: skip
    some = [viewed(A, f"tea{n}", T) for n in range(CROWDED - 1)]
    told = world(file).feed(*some, ordered(A, T, "cup"), viewed(A, "mug", T + 9 * DAY)).run()
    assert list(told.profile(A).progress["thrice"]) == ["mug"]


# -- delay and silence -------------------------------------------------------------------------------------


def test_each_touchpoint_waits_for_itself() -> None:
    file = plays(care={"when": {"delay": {"after": {"event": "Order Completed"}, "wait": "3d"}}})
    some = [order("one", T, 1.0), order("two", T + DAY, 1.0)]
    told = world(file).feed(*some, tick(T + 3 * DAY - 1)).run()
    assert told.told() == []
    assert told.feed(tick(T + 3 * DAY)).run().told() == [("care", "emitted")]
    told.feed(tick(T + 5 * DAY)).run()
    assert [each.touchpoint for each in told.decisions] == [each.eid for each in some]


def test_of_those_with_one_key_the_latest_waits() -> None:
    when = {"delay": {"after": {"event": "Order Completed", "by": "event.skus"}, "wait": "3d"}}
    file = plays(again={"when": when, "values": {"sku": "key"}})
    some = [order("one", T, 1.0, "tea", "cup"), order("two", T + DAY, 1.0, "tea")]
    told = world(file).feed(*some, tick(T + 3 * DAY), tick(T + 4 * DAY)).run()
    assert [(each.business_key, each.at) for each in told.decisions] == [("cup", T + 3 * DAY), ("tea", T + 4 * DAY)]
    assert [each.data.values for each in told.triggers] == [{"sku": "cup"}, {"sku": "tea"}]


def test_who_has_been_silent_for_so_long_is_told_once() -> None:
    file = plays(back={"when": {"silence": {"of": {"event": "Order Completed"}, "wait": "30d"}}})
    told = world(file).feed(order("one", T, 1.0), order("two", T + 20 * DAY, 1.0), viewed(A, "tea", T + 40 * DAY))
    assert told.feed(tick(T + 50 * DAY - 1)).run().told() == []
    assert told.feed(tick(T + 50 * DAY), tick(T + 99 * DAY)).run().told() == [("back", "emitted")]
    told.feed(order("three", T + 100 * DAY, 1.0), tick(T + 131 * DAY)).run()
    assert len(told.told()) == 2


# -- who, and limits ---------------------------------------------------------------------------------------


def test_who_is_asked_of_the_profile_when_it_is_decided() -> None:
    file = plays(left=waiting() | {"who": "profile.tier == 'gold'"})
    assert world(file).feed(checkout("one", T), tick(T + 2 * HOUR)).run().told() == [("left", "filter")]
    told = world(file).feed(checkout("one", T), tier("gold", T + 1), tick(T + 2 * HOUR)).run()
    assert told.told() == [("left", "emitted")]


def test_consent_is_asked_before_who_and_who_before_duplicates() -> None:
    file = plays(each=on("Tier Changed") | {"who": "profile.tier == 'gold'", "once": True})
    assert World(plays=file).feed(tier("silver")).run().told() == [("each", "no_consent")]
    told = world(file).feed(tier("gold"), tier("silver", T + HOUR), tier("gold", T + 2 * HOUR)).run()
    assert [code for _, code in told.told()] == ["emitted", "filter", "duplicate"]


def test_a_cap_of_one_channel_leaves_the_others() -> None:
    caps = [{"messages": 9, "within": "7d"}, {"messages": 1, "within": "7d", "channel": "sms"}]
    file = plays({"caps": caps}, each=on("Tier Changed") | {"channels": ["sms", "email"]})
    both = [*reachable(A, T - DAY), *reachable_by_mail(A)]
    some = [tier(f"tier{n}", T + n * HOUR) for n in range(2)]
    told = World(plays=file).feed(*both, *some).run()
    assert [trigger.data.channel for trigger in told.triggers] == ["sms", "email"]
    alone = world(file).feed(*some).run()
    assert [code for _, code in alone.told()] == ["emitted", "frequency_cap"]


def reachable_by_mail(customer: str) -> list[Any]:
    return [created(customer, T - DAY, "email", version=2), consented(customer, T - DAY + 1, email=True)]


def test_a_cap_of_one_category_counts_that_alone() -> None:
    caps = [{"messages": 9, "within": "7d"}, {"messages": 1, "within": "7d", "category": "service"}]
    file = plays(
        {"caps": caps}, served=on("Tier Changed") | {"category": "service"}, sold=on("Signed Up", by="event.country")
    )
    some = [signed_up(A), tier("one", T + HOUR), tier("two", T + 2 * HOUR), signed_up(A, T + 3 * HOUR)]
    assert world(file).feed(*some).run().told() == [
        ("sold", "emitted"), ("served", "emitted"), ("served", "frequency_cap"), ("sold", "emitted"),
    ]  # fmt: skip


def test_start_within_is_configured() -> None:
    late = signed_up(A, T, at=T + 2 * HOUR)
    for within, told in (("1h", "too_old"), ("2h", "emitted")):
        file = plays({"start_within": within, "caps": []}, hello=on("Signed Up"))
        assert world(file).feed(late).run().told() == [("hello", told)]


# -- the score ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("band", "crossings"),
    [
        ({"rises_to": "high"}, {("low", "high"), ("medium", "high")}),
        ({"rises_to": "medium"}, {("low", "medium"), ("low", "high")}),
        ({"falls_to": "medium"}, {("high", "medium"), ("high", "low")}),
        ({"falls_to": "low"}, {("high", "low"), ("medium", "low")}),
    ],
)
def test_a_band_is_crossed_from_one_side(band: dict[str, str], crossings: set[tuple[str, str]]) -> None:
    play = PlayBook(plays(score={"when": {"score": band}})).plays["score"]
    assert play.band is not None
    levels = ("", "low", "medium", "high")
    found = {(old, new) for old in levels for new in levels[1:] if crossed(play.band, old, new)}
    assert found == crossings


# -- control records -----------------------------------------------------------------------------------------


def test_before_any_were_put_in_force_there_are_no_plays() -> None:
    told = world(plays(hello=on("Signed Up")))
    for shard in told.shards:
        shard.state.plays = ""
    assert told.feed(signed_up(A), tick(T + DAY)).run().told() == []
    assert told.counts["applied"] > 0


def test_plays_are_in_force_from_a_point_of_the_log_on() -> None:
    told = world(plays(one=on("Tier Changed")))
    other = PlayBook(plays(two=on("Tier Changed")))
    told.books[other.version] = other
    told.feed(tier("a"), Control(T, "plays", "", other.version), tier("b", T + HOUR)).run(batch=100)
    assert [(each.play, each.play_version) for each in told.decisions] == [
        ("one", next(iter(told.books))), ("two", other.version),
    ]  # fmt: skip


def test_what_is_counted_and_waited_for_goes_on_under_new_plays() -> None:
    told = world(plays(left=waiting(), lost=counting(times=3))).feed(checkout("one", T), *searched(0, 1)).run()
    other = PlayBook(
        plays(left=waiting() | {"channels": ["email", "sms"]}, lost=counting(times=3), more=on("Signed Up"))
    )
    told.books[other.version] = other
    told.feed(Control(T, "plays", "", other.version), *searched(2), tick(T + 2 * HOUR)).run()
    assert [(each.play, each.play_version, each.code) for each in told.decisions] == [
        ("lost", other.version, None), ("left", other.version, None),
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["each", EVERY])
def test_a_paused_play_is_stopped_and_goes_on_when_it_is_resumed(key: str) -> None:
    told = world(plays(each=on("Tier Changed"), left=waiting()))
    told.feed(checkout("one", T), tier("a"), Control(T, "pause", key), tier("b", T + HOUR), tick(T + 2 * HOUR))
    told.feed(Control(T, "resume", key), tier("c", T + 3 * HOUR)).run()
    assert [(each.play, each.code) for each in told.decisions] == [
        ("each", None), ("each", "paused"), ("left", "paused" if key == EVERY else None), ("each", None),
    ]  # fmt: skip
    assert told.state(0).paused == []


def test_all_are_resumed_whatever_was_paused() -> None:
    told = world(plays(each=on("Tier Changed")))
    told.feed(*[Control(T, "pause", key) for key in ("each", EVERY, "each")]).run()
    assert told.state(0).paused == [EVERY, "each"]
    assert told.feed(Control(T, "resume", "each"), tier("a")).run().told() == [("each", "paused")]
    assert told.feed(Control(T, "resume", EVERY)).run().state(0).paused == []


# -- the index ---------------------------------------------------------------------------------------------


def test_a_touchpoint_costs_only_the_plays_that_could_react() -> None:
    many = {f"play{n}": on("Tier Changed") for n in range(500)}
    book = PlayBook(plays(hello=on("Signed Up"), **many))
    assert [reaction.play.name for reaction in book.reactions["Signed Up"]] == ["hello"]
    assert "Product Viewed" not in book.reactions


def test_two_customers_have_progress_of_their_own() -> None:
    file = plays(lost=counting())
    other = [msgspec.structs.replace(each, customer=B, eid=each.eid[::-1]) for each in searched(1)]
    assert world(file, A, B).feed(*searched(0), *other).run().told() == []


def test_what_ends_many_keys_at_once_is_bounded_too() -> None:
    of = {"event": "Product Viewed", "by": "event.product.sku"}
    reset = {"event": "Order Completed", "by": "event.skus"}
    file = plays(seen={"when": {"count": {"of": of, "times": 3, "within": "7d", "reset": reset}}})
    for many in range(KEPT_KEYS + 1, KEPT_KEYS + CROWDED + 1):
        told = world(file).feed(ordered(A, T, *[f"sku{n}" for n in range(many)])).run()
        assert len(told.profile(A).progress["seen"]) == KEPT_KEYS
