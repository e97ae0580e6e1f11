"""Two customers turn out to be one: aliases, hand-overs, waiting for them, and any order of the shards' progress."""

from __future__ import annotations

from base64 import b64encode
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.scoring import OPEN_EXAMPLES, forget_spent
from operators.succession import MAX_HOPS
from schemas import stitched
from schemas.config import Limits
from schemas.stitched import Absorb, Change, Event, Record
from state.profile import OpenExample, Park, Profile, pack, unpack
from tests.effort import examples
from tests.engage_helpers import (
    DAY,
    MINUTE,
    SECOND,
    SHARDS,
    A,
    B,
    C,
    T,
    World,
    capped,
    carted,
    config,
    consented,
    created,
    event,
    living_in,
    ordered,
    reachable,
    replayed,
    signed_up,
    tick,
    token,
    viewed,
    views_of,
)

A_SHARD, B_SHARD, C_SHARD = 0, 1, 2
#: Of the fourth shard.
D = living_in(3)
R = TypeVar("R", bound=Record)


def sent(world: World, kind: type[R]) -> list[R]:
    """What engage itself has put into ``stitched``."""
    records = (stitched.decode(output.value) for output in world.everything() if output.topic == "ts.stitched")
    return [record for record in records if isinstance(record, kind)]


def settled(world: World) -> World:
    """Nothing waits any more."""
    assert world.parked() == 0
    assert not any(unpack(raw).parks for key, raw in world.entities.items() if key.startswith("c:"))
    return world


# -- hand-over -----------------------------------------------------------------------------------------------


def test_a_merge_hands_everything_over_and_leaves_an_alias() -> None:
    world = World().feed(*reachable(A), ordered(A, T, "tea"), carted(A, "cart", T + 1), created(B, T))
    world.merge(A, B, 5).run()
    assert settled(world).profile(A) == Profile(A, B, 5)
    profile = world.profile(B)
    assert (profile.behaviour.orders, profile.units, sorted(profile.carts)) == (1, 2, ["cart"])
    assert profile.contacts["phone"].sealed == f"sealed {A} phone"
    assert len(profile.ids) == 3
    assert world.timers[A_SHARD] == {}
    assert world.timers[B_SHARD] == {B: T + 1 + 30 * MINUTE}
    (change,) = (each for each in world.written("ts.identity.changes") if each.kind == "merged")
    assert (change.customer, change.old, change.version) == (B, A, 5)
    (absorb,) = sent(world, Absorb)
    assert (absorb.customer, absorb.old, absorb.change, absorb.hops) == (B, A, change.id, 0)


def test_a_hand_over_is_sent_even_if_there_is_nothing() -> None:
    world = World().merge(A, B, 1).run()
    assert len(sent(world, Absorb)) == 1
    assert settled(world).counts["absorbed"] == 1


def test_what_comes_for_the_old_customer_is_forwarded() -> None:
    world = World().merge(A, B, 1).run()
    world.feed(tick(T + DAY), viewed(A, "tea", T + MINUTE)).run()
    assert views_of(world.profile(B)) == [("tea", T + MINUTE)]
    (forwarded,) = sent(world, Event)
    assert (forwarded.customer, forwarded.hops, forwarded.at) == (B, 1, T + DAY)
    assert world.counts == {"forwarded": 1, "applied": 1, "absorbed": 1, "identity_merged": 1, "customers": 1}
    world.feed(viewed(A, "tea", T + MINUTE)).run()
    assert (world.counts["forwarded"], world.counts["applied"], world.counts["duplicates"]) == (2, 1, 1)


def test_forwarding_ends_after_some_hops() -> None:
    world = World().merge(A, B, 1).run()
    world.feed(msgspec.structs.replace(viewed(A, "tea", T), hops=MAX_HOPS)).run()
    assert world.counts["forwarded"] == 0
    assert world.counts["applied"] == 1


