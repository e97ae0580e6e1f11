"""Windows and segments through the whole core: who is in is who the raw history says, whatever merges, splits, time and
definitions do; and what is told of it adds up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import playfile
from operators import reasons
from operators.playbook import PlayBook
from operators.scope import CHANGED_BY, PROFILE, SCORED
from operators.standing import standing
from operators.windows import sized
from schemas.outputs import SegmentChange
from schemas.plays import PlayFile
from schemas.stitched import Change, Control, Event, Visit
from schemas.touchpoint import TYPES
from state.profile import Profile
from tests.effort import examples
from tests.engage_helpers import (
    DAY,
    MINUTE,
    A,
    B,
    C,
    T,
    World,
    activate,
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
)
from tests.test_undo import id_of, shown, split

HOUR = 60 * MINUTE
REGULAR = "window.orders_90d >= 2 and window.orders_30d == 0"
WINDOWS: dict[str, dict[str, Any]] = {
    "orders_90d": {"of": {"event": "Order Completed"}, "within": "90d", "exact": 10},
    "orders_30d": {"of": {"event": "Order Completed"}, "within": "30d"},
    "spent_30d": {"of": {"event": "Order Completed"}, "within": "30d", "sum": "event.revenue"},
    "views_7d": {"of": {"event": "Product Viewed", "where": "event.product.sku != 'dull'"}, "within": "7d"},
}


def plays(segments: dict[str, str], windows: dict[str, Any] | None = None, **written: dict[str, Any]) -> PlayFile:
    """A file of these segments and plays; those sent by SMS and hardly cooling down."""
    tree: dict[str, Any] = {
        "windows": WINDOWS if windows is None else windows,
        "segments": {name: {"who": who} for name, who in segments.items()},
        "plays": {name: {"channels": ["sms"], "cool_down": "1m"} | play for name, play in written.items()},
        "limits": {"caps": []},
    }
    return playfile.parse(yaml.safe_dump(tree).encode(), "plays.yaml")


def world(file: PlayFile, *customers: str) -> World:
    return World(plays=file).feed(*[each for one in customers or (A,) for each in reachable(one, T - 200 * DAY)])


def told(world: World, customer: str | None = None) -> list[tuple[str, str, str, int]]:
    """What was written of segments: segment, change, reason, at."""
    changes: list[SegmentChange] = world.written("ts.segments")
    return [(each.segment, each.change, each.reason, each.at) for each in changes if customer in (None, each.customer)]


def members(world: World, customer: str) -> set[str]:
    """The segments that a customer is in, by what was told; that must be what its profile says."""
    found: set[str] = set()
    for name, change, _, _ in told(world, customer):
        assert (name in found) == (change == "left"), "what is told does not add up"
        (found.add if change == "entered" else found.remove)(name)
    assert found == {name for name, since in world.profile(customer).segments.items() if since > 0}
    return found


def apply(world: World, file: PlayFile, at: int) -> World:
    book = PlayBook(file)
    world.books[book.version] = book
    return world.feed(Control(at, "plays", "", book.version))


# -- entering and leaving ------------------------------------------------------------------------------------


def test_time_lets_in_and_out_to_the_millisecond() -> None:
    file = plays({"cooling": REGULAR}, {**WINDOWS, "orders_30d": WINDOWS["orders_30d"] | {"exact": 5}})
    told_of = world(file).feed(ordered(A, T), ordered(A, T + DAY))
    for at in (T + 31 * DAY - 1, T + 31 * DAY, T + 90 * DAY - 1, T + 90 * DAY):
        told_of.feed(tick(at))
    assert told(told_of.run()) == [
        ("cooling", "entered", "time", T + 31 * DAY),
        ("cooling", "left", "time", T + 90 * DAY),
    ]


def test_a_touchpoint_lets_in_within_its_batch_and_says_which() -> None:
    file = plays({"buyer": "profile.orders > 0"})
    order = ordered(A, T)
    (change,) = world(file).feed(order).run().written("ts.segments")
    assert change == SegmentChange(
        A, "buyer", "entered", T, "touchpoint", PlayBook(file).version, "Order Completed", order.eid
    )


def test_who_is_in_since_the_first_touchpoint_is_in_by_it() -> None:
    assert told(World(plays=plays({"new": "profile.orders == 0"})).feed(viewed(A, "tea", T)).run()) == [
        ("new", "entered", "touchpoint", T)
    ]


def test_a_new_score_lets_in_and_out() -> None:
    model = constant_model(9.0, "sure")
    told_of = world(plays({"leaving": "profile.churn_score > 0.99"}))
    told_of.models["sure"] = model
    told_of.feed(ordered(A, T), activate("sure", T + 1), tick(T + 8 * DAY)).run()
    assert told(told_of) == [("leaving", "entered", "score", T + 8 * DAY)]


def test_a_definition_that_a_new_score_finds_is_told_as_such() -> None:
    told_of = world(plays({})).feed(ordered(A, T))
    apply(told_of, plays({"buyer": "profile.orders > 0", "scored": "profile.churn_score >= 0"}), T + 1)
    told_of.feed(tick(T + 8 * DAY)).run()
    assert told(told_of) == [(name, "entered", "definition", T + 8 * DAY) for name in ("buyer", "scored")]


def test_products_are_in_no_segment() -> None:
    stock = event("product:tea", "Stock Changed", {"sku": "tea", "stock": 3}, T)
    assert told(World(plays=plays({"new": "profile.orders == 0"})).feed(stock).run()) == []


def test_without_segments_a_profile_holds_nothing_of_them() -> None:
    profile = World().feed(ordered(A, T), ordered(B, T + 1)).merge(A, B, 3, T + 2).run().profile(B)
    assert (profile.windows, profile.segments, profile.judged, profile.unsettled) == ({}, {}, "", "")


@pytest.mark.parametrize("name", sorted(CHANGED_BY.keys() & PROFILE.keys()))
def test_what_is_read_changes_by_no_other_touchpoints_than_is_said(name: str) -> None:
    """Of each type one that says a lot, folded into a customer who has done much."""
    said: dict[str, Any] = {
        "order_id": "o", "revenue": 5.0, "amount": 3.0, "value": 8.0, "cart_id": "c", "product": {"sku": "tea"},
        "lines": [{"sku": "tea", "quantity": 2}], "query": "x", "channel": "sms", "language": "fr", "country": "FR",
        "timezone": "Europe/Paris", "ticket_id": "t", "points": 7, "tier": "gold", "sku": "tea", "stock": 1,
        "price": 2.0, "url": "x", "satisfaction": 1, "message_id": "m",
    }  # fmt: skip
    read = PlayBook(plays({}, {}, x={"when": {"event": {"event": "Signed In"}}, "who": f"known({name})", "values": {}}))
    who = read.plays["x"].who
    assert who is not None
    before = world(plays({}), A).feed(ordered(A, T, "tea"), event(A, "Product Added", {"cart_id": "d"}, T + 1)).run()
    for type in TYPES:
        after = World(plays=plays({}))
        after.entities.update(before.entities)
        after.feed(event(A, type, said, T + DAY)).run()
        values = [who.read(None, None, each.profile(A), T, "", 0) for each in (before, after)]
        if values[0] != values[1]:
            assert type in CHANGED_BY[name], type
    assert CHANGED_BY[name] <= {*TYPES, SCORED}


def test_what_may_change_by_anything_is_judged_with_every_touchpoint() -> None:
    book = PlayBook(plays({"gone": "profile.bounced", "buyer": "profile.orders > 0"})).segments
    watched = [[each.name for each in book.watching(type)] for type in ("Order Completed", "Signed In", "Own Type")]
    assert watched == [["buyer", "gone"], ["gone"], ["gone"]]


# -- plays -----------------------------------------------------------------------------------------------------


def waits(change: str, name: str, **more: Any) -> dict[str, Any]:
    return {"when": {"segment": {change: name}}, **more}


def test_plays_wait_for_who_enters_and_who_leaves() -> None:
    file = plays(
        {"cooling": REGULAR},
        hello=waits("entered", "cooling", values={"orders": "profile.orders", "lately": "window.orders_90d"}),
        bye=waits("left", "cooling"),
    )
    entered = T + 33 * DAY
    told_of = world(file).feed(ordered(A, T), ordered(A, T + DAY), tick(entered), ordered(A, entered + DAY)).run()
    first, second = told_of.triggers
    assert (first.data.play, first.data.business_key, first.data.values) == (
        "hello",
        "cooling",
        {"orders": 2, "lately": 2},
    )
    assert (first.data.touchpoint, first.data.touchpoint_time, first.data.touchpoint_ts) == (
        f"segment:cooling/{entered}", entered, 0,
    )  # fmt: skip
    assert (second.data.play, second.data.touchpoint_ts) == ("bye", entered + DAY + 1)
    assert told_of.told() == [("hello", "emitted"), ("bye", "emitted")]


def test_a_play_says_which_segment_it_waits_for_and_whether_the_customer_is_in_it() -> None:
    file = plays({"buyer": "profile.orders > 0"}, hello=waits("entered", "buyer"), bye=waits("left", "buyer"))
    profile, book = world(file).feed(ordered(A, T)).run().profile(A), PlayBook(file)
    told = [standing(name, profile, book, T)[0].text for name in ("hello", "bye")]
    since = "it is in it since 2025-10-09T08:53:20.000Z"
    assert told == [f"wakes when the customer {verb} the segment buyer; {since}" for verb in ("enters", "leaves")]
    assert standing("hello", Profile(B), book, T)[0].text.endswith("it is not in it")


def test_a_decision_on_windows_can_be_taken_again_and_told() -> None:
    file = plays({}, rich={"when": {"event": {"event": "Order Completed"}}, "who": "window.spent_30d > 25"})
    (decision,) = world(file).feed(ordered(A, T, revenue=12.5)).run().decisions
    book = PlayBook(file)
    assert reasons.again(decision, {book.version: book}).code == "filter"
    told = {each.step: each.text for each in reasons.checks(decision, {book.version: book})}
    assert told["filter"] == "does not hold: window.spent_30d > 25 (with window.spent_30d = 12.5)"


def test_history_is_in_a_segment_but_starts_nothing() -> None:
    file = plays({"buyer": "profile.orders > 0"}, hello=waits("entered", "buyer"))
    told_of = world(file).feed(ordered(A, T - 2 * HOUR, at=T)).run()
    assert (members(told_of, A), told_of.told()) == ({"buyer"}, [])
    assert world(file).feed(ordered(A, T - HOUR, at=T)).run().told() == [("hello", "emitted")]


def test_conditions_and_filters_of_plays_name_windows() -> None:
    file = plays(
        {},
        third={"when": {"event": {"event": "Order Completed", "where": "window.orders_90d == 3"}}},
        rich={"when": {"event": {"event": "Order Completed"}}, "who": "window.spent_30d >= 25.5", "cool_down": "365d"},
    )
    told_of = world(file).feed(*[ordered(A, T + n * HOUR, revenue=8.5) for n in range(4)]).run()
    assert told_of.told() == [
        ("rich", "filter"), ("rich", "filter"), ("rich", "emitted"), ("third", "emitted"), ("rich", "cool_down"),
    ]  # fmt: skip


# -- windows ---------------------------------------------------------------------------------------------------


def test_what_arrives_late_counts_by_its_time_and_what_is_too_old_does_not() -> None:
    file = plays({"seen": "window.views_7d >= 2"})
    late = [viewed(A, "tea", T - 6 * DAY, at=T), viewed(A, "cup", T - 8 * DAY, at=T), viewed(A, "dull", T)]
    told_of = world(file).feed(viewed(A, "pot", T), *late[1:]).run()
    assert members(told_of, A) == set()
    assert members(told_of.feed(late[0]).run(), A) == {"seen"}


def test_an_exact_window_keeps_the_latest_whatever_comes_first() -> None:
    file = plays({"seen": "window.few >= 3"}, {"few": {"of": {"event": "Page Viewed"}, "within": "7d", "exact": 3}})
    times = [T + n * HOUR for n in (3, 0, 4, 1, 2)]
    told_of = world(file).feed(*[event(A, "Page Viewed", {}, time, at=T + 5 * HOUR) for time in times]).run()
    (kept,) = told_of.profile(A).windows.values()
    assert sorted(kept) == [T + n * HOUR for n in (2, 3, 4)]


@pytest.mark.parametrize("within", [MINUTE, 7 * HOUR, 30 * DAY, 90 * DAY, 400 * DAY + 1])
def test_nothing_leaves_a_window_early_nor_later_than_is_said(within: int) -> None:
    width, span, kept = sized(within, None)
    assert kept == span
    for at in (T, T + 1, T + width // 2, T // width * width, T // width * width - 1):
        leaves = (at // width + span) * width
        assert at + within <= leaves <= at + within + width + span
    assert sized(within, 5) == (1, within, 5)


def test_a_touchpoint_moves_the_timer_earlier() -> None:
    file = plays({"old": "since(profile.first_seen) > days(90)", "lately": "window.few > 0"},
                 {"few": {"of": {"event": "Order Completed"}, "within": "30d", "exact": 3}})  # fmt: skip
    told_of = World(plays=file).feed(viewed(A, "tea", T), ordered(A, T + DAY), tick(T + 31 * DAY)).run()
    assert told(told_of)[-1] == ("lately", "left", "time", T + 31 * DAY)


def test_amounts_beyond_all_reason_leave_a_profile_that_can_be_packed() -> None:
    window = {"of": {"event": "Order Completed"}, "within": "7d", "sum": "event.revenue * 1000000 * 1000000"}
    told_of = world(plays({"rich": "window.much > 0"}, {"much": window}))
    told_of.feed(*[ordered(A, T + n, revenue=9.0) for n in range(3)], ordered(A, T + 9, revenue=9e8)).run()
    (buckets,) = told_of.profile(A).windows.values()
    assert [*buckets.values()] == [10**15]


def test_what_cannot_be_evaluated_counts_nothing_and_moves_nobody() -> None:
    much = " * ".join(["1000000000000000"] * 22)
    window = {"of": {"event": "Order Completed", "where": f"{much} / 3 > event.revenue"}, "within": "7d"}
    file = plays({"x": f"profile.orders < 1 or {much} / 3 > 1", "seen": "window.w > 0"}, {"w": window})
    told_of = world(file).feed(ordered(A, T)).run()
    assert (members(told_of, A), told_of.profile(A).windows) == ({"x"}, {})


def test_a_window_takes_no_more_than_is_said() -> None:
    book = PlayBook(plays({"x": REGULAR})).segments
    for name, window in book.windows.items():
        profile = Profile(A)
        per = window.width
        profile.windows = {window.key: {(T + n * per) // per: 60_000 for n in range(window.kept)}}
        grown = len(msgspec.msgpack.encode(profile)) - len(msgspec.msgpack.encode(Profile(A)))
        assert grown <= window.bytes, name
    assert [window.bytes for window in book.windows.values()] == [524, 130, 908, 524]


# -- definitions -----------------------------------------------------------------------------------------------


def test_who_is_in_by_a_new_definition_starts_nothing_but_what_the_touchpoint_changes_does() -> None:
    before = plays({}, {})
    after = plays(
        {"buyer": "profile.orders >= 1", "twice": "profile.orders >= 2"},
        hello=waits("entered", "buyer"), again=waits("entered", "twice"),
    )  # fmt: skip
    told_of = apply(world(before).feed(ordered(A, T)), after, T + 1).feed(ordered(A, T + 2)).run()
    assert told(told_of) == [("buyer", "entered", "definition", T + 2), ("twice", "entered", "touchpoint", T + 2)]
    assert told_of.told() == [("again", "emitted")]


def test_a_visit_finds_who_is_in_by_a_new_definition() -> None:
    after = plays({"buyer": "profile.orders >= 1"}, hello=waits("entered", "buyer"))
    told_of = apply(world(plays({}, {}), A, B).feed(ordered(A, T), viewed(B, "tea", T)), after, T + 1).run()
    assert (PlayBook(after).standing, PlayBook(plays({}, {})).standing) == (True, False)
    for _ in range(2):
        told_of.feed(Visit(T + 2, [A, B, C], 1)).run()
        assert told(told_of) == [("buyer", "entered", "definition", T + 2)]
    assert told_of.told() == []


def test_a_new_play_can_speak_to_those_who_are_in_already_each_once() -> None:
    greets = waits("entered", "buyer") | {"on_activate": "send", "cool_down": "1m"}
    buyer = {"buyer": "profile.orders >= 1"}
    found = world(plays(buyer), A, B, C).feed(ordered(A, T), ordered(B, T), viewed(C, "tea", T))
    apply(found, plays(buyer, hello=greets, quiet=waits("entered", "buyer")), T + 1)
    found.feed(viewed(B, "cup", T + HOUR), Visit(T + HOUR, [A, B, C], 1)).run()
    assert sorted((each.customer, each.play) for each in found.decisions) == sorted([(A, "hello"), (B, "hello")])
    again = plays(buyer, hello=greets, other=waits("left", "buyer"))
    apply(found, again, T + 2 * HOUR).feed(Visit(T + 2 * HOUR, [A, B, C], 2), viewed(A, "pot", T + 3 * HOUR)).run()
    assert len(found.decisions) == 2
    found.feed(ordered(C, T + 4 * HOUR)).run()
    assert found.decisions[-1].customer == C
    assert replayed(found, [3, 2]).everything() == found.everything()


def test_a_new_play_on_a_new_segment_speaks_to_those_it_finds() -> None:
    after = plays({"buyer": "profile.orders >= 1"}, hello=waits("entered", "buyer") | {"on_activate": "send"})
    found = apply(world(plays({}, {}), A, B).feed(ordered(A, T), viewed(B, "tea", T)), after, T + 1)
    found.feed(Visit(T + 2, [A, B], 1)).run()
    assert [(each.customer, each.business_key, each.code) for each in found.decisions] == [(A, "buyer", None)]


def test_what_is_no_longer_defined_is_left_and_forgotten_at_the_next_touchpoint() -> None:
    told_of = world(plays({"buyer": "profile.orders > 0"})).feed(ordered(A, T))
    apply(told_of, plays({}, {}), T + 1).feed(viewed(A, "tea", T + 2)).run()
    assert told(told_of)[1:] == [("buyer", "left", "definition", T + 2)]
    profile = told_of.profile(A)
    assert (profile.windows, profile.segments, profile.judged) == ({}, {}, "")


def test_a_timer_under_a_new_definition_tells_what_it_changed_from_what_time_did() -> None:
    window = {"few": {"of": {"event": "Order Completed"}, "within": "10d", "exact": 5}}
    told_of = world(plays({"x": "window.few == 0"}, window)).feed(ordered(A, T))
    apply(told_of, plays({"x": "window.few == 0", "y": "profile.orders > 0"}, window), T + 1)
    told_of.feed(tick(T + 11 * DAY)).run()
    at = T + 11 * DAY
    assert told(told_of)[2:] == [("y", "entered", "definition", at), ("x", "entered", "time", at)]


def test_a_window_that_stays_goes_on_and_one_that_changes_begins_anew() -> None:
    told_of = world(plays({})).feed(ordered(A, T))
    changed = {**WINDOWS, "orders_30d": WINDOWS["orders_30d"] | {"within": "31d"}}
    file = plays({"old": "window.orders_90d == 2", "new": "window.orders_30d == 1"}, changed)
    assert members(apply(told_of, file, T + 1).feed(ordered(A, T + 2)).run(), A) == {"old", "new"}


# -- merges, splits, erasure -----------------------------------------------------------------------------------


def test_a_merge_adds_windows_up_and_may_let_in() -> None:
    file = plays({"twice": "window.orders_90d >= 2", "buyer": "profile.orders > 0"},
                 hello=waits("entered", "twice"), again=waits("entered", "buyer"))  # fmt: skip
    told_of = world(file, A, B).feed(ordered(A, T), ordered(B, T + 1)).run()
    told_of.merge(A, B, 5, T + 2).run()
    assert told(told_of, A) == [("buyer", "entered", "touchpoint", T), ("buyer", "left", "merge", T + 2)]
    assert told(told_of, B) == [("buyer", "entered", "touchpoint", T + 1), ("twice", "entered", "merge", T + 2)]
    assert (members(told_of, A), members(told_of, B)) == (set(), {"buyer", "twice"})
    assert sorted(each.data.play for each in told_of.triggers) == ["again", "again", "hello"]


def test_who_was_in_before_a_merge_is_in_since_then_and_wakes_nothing() -> None:
    file = plays({"buyer": "profile.orders > 0"}, hello=waits("entered", "buyer"))
    told_of = world(file, A, B).feed(ordered(A, T), viewed(B, "tea", T + 1)).merge(A, B, 5, T + 2).run()
    assert told(told_of, B) == [("buyer", "entered", "merge", T + 2)]
    assert told_of.profile(B).segments == {"buyer": T}
    assert told_of.told() == [("hello", "emitted")]


def test_who_is_put_out_by_a_merge_leaves_once() -> None:
    file = plays({"new": "profile.orders == 0"}, bye=waits("left", "new"))
    told_of = world(file, B).feed(ordered(A, T), viewed(B, "tea", T + 1)).merge(A, B, 5, T + 2).run()
    assert [each[1:3] for each in told(told_of, B)] == [("entered", "touchpoint"), ("left", "merge")]
    assert told_of.told() == [("bye", "emitted")]
    other = World(plays=file).feed(ordered(B, T), viewed(A, "tea", T + 1)).merge(A, B, 5, T + 2).run()
    assert (told(other, B), members(other, A), other.told()) == ([], set(), [])


def test_what_was_parked_is_judged_after_the_merge_not_with_it() -> None:
    file = plays({"twice": "window.orders_90d >= 2", "thrice": "window.orders_90d >= 3"})
    told_of = world(file, A, B).feed(ordered(A, T), ordered(B, T + 1)).run()
    told_of.merge(A, B, 5, T + 2).feed(ordered(B, T + 3)).run()
    reasons = [(name, reason) for name, _, reason, _ in told(told_of, B)]
    assert reasons == [("twice", "merge"), ("thrice", "touchpoint")]


def test_a_split_gives_windows_back_and_starts_nothing() -> None:
    file = plays({"twice": "window.orders_90d >= 2", "buyer": "profile.orders > 0", "idle": "profile.orders == 0"},
                 bye=waits("left", "twice"), idle=waits("entered", "idle"))  # fmt: skip
    told_of = world(file, A, B).feed(shown(ordered(A, T), id_of(A)), shown(viewed(B, "tea", T + 1), id_of(B)))
    told_of.run().merge(A, B, 5, T + 2).run()
    told_of.feed(shown(ordered(B, T + 3), id_of(A))).run()
    assert (members(told_of, B), told(told_of, B)[0][:3]) == ({"twice", "buyer"}, ("idle", "entered", "touchpoint"))
    woken = told_of.told()
    split(told_of, B, C, world_ids(told_of, A), 6, T + 4)
    told_of.run()
    assert (members(told_of, B), members(told_of, C)) == ({"idle"}, {"twice", "buyer"})
    assert {reason for *_, reason, _ in told(told_of, C)} == {"split"}
    assert told_of.profile(C).segments["buyer"] == T
    assert told_of.told() == woken


def world_ids(world: World, customer: str) -> list[str]:
    """The identifiers that `reachable` gives a customer."""
    return created(customer, T, "phone").ids


def test_who_is_erased_leaves() -> None:
    told_of = world(plays({"buyer": "profile.orders > 0"})).feed(ordered(A, T))
    told_of.feed(Change(T + 1, token("e"), "erased", A, 20, T + 1, [id_of(A)], touchpoint="cmd")).run()
    assert told(told_of)[1:] == [("buyer", "left", "erased", T + 1)]
    assert told_of.profile(A).windows == {}


# -- properties ------------------------------------------------------------------------------------------------

SEGMENTS = {
    "regular": REGULAR,
    "rich": "window.spent_30d >= 30",
    "keen": "window.views_7d >= 2 and profile.orders == 0",
    "away": "since(profile.last_seen) > days(20)",
    "between": "days(3) <= since(profile.first_order) < days(12.5)",
    "few": "window.orders_30d == 1 or window.views_7d == 1",
}
moments = st.integers(0, 100 * 24)
kinds = st.sampled_from(["order", "view", "dull", "sign up", "look"])
acts = st.lists(st.tuples(moments, kinds, st.sampled_from([0, 0, 0, 36, 300])), min_size=1, max_size=14)


def act(customer: str, hours: int, kind: str, late: int) -> Event:
    """Something done at an hour, that arrives so many hours late."""
    time, at = T + hours * HOUR, T + (hours + late) * HOUR
    made = {
        "order": lambda: ordered(customer, time, revenue=10.0, at=at),
        "view": lambda: viewed(customer, "tea", time, at=at),
        "dull": lambda: viewed(customer, "dull", time, at=at),
        "sign up": lambda: signed_up(customer, time, at=at),
        "look": lambda: event(customer, "Page Viewed", {}, time, at=at),
    }[kind]()
    return shown(msgspec.structs.replace(made, eid=token(f"{customer} {hours} {kind} {late}")), id_of(customer))


def expected(done: list[Event], now: int, files: dict[str, Any] = WINDOWS) -> set[str]:
    """Who should be in what: from the raw history alone, windows within their stated precision."""
    counts = {}
    for name, window in files.items():
        days = int(window["within"][:-1])
        per, span, _ = sized(days * DAY, window.get("exact"))
        seen = [each for each in done if each.type == window["of"]["event"] and b"dull" not in bytes(each.data)]
        inside = [each for each in seen if (each.time // per + span) * per > now]
        least = [each for each in seen if each.time > now - days * DAY]
        most = [each for each in seen if each.time > now - days * DAY * (1 + 1 / 63) - 1]
        assert len(least) <= len(inside) <= len(most)
        counts[name] = 10 * len(inside) if "sum" in window else len(inside)
    orders = [each.time for each in done if each.type == "Order Completed"]
    seen_at = [each.time for each in done]
    held = {
        "regular": counts["orders_90d"] >= 2 and counts["orders_30d"] == 0,
        "rich": counts["spent_30d"] >= 30,
        "keen": counts["views_7d"] >= 2 and not orders,
        "away": now - max(seen_at) > 20 * DAY,
        "between": bool(orders) and 3 * DAY <= now - min(orders) < 12.5 * DAY,
        "few": counts["orders_30d"] == 1 or counts["views_7d"] == 1,
    }
    return {name for name, holds in held.items() if holds}


@given(mine=acts, theirs=acts, asked=st.lists(moments, min_size=1, max_size=6), merged=st.none() | moments)
@settings(max_examples=examples(150), deadline=None)
def test_at_any_time_those_are_in_of_whom_the_raw_history_says_so(
    mine: list[tuple[int, str, int]], theirs: list[tuple[int, str, int]], asked: list[int], merged: int | None
) -> None:
    """However late touchpoints arrive, also through a merge; asked after a tick, at hours of no touchpoint's own."""
    done = [act(A, *each) for each in dict.fromkeys(mine)] + [act(B, *each) for each in dict.fromkeys(theirs)]
    done = list({each.eid: each for each in done}.values())
    steps: list[tuple[int, int, Any]] = [(each.at, 0, each) for each in done]
    steps += [(T + hours * HOUR + 7, 1, "ask") for hours in asked]
    steps += [(T + merged * HOUR + 3, 2, "merge")] if merged is not None else []
    told_of, arrived, one = World(plays=plays(SEGMENTS)), [], False
    for at, _, what in sorted(steps, key=lambda step: step[:2]):
        if isinstance(what, Event):
            arrived.append(what)
            told_of.feed(what).run()
        elif what == "merge":
            told_of.feed(tick(at)).merge(A, B, 5, at).run()
            one = True
        else:
            told_of.feed(tick(at)).run()
            for customer in (A, B):
                own = [each for each in arrived if (one and customer == B) or (each.customer == customer and not one)]
                assert members(told_of, customer) == (expected(own, at) if own else set())
    assert replayed(told_of, [3, 2]).entities == told_of.entities
    assert replayed(told_of, [5]).written("ts.segments") == told_of.written("ts.segments")


