"""The plays, end to end through the pure core: what starts them, what stops them, and that nothing vanishes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.fold import KEPT_CARTS
from operators.progress import KEPT_KEYS
from schemas.config import Limits
from schemas.outputs import Sealed
from schemas.stitched import Change, Event, Record
from schemas.touchpoint import TYPES
from state.profile import unpack
from tests.effort import examples
from tests.engage_helpers import (
    DAY,
    MINUTE,
    SECOND,
    A,
    B,
    C,
    T,
    World,
    activate,
    capped,
    carted,
    config,
    consented,
    constant_model,
    created,
    event,
    ordered,
    reachable,
    replayed,
    signed_up,
    tick,
    token,
    viewed,
    views_of,
)


def ready() -> World:
    """A world in which customer A can be written to."""
    return World().feed(*reachable(A, T - DAY))


# -- welcome -----------------------------------------------------------------------------------------------


def test_who_signs_up_is_welcomed_on_the_channel_he_allowed() -> None:
    world = ready().feed(signed_up(A)).run()
    (trigger,), (decision,) = world.triggers, world.decisions
    assert (decision.play, decision.outcome, decision.channel, decision.code) == ("welcome", "emitted", "sms", None)
    assert trigger.id == decision.id and trigger.subject == A
    assert trigger.type == "touchstream.trigger.welcome"
    assert trigger.time == "2025-10-09T08:53:20.000Z"
    assert trigger.data.contact == Sealed("phone", "kid", f"sealed {A} phone")
    assert trigger.data.touchpoint == decision.touchpoint == signed_up(A).eid
    assert (trigger.data.touchpoint_time, trigger.data.touchpoint_ts, trigger.data.decided_at) == (T, T + 1, T)
    profile = world.profile(A)
    assert (profile.language, profile.country) == ("zh", "CN")
    assert world.counts["decision/welcome/emitted"] == 1


def test_nobody_is_welcomed_twice() -> None:
    world = ready().feed(signed_up(A), signed_up(A, T + MINUTE)).run()
    assert world.told() == [("welcome", "emitted"), ("welcome", "duplicate")]
    assert world.decisions[0].id == world.decisions[1].id


def test_latency_is_measured_from_the_brokers_time_and_from_the_touchpoints_own() -> None:
    world = ready()
    shard = world.shards[0]
    world.feed(signed_up(A)).step(0, batch=2)
    world.engage.apply(shard, signed_up(A), b"")
    assert shard.started == [(T + 1, T)]


# -- third view --------------------------------------------------------------------------------------------


def views(*minutes: int, sku: str = "tea") -> list[Event]:
    return [viewed(A, sku, T + minute * MINUTE) for minute in minutes]


def test_the_third_view_starts_the_play_and_begins_to_count_anew() -> None:
    world = ready().feed(*views(0, 1, 2, 3, 4)).run()
    assert world.told() == [("repeat_view", "emitted")]
    (trigger,) = world.triggers
    assert trigger.data.business_key == "tea"
    assert trigger.data.values == {"sku": "tea", "views": 3}
    assert len(views_of(world.profile(A))) == 2


def test_views_of_different_products_do_not_add_up() -> None:
    assert ready().feed(*views(0, 1), *views(2, 3, sku="mug")).run().told() == []


def test_an_order_of_the_product_resets_its_views() -> None:
    bought, other = ordered(A, T + 2 * MINUTE, "tea"), ordered(A, T + 2 * MINUTE, "mug")
    assert ready().feed(*views(0, 1), bought, *views(3, 4)).run().told() == []
    assert ready().feed(*views(0, 1), other, *views(3)).run().told() == [("repeat_view", "emitted")]


def test_views_count_within_seven_days() -> None:
    assert ready().feed(*views(0, 1), viewed(A, "tea", T + 7 * DAY + MINUTE)).run().told() == []
    assert len(ready().feed(*views(0, 1), viewed(A, "tea", T + 7 * DAY - 1)).run().told()) == 1


def test_late_views_count_in_any_order_but_do_not_start_the_play() -> None:
    first, second, third = views(0, 1, 2)
    assert len(ready().feed(second, third, first).run().told()) == 1
    late = viewed(A, "tea", T - 61 * MINUTE, at=T + 2 * MINUTE)
    world = ready().feed(first, second, late).run()
    assert world.told() == []
    assert len(world.feed(*views(3)).run().told()) == 1


# -- abandoned cart ----------------------------------------------------------------------------------------

HALF_AN_HOUR = 30 * MINUTE


def test_a_cart_left_for_half_an_hour_starts_the_play_on_a_tick_only() -> None:
    world = ready().feed(carted(A, "cart", T, 19.9)).run()
    world.feed(event(A, "Page Viewed", {}, T + DAY), tick(T + HALF_AN_HOUR - 1, at=T + DAY)).run()
    assert world.told() == []
    world.feed(tick(T + HALF_AN_HOUR, at=T + DAY + 1), tick(T + HALF_AN_HOUR), tick(T + DAY)).run()
    assert world.told() == [("cart_abandoned", "emitted")]
    (trigger,) = world.triggers
    assert trigger.data.values == {"value": 19.9}
    assert (trigger.data.touchpoint_time, trigger.data.touchpoint_ts) == (T, 0)
    assert (trigger.data.business_key, trigger.data.decided_at) == ("cart", T + DAY + 1)
    assert world.timers == [{}, {}, {}, {}]


def test_a_change_of_the_cart_starts_the_half_hour_anew() -> None:
    world = ready().feed(carted(A, "cart", T, 10.0), carted(A, "cart", T + MINUTE))
    assert world.feed(tick(T + HALF_AN_HOUR)).run().told() == []
    world.feed(tick(T + HALF_AN_HOUR + MINUTE)).run()
    assert [trigger.data.values for trigger in world.triggers] == [{"value": 10.0}]


def test_an_older_change_of_a_cart_that_comes_late_changes_nothing() -> None:
    world = ready().feed(carted(A, "cart", T, 10.0), carted(A, "cart", T - MINUTE, 5.0, at=T)).run()
    assert (world.profile(A).carts["cart"].time, world.profile(A).carts["cart"].value) == (T, 1_000)


def test_looking_at_a_cart_or_one_without_an_id_is_no_cart() -> None:
    looked = event(A, "Cart Viewed", {"cart_id": "cart"}, T)
    nameless = event(A, "Product Added", {"product": {"sku": "tea"}}, T)
    assert ready().feed(looked, nameless).run().profile(A).carts == {}


@pytest.mark.parametrize("batch", [1, 100])
def test_an_order_cancels_the_reminder(batch: int) -> None:
    ends: list[list[Record]] = [
        [carted(A, "cart", T), ordered(A, T + MINUTE)],
        [ordered(A, T), carted(A, "cart", T - MINUTE, at=T)],
        [ordered(A, T), carted(A, "cart", T)],
        [carted(A, "one", T), carted(A, "two", T + 1), ordered(A, T + MINUTE)],
    ]
    for records in ends:
        world = ready().feed(*records, tick(T + DAY)).run(batch)
        assert world.told() == []
        assert world.profile(A).carts == {}


def test_what_an_order_does_not_end_is_reminded_of() -> None:
    before, cancelled = ordered(A, T - MINUTE, at=T), event(A, "Order Cancelled", {"order_id": "o"}, T)
    world = ready().feed(before, carted(A, "one", T), cancelled, carted(A, "two", T + 1), tick(T + DAY)).run()
    assert world.told() == [("cart_abandoned", "emitted"), ("cart_abandoned", "cool_down")]


def test_a_cart_after_an_order_of_another_is_reminded_of() -> None:
    world = ready().feed(carted(A, "one", T), ordered(A, T + 1), carted(A, "two", T + 2), tick(T + DAY)).run()
    assert [decision.business_key for decision in world.decisions] == ["two"]


def test_of_many_carts_the_oldest_is_given_up() -> None:
    world = ready().feed(*(carted(A, f"cart{n}", T + n) for n in range(KEPT_KEYS + 2))).run()
    followed = sorted(f"cart{n}" for n in range(2, KEPT_KEYS + 2))
    assert sorted(world.profile(A).progress["cart_abandoned"]) == followed
    assert sorted(timer.key.partition("\x1f")[2] for timer in world.profile(A).timers) == followed
    assert len(world.profile(A).carts) == KEPT_CARTS


def test_a_tick_fires_a_limited_number_and_the_next_one_the_rest() -> None:
    world = World(config(limits=Limits(timers_per_tick=2)), cached=1)
    crowd = [f"customer-{n}" for n in range(40)]
    world.feed(*(carted(customer, "cart", T) for customer in crowd))
    world.feed(tick(T + DAY)).run(batch=3)
    assert len(world.decisions) == 8
    for n in range(10):
        world.feed(tick(T + DAY + n)).run()
    assert sorted(decision.customer for decision in world.decisions) == sorted(crowd)


# -- consent, limits, codes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "code"),
    [
        ([], "no_consent"),
        ([created(A, T, "phone")], "no_consent"),
        ([created(A, T, "phone"), consented(A, T, sms=True), consented(A, T + 1, sms=False)], "no_consent"),
        ([created(A, T, "phone"), consented(A, T, sms=True), consented(A, T, sms=False)], "no_consent"),
        ([created(A, T, "phone"), consented(A, T, sms=False), consented(A, T, sms=True)], "no_consent"),
        (
            [
                created(A, T, "phone"),
                consented(A, T, sms=True),
                event(A, "Unsubscribed", {"channel": "sms"}, T + 1),
                event(A, "Message Opened", {"channel": "sms"}, T + 1),
            ],
            "no_consent",
        ),
        ([created(A, T), consented(A, T, sms=True)], "unreachable"),
        ([created(A, T, "phone"), consented(A, T, email=True)], "unreachable"),
        ([consented(A, T, sms=True, email=True), created(A, T, "email")], "emitted"),
        ([created(A, T, "phone"), consented(A, T + 1, sms=True), consented(A, T, sms=False, at=T + 1)], "emitted"),
    ],
)
def test_consent_and_reach(before: list[Record], code: str) -> None:
    assert World().feed(*before, signed_up(A, T + MINUTE)).run().told() == [("welcome", code)]


def test_a_play_cools_down() -> None:
    later, much_later = T + 14 * DAY - 1, T + 14 * DAY + 2 * MINUTE
    world = ready().feed(*views(0, 1, 2)).run()
    world.feed(*(viewed(A, "mug", later + n) for n in range(3)), *(viewed(A, "cup", much_later + n) for n in range(3)))
    codes = [code for _, code in world.run().told()]
    assert codes == ["emitted", "cool_down", "emitted"]


def test_all_plays_share_one_frequency_cap() -> None:
    world = World(plays=capped(2, "1d")).feed(*reachable(A, T - DAY))
    world.feed(signed_up(A), *views(1, 2, 3), carted(A, "one", T + 4 * MINUTE), tick(T + DAY - 1))
    world.feed(carted(A, "two", T + DAY), tick(T + 2 * DAY))
    assert world.run().told() == [
        ("welcome", "emitted"),
        ("repeat_view", "emitted"),
        ("cart_abandoned", "frequency_cap"),
        ("cart_abandoned", "emitted"),
    ]


def test_what_is_too_old_starts_nothing() -> None:
    now, old = T + 60 * MINUTE + 1, [signed_up(A, T, at=T + 60 * MINUTE + 1)]
    old += [viewed(A, "tea", T - n, at=now) for n in range(3)] + [carted(A, "cart", T, at=now)]
    world = ready().feed(*old, tick(T + DAY)).run()
    assert world.told() == [("welcome", "too_old")]
    assert world.counts["applied"] == len(old) + 1
    assert ready().feed(signed_up(A, T, at=now - 1)).run().told() == [("welcome", "emitted")]


# -- the record as such ------------------------------------------------------------------------------------


def test_an_event_counts_once() -> None:
    world = ready().feed(signed_up(A), signed_up(A), ordered(A, T), ordered(A, T, at=T + DAY)).run()
    assert (world.counts["applied"], world.counts["duplicates"]) == (3, 2)
    assert world.profile(A).behaviour.orders == 1


def test_duplicates_are_known_among_the_last_64() -> None:
    events = [event(A, "Page Viewed", {}, T + n) for n in range(65)]
    world = World().feed(*events, events[1], events[0]).run()
    assert (world.counts["applied"], world.counts["duplicates"]) == (66, 1)


def test_an_unknown_type_is_applied_and_its_consent_too() -> None:
    world = World().feed(event(A, "Spun Around", {"any": "thing"}, T, consent={"sms": True})).run()
    assert world.counts == {"applied": 1, "customers": 1}
    assert world.profile(A).consent == {"sms/marketing": (True, T)}


def test_the_clock_is_the_highest_time_seen() -> None:
    world = ready().feed(event(A, "Page Viewed", {}, T + DAY), signed_up(A)).run()
    assert world.decisions[0].at == T + DAY == world.state(0).at
    assert world.feed(tick(T, at=T + 2 * DAY)).run().state(3).at == T + 2 * DAY


def test_what_kafka_has_already_is_not_written_again() -> None:
    world = World(floor=3).feed(*reachable(A, T), signed_up(A)).feed(*views(0, 1, 2)).run()
    assert world.told() == [("repeat_view", "emitted")]
    assert world.counts["decision/welcome/emitted"] == 1
    assert {output.offset for output in world.everything() if output.topic != "ts.kpi.partials"} == {5}
    assert {output.offset for output in world.everything()} == {4, 5}, "what the second before had counted"


def test_a_control_record_that_nobody_knows_is_let_pass() -> None:
    control = msgspec.structs.replace(activate("hash"), what="weather")
    assert World().feed(control).run().state(0).models == {}


def test_identifiers_join_once_and_their_addresses_are_the_newest() -> None:
    first, again = created(A, T, "phone"), created(A, T, "phone", version=9)
    newer = created(A, T + DAY, "phone", "email")
    older = msgspec.structs.replace(created(A, T - DAY, "phone", "wechat_openid"), at=T + DAY)
    world = World().feed(first, again, newer, older).run()
    profile = world.profile(A)
    assert sorted(name.partition(":")[0] for name in profile.ids) == ["device", "email", "phone", "wechat_openid"]
    assert profile.contacts["phone"].time == T + DAY
    changes = world.written("ts.identity.changes")
    assert [change.customer for change in changes] == [A, A, A]
    assert changes[0].touchpoint == token("first")


def test_a_profile_is_small() -> None:
    """The design asks for 1.5 KB of a typical customer; this one has looked at more than most."""
    world = World().feed(created(A, T, "phone", "email", "wechat_openid"), consented(A, T, sms=True, email=True))
    for week in range(30):
        at = T + week * 7 * DAY
        world.feed(*(viewed(A, f"sku-{week}-{n}", at + n * MINUTE) for n in range(3)), carted(A, token(f"{week}"), at))
        world.feed(ordered(A, at + MINUTE, f"sku-{week}-0"), tick(at + DAY))
    world.run()
    raw = world.entities["c:" + A]
    assert len(world.profile(A).seen) == 640
    assert len(raw) < 1_600
    assert unpack(msgspec.msgpack.encode(msgspec.msgpack.decode(raw)[:7])).customer == A


# -- any log ------------------------------------------------------------------------------------------------

_BODIES: dict[str, dict[str, Any]] = {
    "view": {"product": {"sku": "tea"}},
    "search": {"query": ""},
    "cart": {"cart_id": "cart", "value": 5.0},
    "order": {"order_id": "o", "revenue": 7.5, "lines": [{"sku": "tea", "quantity": 2}]},
    "refund": {"order_id": "o", "amount": 1.5},
    "message": {"channel": "sms"},
    "service": {"ticket_id": "t"},
    "loyalty": {"points": 5, "tier": "gold"},
    "wish": {"product": {"sku": "tea"}},
    "product": {"sku": "tea", "stock": 3, "price": 2.5},
}

moments = st.integers(0, 60 * DAY).map(lambda ms: T + ms)


@st.composite
def events(draw: st.DrawFn, customers: str = A + " " + B + " " + C + " product:tea") -> Event:
    kind = draw(st.sampled_from([*TYPES, "Something New"]))
    data = _BODIES.get(TYPES[kind][0], {}) if kind in TYPES else {}
    time = draw(moments)
    consent = {"sms": draw(st.booleans())} if kind == "Consent Changed" else None
    return event(
        draw(st.sampled_from(customers.split())),
        kind,
        data,
        time,
        at=time + draw(st.sampled_from([0, 0, 0, SECOND, DAY])),
        eid=token(f"event {draw(st.integers(0, 40))}"),
        consent=consent,
    )


merges = st.tuples(st.sampled_from([(A, B), (B, A), (B, C), (C, A), (A, C)]), st.integers(1, 2))
others = st.one_of(
    st.builds(tick, moments),
    st.builds(created, st.sampled_from([A, B, C]), moments, st.sampled_from(["phone", "email"])),
    st.sampled_from(["warm", "cold"]).map(activate),
)
logs = st.lists(st.one_of(events(), events(), others, merges), max_size=40)


def lived(log: list[Any], limits: Limits | None = None) -> World:
    """Feed a random log; merges get rising versions, and old ones come once more at the end."""
    world = World(config(limits=limits), cached=1)
    world.models.update(warm=constant_model(3.0, "warm"), cold=constant_model(-3.0, "cold"))
    told: list[tuple[str, str, int]] = []
    for version, record in enumerate(log, 1):
        if isinstance(record, tuple):
            (old, new), times = record
            told.append((old, new, version))
            world.merge(old, new, version, at=T, times=times)
        else:
            world.feed(record)
    for old, new, version in told[:2]:
        world.merge(old, new, version)
    return world


def fed(world: World, log: list[Any]) -> int:
    return sum(isinstance(record, Event) for record in log)


@given(logs, st.integers(1, 7), st.sampled_from([1, 3, 1_000]))
@settings(max_examples=examples(150), deadline=None)
def test_the_account_of_any_log_closes(log: list[Any], batch: int, park_records: int) -> None:
    world = lived(log, Limits(park_records=park_records)).run(batch)
    assert world.counts["applied"] + world.counts["duplicates"] + world.parked() == fed(world, log)
    emitted = [decision.id for decision in world.decisions if decision.outcome == "emitted"]
    assert len(emitted) == len(set(emitted)) == len(world.triggers)


@given(logs, st.lists(st.integers(1, 9), max_size=8))
@settings(max_examples=80, deadline=None)
def test_the_same_log_gives_the_same_bytes_however_it_is_split(log: list[Any], splits: list[int]) -> None:
    world = lived(log).run(batch=3)
    again = replayed(world, splits)
    assert again.outputs == world.outputs
    assert again.counts == world.counts
    assert again.timers == world.timers
    assert again.entities == world.entities


@given(logs)
@settings(max_examples=50, deadline=None)
def test_stored_timers_are_those_of_the_profiles(log: list[Any]) -> None:
    """The index is exact: an entry too many would fire for ever, one too few never."""
    world = lived(log).run(batch=2)
    due = {key[2:]: unpack(value) for key, value in world.entities.items() if key.startswith("c:")}
    expected = {
        customer: min(park.until for park in profile.parks)
        if profile.parks
        else min(timer.due for timer in profile.timers)
        for customer, profile in due.items()
        if profile.parks or profile.timers
    }
    found = {customer: due for timers in world.timers for customer, due in timers.items()}
    assert found == expected


def test_a_change_is_not_a_touchpoint() -> None:
    world = World().feed(Change(T, token("x"), "linked", A, 1, T, ["device:x"])).run()
    assert world.counts == {"identity_linked": 1, "customers": 1}