def test_a_newer_link_brings_an_alias_back_to_life_an_old_one_is_dropped() -> None:
    world = World().merge(A, B, 5).run()
    world.feed(created(A, T, "phone", version=4)).run()
    assert (world.profile(A).alias, world.profile(A).ids) == (B, [])
    world.feed(created(A, T, "email", version=6)).run()
    assert (world.profile(A).alias, sorted(world.profile(A).contacts)) == ("", ["email"])
    assert world.profile(B).contacts == {}


def test_duplicates_of_a_merge_change_nothing() -> None:
    once = World().feed(ordered(A, T), ordered(B, T + 1)).merge(A, B, 5).run()
    often = World().feed(ordered(A, T), ordered(B, T + 1)).merge(A, B, 5, times=3).run()
    again = often.merge(A, B, 5).run()
    assert settled(again).entities == once.entities
    assert again.counts == once.counts
    assert again.written("ts.identity.changes") == once.written("ts.identity.changes")


def test_a_hand_over_that_comes_twice_counts_once() -> None:
    world = World().feed(ordered(A, T)).merge(A, B, 5).run()
    world.feed(*sent(world, Absorb)).run()
    assert world.profile(B).behaviour.orders == 1


# -- waiting -------------------------------------------------------------------------------------------------


def waiting(limits: Limits | None = None) -> World:
    """B waits for A, who has said no; two touchpoints of B are parked."""
    world = World(config(limits=limits)).feed(*reachable(B, T - DAY), consented(A, T - 1, sms=False)).merge(A, B, 1)
    world.feed(signed_up(B, T + 1), viewed(B, "tea", T + 2))
    while world.step(B_SHARD):
        pass
    return world


def test_records_wait_for_the_hand_over_so_that_an_opt_out_is_not_too_late() -> None:
    world = waiting()
    assert (world.parked(), world.told()) == (2, [])
    assert world.timers[B_SHARD] == {B: T + 10 * SECOND}
    world.run()
    assert settled(world).told() == [("welcome", "no_consent")]
    assert views_of(world.profile(B)) == [("tea", T + 2)]
    assert world.timers[B_SHARD] == {B: world.profile(B).parted}
    assert world.counts["applied"] == 4


def test_what_waited_happens_in_its_order() -> None:
    world = World().feed(*reachable(B, T - DAY)).merge(A, B, 1)
    parked = [signed_up(B, T), carted(B, "cart", T + 1), ordered(B, T + 2), viewed(B, "tea", T + 3)]
    world.feed(*parked, *parked[:1])
    while world.step(B_SHARD):
        pass
    assert world.parked() == 5
    world.run()
    profile = settled(world).profile(B)
    marks = [profile.seen[n : n + 10] for n in range(0, len(profile.seen), 10)]
    assert marks[1:] == [each.eid[:10] for each in parked]
    assert (profile.carts, world.counts["duplicates"]) == ({}, 1)


def test_waiting_ends_on_a_tick() -> None:
    world = waiting()
    world.feed(tick(T + 10 * SECOND - 1)).step(B_SHARD)
    assert world.parked() == 2
    world.feed(tick(T + 10 * SECOND)).step(B_SHARD)
    assert (world.parked(), world.told()) == (0, [("welcome", "emitted")])
    assert world.counts["park_timeouts"] == 1
    assert world.timers[B_SHARD] == {}
    settled(world.run())
    assert world.profile(B).consent["sms/marketing"] == (False, T - 1)


def test_waiting_ends_with_a_record_that_is_late() -> None:
    world = waiting()
    world.feed(viewed(B, "tea", T + 9 * SECOND)).step(B_SHARD)
    assert world.parked() == 3
    world.feed(viewed(B, "mug", T + 10 * SECOND)).step(B_SHARD)
    assert (world.parked(), world.counts["park_timeouts"]) == (0, 1)
    assert [sku for sku, _ in views_of(world.profile(B))] == ["tea", "tea", "mug"]


def test_waiting_ends_when_too_many_wait() -> None:
    world = waiting(Limits(park_records=2))
    assert world.parked() == 2
    world.feed(viewed(B, "mug", T + 3)).step(B_SHARD)
    assert (world.parked(), world.counts["park_timeouts"]) == (0, 1)