@given(mine=acts, theirs=acts, later=acts)
@settings(max_examples=60, deadline=None)
def test_after_a_split_each_side_is_in_what_its_own_history_says(
    mine: list[tuple[int, str, int]], theirs: list[tuple[int, str, int]], later: list[tuple[int, str, int]]
) -> None:
    own = {A: [act(A, *each) for each in dict.fromkeys(mine)], B: [act(B, *each) for each in dict.fromkeys(theirs)]}
    told_of = World(plays=plays(SEGMENTS)).feed(created(A, T - DAY), created(B, T - DAY))
    for each in sorted([*own[A], *own[B]], key=lambda each: each.at):
        told_of.feed(each).run()
    middle = max([each.at for each in (*own[A], *own[B])]) + 1
    told_of.feed(tick(middle)).merge(A, B, 5, middle).run()
    for n, (_, kind, late) in enumerate(dict.fromkeys(later)):
        which, at = (A, B)[n % 2], middle + n
        made = act(which, 0, kind, late)
        made = msgspec.structs.replace(made, at=at, time=at, eid=token(f"{which} later {n}"), customer=B)
        own[which].append(made)
        told_of.feed(made).run()
    end = middle + DAY
    split(told_of, B, C, [id_of(A)], 6, end)
    for at in (end, end + 9 * DAY, end + 40 * DAY):
        told_of.feed(tick(at)).run()
        assert members(told_of, B) == expected(own[B], at)
        assert members(told_of, C) == expected(own[A], at)