def test_timers_wait_too() -> None:
    """A reminder of B's cart must not overtake the order that A hands over."""
    world = World().feed(*reachable(B, T - DAY), carted(B, "cart", T), ordered(A, T + MINUTE))
    late = T + 30 * MINUTE - SECOND
    world.merge(A, B, 1, at=late).feed(tick(T + 30 * MINUTE))
    while world.step(B_SHARD):
        pass
    assert world.told() == []
    world.engage.fire(world.shards[B_SHARD], B, T + 30 * MINUTE)
    world.run().feed(tick(T + DAY)).run()
    assert settled(world).told() == []


def test_due_timers_are_looked_at_after_the_hand_over() -> None:
    world = World().feed(*reachable(B, T - DAY), carted(B, "cart", T)).merge(A, B, 1, at=T + MINUTE)
    world.feed(tick(T + MINUTE)).run()
    world.feed(tick(T + 30 * MINUTE)).run()
    assert settled(world).told() == [("cart_abandoned", "emitted")]


def test_nobody_waits_for_what_has_arrived() -> None:
    world = World().merge(A, B, 1).run()
    (absorb,) = sent(world, Absorb)
    world.merge(A, B, 1).step(B_SHARD)
    assert world.profile(B).parks == []
    # C still waits for the same hand-over, and is merged into B.
    waits = b64encode(pack((Profile(C, parks=[Park(absorb.change, T + SECOND)]), list[OpenExample]()))).decode()
    world.feed(Absorb(T, B, C, token("C>B"), 2, waits)).run()
    assert settled(world).profile(B).absorbed == [absorb.change, token("C>B")]


# -- who was merged while waiting ----------------------------------------------------------------------------


def test_a_customer_who_waits_can_be_merged_himself() -> None:
    """A -> B -> C where B has not heard of A yet: C waits for A as well, and B's timers go."""
    world = World().feed(*reachable(C, T - DAY), consented(A, T - 1, sms=False), carted(B, "cart", T))
    world.merge(A, B, 1).feed(viewed(B, "tea", T + 1)).merge(B, C, 2).feed(signed_up(C, T + 2))
    for number in (B_SHARD, C_SHARD):
        while world.step(number):
            pass
    assert world.timers[B_SHARD] == {}
    assert [park.change for park in world.profile(C).parks] == [token(f"{A}>{B}@1")]
    assert (world.parked(), world.told()) == (2, [])
    world.run()
    profile = settled(world).profile(C)
    assert world.told() == [("welcome", "no_consent")]
    assert (views_of(profile), sorted(profile.carts)) == ([("tea", T + 1)], ["cart"])
    assert sorted(profile.absorbed) == sorted([token(f"{A}>{B}@1"), token(f"{B}>{C}@2")])
    world.feed(tick(T + DAY), tick(T + DAY + 1)).run()
    assert world.timers == [{}, {}, {C: profile.parted}, {}]


def test_two_merges_into_one_wait_for_both() -> None:
    world = World().feed(viewed(A, "tea", T), viewed(B, "mug", T)).merge(A, C, 1).merge(B, C, 2)
    world.feed(viewed(C, "cup", T + 1))
    while world.step(C_SHARD):
        pass
    while world.step(A_SHARD):
        pass
    world.step(C_SHARD)
    assert world.parked() == 1
    assert len(world.profile(C).parks) == 1
    assert sorted(views_of(settled(world.run()).profile(C))) == [("cup", T + 1), ("mug", T), ("tea", T)]


# -- aliases are registers -----------------------------------------------------------------------------------


def test_an_id_that_comes_back_gets_its_state_back() -> None:
    world = World().feed(ordered(A, T), ordered(B, T + 1)).merge(A, B, 1).run()
    assert world.profile(B).behaviour.orders == 2
    world.merge(B, A, 2).feed(ordered(A, T + 2), ordered(B, T + 3)).run()
    assert settled(world).profile(B) == Profile(B, A, 2)
    profile = world.profile(A)
    assert (profile.alias, profile.alias_version, profile.behaviour.orders) == ("", 2, 4)


def test_an_older_version_of_an_alias_is_not_taken() -> None:
    world = World().feed(ordered(A, T)).merge(A, B, 5).run()
    world.merge(A, C, 4).run()
    assert settled(world).profile(A) == Profile(A, B, 5)
    world.merge(A, C, 6).run()
    assert settled(world).profile(A) == Profile(A, C, 6, lives=[(5, B)])
    assert world.profile(B).behaviour.orders == 1


def test_an_old_merge_into_one_who_is_gone_lets_nobody_wait() -> None:
    world = World().merge(B, C, 5).merge(A, B, 4).run()
    assert settled(world).profile(B) == Profile(B, C, 5)


def test_a_merge_told_again_after_the_id_came_back_moves_nothing() -> None:
    world = World().feed(ordered(A, T)).merge(A, B, 1).merge(B, A, 2).run()
    world.feed(*[viewed(A, "tea", T + 1 + n) for n in range(2)])
    world.merge(A, B, 1).run()
    profile = settled(world).profile(A)
    assert (profile.alias, profile.behaviour.orders, len(views_of(profile))) == ("", 1, 2)


# -- what moves meanwhile ------------------------------------------------------------------------------------


def move(world: World, old: str, new: str, ids: list[str], version: int) -> World:
    """Identifiers go from one to another, as stitch publishes it: a copy for each side."""
    for customer in (old, new):
        change = token(f"{old}~{new}@{version}")
        world.feed(Change(T, change, "moved", customer, version, T, ids, old=old, new=new))
    return world


def kinds(world: World, customer: str) -> list[str]:
    """What was told of identity under a customer's key."""
    outputs = [each for each in world.everything() if each.topic == "ts.identity.changes"]
    keyed = [msgspec.json.decode(each.value) for each in outputs if each.key == customer.encode()]
    return [str(each["kind"]) for each in keyed]


def test_what_has_left_does_not_come_back_with_a_hand_over_that_is_late() -> None:
    phone = created(A, T, "phone")
    phone.contacts[0].token = phone.ids[0]
    world = World().feed(phone, created(B, T), created(C, T)).run().merge(A, B, 2)
    move(world, B, C, phone.ids[:1], 3)
    for number in (B_SHARD, C_SHARD):
        while world.step(number):
            pass
    world.run()
    assert sorted(world.profile(B).ids) == sorted([*phone.ids[1:], *created(B).ids])
    assert world.profile(B).contacts == {}
    assert sorted(world.profile(C).ids) == sorted([*phone.ids[:1], *created(C).ids])


def test_what_has_come_back_stays_when_the_hand_over_is_late() -> None:
    phone = created(A, T, "phone")
    world = World().feed(phone, created(B, T), created(C, T)).run().merge(A, B, 2)
    move(move(world, B, C, phone.ids[:1], 3), C, B, phone.ids[:1], 4)
    for number in (B_SHARD, C_SHARD):
        while world.step(number):
            pass
    world.run()
    assert phone.ids[0] in world.profile(B).ids
    assert world.profile(C).ids == created(C).ids
    move(world, B, C, phone.ids[:1], 3).run()
    assert phone.ids[0] in world.profile(B).ids
    assert kinds(world, C) == ["created", "moved"]


def test_what_was_before_an_id_came_back_is_history() -> None:
    first = created(A, T, "phone")
    world = World().feed(first, created(B, T)).merge(A, B, 2).run()
    move(world, B, A, first.ids[1:], 3).run()
    assert world.profile(A).ids == first.ids[1:]
    world.feed(first).merge(A, B, 2).run()
    assert settled(world).profile(A).ids == first.ids[1:]
    assert kinds(world, A) == ["created", "merged", "moved"]


def test_a_hand_over_to_an_id_that_came_back_goes_to_whom_it_went_before() -> None:
    """A -> B -> C, and B lives again as somebody else before A has handed over."""
    world = World().feed(ordered(A, T)).merge(A, B, 1).merge(B, C, 2).feed(created(B, T, "phone", version=3))
    world.feed(viewed(C, "tea", T + 1), viewed(B, "mug", T + 2))
    for number in (B_SHARD, C_SHARD):
        while world.step(number):
            pass
    assert world.parked() == 1
    world.run()
    assert settled(world).profile(C).behaviour.orders == 1
    assert (world.profile(B).behaviour.orders, views_of(world.profile(B))) == (0, [("mug", T + 2)])
    world.merge(A, B, 1).run()
    assert settled(world).profile(B).parks == []


def test_a_hand_over_to_an_alias_that_leads_elsewhere_by_now_goes_to_who_waits_for_it() -> None:
    world = World().feed(ordered(A, T)).merge(A, B, 1).merge(B, C, 2).feed(viewed(C, "tea", T + 1))
    world.merge(B, D, 3)
    for number in (B_SHARD, C_SHARD):
        while world.step(number):
            pass
    world.run()
    assert settled(world).profile(C).behaviour.orders == 1
    assert (world.profile(B).alias, world.profile(D).behaviour.orders) == (D, 0)


def test_an_id_that_came_back_decides_anew() -> None:
    world = World().feed(*reachable(A), signed_up(A, T)).merge(A, B, 2).run()
    world.feed(created(A, T, "phone", version=3), consented(A, T, sms=True), signed_up(A, T + DAY)).run()
    first, second = world.triggers
    assert first.id != second.id
    world.feed(signed_up(A, T + 40 * DAY)).run()
    assert len(world.triggers) == 2


# -- what is joined, end to end ------------------------------------------------------------------------------


def test_caps_count_what_either_was_sent() -> None:
    world = World(plays=capped(2))
    for customer in (A, B):
        world.feed(*reachable(customer, T - DAY), *(viewed(customer, "tea", T + n) for n in range(3)))
    world.merge(A, B, 1, at=T + SECOND).feed(signed_up(B, T + 2 * SECOND)).run()
    assert world.told()[-1] == ("welcome", "frequency_cap")


def test_open_examples_move_and_their_labels_mature() -> None:
    world = World().feed(ordered(A, T), ordered(B, T))
    for day in range(1, 9):
        world.feed(tick(T + day * DAY))
    world.run()
    before = [*world.examples(A), *world.examples(B)]
    assert len(before) == 2
    world.merge(A, B, 1, at=T + 9 * DAY).run()
    assert world.examples(A) == []
    forget_spent(before)
    assert world.examples(B) == sorted(before, key=lambda example: (example.time, example.customer))
    due = min(example.time for example in before) + 28 * DAY
    labels = [timer.due for timer in world.profile(B).timers if timer.kind == "label"]
    assert labels == [due]
    world.feed(*(tick(T + day * DAY) for day in range(10, 60))).run()
    matured = world.written("ts.churn.examples")
    assert {example.customer for example in matured} == {B}
    assert len({example.id for example in matured}) == len(matured)


def test_examples_stay_bounded() -> None:
    examples = [OpenExample(n, [], "v", 0.5, "m", "x") for n in range(OPEN_EXAMPLES)]
    world = World()
    for number, customer in ((A_SHARD, A), (B_SHARD, B)):
        world.shards[number].open_examples(customer).extend(examples)
        world._commit(world.shards[number])
    world.merge(A, B, 1).run()
    assert [example.time for example in world.examples(B)] == [4, 4, 5, 5, 6, 6, 7, 7]


# -- any order of progress -----------------------------------------------------------------------------------


def exact(world: World, customer: str) -> tuple[object, ...]:
    """What must not depend on which shard was quicker."""
    profile = world.profile(customer)
    b = profile.behaviour
    return (
        b.first_seen, b.last_seen, b.days, b.orders, b.first_order, b.recent, b.spent, b.returned,
        profile.units, profile.points, profile.tickets, profile.consent, sorted(profile.ids), sorted(views_of(profile)),
        {cart_id: (cart.time, cart.value) for cart_id, cart in profile.carts.items()},
        sorted((timer.kind, timer.key, timer.due) for timer in profile.timers),
        sorted(profile.contacts), sorted(profile.absorbed), profile.parks, profile.parked,
        sorted(profile.seen[n : n + 10] for n in range(0, len(profile.seen), 10)),
    )  # fmt: skip


def touchpoint(customer: str, kind: int, number: int) -> Event:
    """The ``number``-th touchpoint of a story."""
    time = T + number
    return [
        viewed(customer, f"sku{number}", time),
        carted(customer, f"cart{number % 3}", time, 1.0),
        ordered(customer, time, "tea"),
        consented(customer, time, sms=False),
        event(customer, "Points Earned", {"points": number}, time),
        event(customer, "Ticket Opened", {"ticket_id": "t"}, time),
        event(customer, "Order Refunded", {"order_id": "o", "amount": 1.25}, time),
    ][kind]


@st.composite
def stories(draw: st.DrawFn, chain: list[tuple[str, str]]) -> list[list[Record]]:
    """Slices of a log: touchpoints, some twice, and between them the merges of a chain, some told twice."""
    slices: list[list[Record]] = []
    made: list[Event] = []
    for old, new in [*chain, ("", "")]:
        part: list[Record] = []
        for _ in range(draw(st.integers(0, 5))):
            if not made or draw(st.integers(0, 3)):
                made.append(touchpoint(draw(st.sampled_from([A, B, C])), draw(st.integers(0, 6)), len(made) + 1))
                part.append(made[-1])
            else:
                part.append(draw(st.sampled_from(made)))
        if old:
            version = len(slices) + 1
            change = Change(T + len(made), token(f"{version}"), "merged", old, version, T, old=old, new=new)
            pair = [change, msgspec.structs.replace(change, customer=new)]
            part += pair * draw(st.integers(1, 2))
        slices.append(part)
    return slices


def told(slices: list[list[Record]], schedule: list[int]) -> World:
    """Shards progress as the schedule says while the log grows, then until all is quiet."""
    world = World(cached=1)
    for customer in (A, B, C):
        world.feed(created(customer, T - DAY, "phone"), consented(customer, T - DAY, sms=True))
    world.run()
    for part in slices:
        world.feed(*part)
        for number in schedule[: len(schedule) // len(slices)]:
            world.step(number)
    for number in schedule:
        world.step(number)
    return settled(world.run())


CHAINS: list[list[tuple[str, str]]] = [
    [(A, B)],
    [(A, B), (B, C)],
    [(A, B), (B, A)],
    [(B, C), (A, C)],
    [(A, B), (B, C), (C, A)],
    [(A, B), (B, A), (A, C)],
]
#: Who remains of each chain.
LAST = [B, C, A, C, A, C]
#: A shard to go on with; long runs of one shard are what tears a chain apart.
schedules = st.lists(st.tuples(st.integers(0, SHARDS - 1), st.integers(1, 6)), max_size=12).map(
    lambda runs: [number for number, times in runs for _ in range(times)]
)


@pytest.mark.parametrize(("chain", "last"), list(zip(CHAINS, LAST, strict=True)), ids=lambda each: str(each)[:60])
def test_whichever_shard_is_quicker_the_end_is_the_same(chain: list[tuple[str, str]], last: str) -> None:
    @given(stories(chain), schedules)
    @settings(max_examples=examples(150), deadline=None)
    def check(slices: list[list[Record]], schedule: list[int]) -> None:
        world, other = told(slices, []), told(slices, schedule)
        gone = {old for old, _ in chain} - {last}
        assert exact(world, last) == exact(other, last)
        for customer in gone:
            left = other.profile(customer)
            assert left.alias
            assert left == Profile(customer, left.alias, left.alias_version, lives=left.lives)
        touched = [record for part in slices for record in part if isinstance(record, Event)]
        for each in (world, other):
            assert each.counts["applied"] + each.counts["duplicates"] == len(touched) + 3
            assert each.counts["park_timeouts"] == 0
        assert other.counts["applied"] == len({record.eid for record in touched}) + 3
        again = replayed(other, [3, 1, 4, 1, 5])
        assert (again.outputs, again.entities) == (other.outputs, other.entities)

    check()
