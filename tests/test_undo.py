"""Merges that are undone: each side gets back what it had, and what its own identifiers have sent since."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import join, parts
from schemas import stitched
from schemas.stitched import Absorb, Change, Event, shard_of
from state.profile import HandOver, Part, Profile, copy
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
    carted,
    config,
    consented,
    created,
    ordered,
    reachable,
    replayed,
    signed_up,
    tick,
    token,
    viewed,
    views_of,
)

#: What a profile remembers of changes and waiting, not of what its customer did.
BOOKKEEPING = (
    "customer", "alias_version", "lives", "changes", "moves", "absorbed", "parks", "parked", "leaving", "due", "parted",
    "touched", "counted", "at_risk",
)  # fmt: skip


def did(profile: Profile, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """All that a profile says of what its customer did."""
    said = msgspec.structs.asdict(profile)
    for field in BOOKKEEPING:
        del said[field]
    said["timers"] = sorted((timer.due, timer.kind, timer.key) for timer in profile.timers if timer.kind != "undo")
    said["ids"] = sorted(profile.ids)
    # Of what was decided at the same moment a join does not know the order.
    said["decided"] = sorted(profile.decided, key=lambda each: (each.at, each.id))
    said["sent"] = sorted(profile.sent, key=lambda each: (each.at, each.play))
    return {field: value for field, value in said.items() if field not in without}


def id_of(customer: str) -> str:
    """The one identifier of a customer that `created` makes without namespaces."""
    return created(customer).ids[0]


def shown(record: Event, *ids: str) -> Event:
    return msgspec.structs.replace(record, ids=list(ids))


def split(world: World, old: str, new: str, ids: list[str], version: int, at: int = T) -> None:
    """A split, as stitch publishes it: a copy for each side."""
    for customer in (old, new):
        change = token(f"{old}/{new}@{version}")
        world.feed(Change(at, change, "split", customer, version, at, ids, old=old, new=new))


records = st.lists(
    st.one_of(
        st.builds(lambda sku, at: ("view", sku, at), st.sampled_from(["tea", "cup", "pot"]), st.integers(0, 50)),
        st.builds(lambda cart, at: ("cart", cart, at), st.sampled_from(["c1", "c2"]), st.integers(0, 50)),
        st.builds(lambda sku, at: ("order", sku, at), st.sampled_from(["tea", "cup"]), st.integers(0, 50)),
        st.builds(lambda yes, at: ("consent", yes, at), st.booleans(), st.integers(0, 50)),
        st.builds(lambda at: ("sign up", "", at), st.integers(0, 50)),
    ),
    max_size=12,
)


def record(customer: str, what: tuple[str, Any, int], shift: int) -> Event:
    kind, value, minutes = what
    time = T + shift + minutes * MINUTE
    if kind == "view":
        made = viewed(customer, value, time)
    elif kind == "cart":
        made = carted(customer, f"{customer} {value}", time, 10.0)
    elif kind == "order":
        made = ordered(customer, time, value)
    elif kind == "consent":
        made = consented(customer, time, sms=value)
    else:
        made = signed_up(customer, time)
    return shown(msgspec.structs.replace(made, eid=token(f"{customer} {what} {shift}")), id_of(customer))


def history(world: World, some: list[tuple[str, Any, int]], customer: str, at: str, shift: int) -> None:
    """What ``customer`` did, under the name ``at`` that it has by now."""
    for what in sorted(some, key=lambda each: each[2]):
        world.feed(msgspec.structs.replace(record(customer, what, shift), customer=at))


@given(mine=records, theirs=records)
@settings(max_examples=examples(1_000), deadline=None)
def test_merge_then_split_is_the_identity(mine: Any, theirs: Any) -> None:
    world = World()
    for customer, some in ((A, theirs), (B, mine)):
        world.feed(created(customer, T - DAY))
        history(world, some, customer, customer, 0)
    world.run()
    before = {customer: did(world.profile(customer)) for customer in (A, B)}
    world.merge(A, B, 10, T + 60 * MINUTE).run()
    split(world, B, A, [id_of(A)], 11, T + 60 * MINUTE)
    world.run()
    assert {customer: did(world.profile(customer)) for customer in (A, B)} == before
    assert world.profile(B).parted == 0
    assert world.parts(B) == []
    assert world.profile(A).alias == ""


@given(mine=records, theirs=records, later=records, later_theirs=records)
@settings(max_examples=examples(300), deadline=None)
def test_what_happens_in_between_stays_on_the_side_that_sent_it(
    mine: Any, theirs: Any, later: Any, later_theirs: Any
) -> None:
    """As if the two had never been one, but for what the company sent them."""
    apart, world = World(), World()
    for each in (apart, world):
        for customer, some in ((A, theirs), (B, mine)):
            each.feed(created(customer, T - DAY))
            history(each, some, customer, customer, 0)
    world.run().merge(A, B, 10, T + 60 * MINUTE).run()
    history(world, later, B, B, 61 * MINUTE)
    history(world, later_theirs, A, B, 61 * MINUTE)
    split(world, B, A, [id_of(A)], 11, T + 120 * MINUTE)
    history(apart, later, B, B, 61 * MINUTE)
    history(apart, later_theirs, A, A, 61 * MINUTE)
    end = tick(T + 120 * MINUTE - 2, T + 120 * MINUTE)
    for each in (apart, world):
        each.run()
    sent = ("sent", "decided", "cooling", "once", "progress", "score", "band", "scored_at", "value", "timers", "carts")
    for customer in (A, B):
        assert did(world.profile(customer), without=sent) == did(apart.profile(customer), without=sent)
    world.feed(end).run()
    assert replayed(world, [3, 1, 5]).everything() == world.everything()


def test_what_both_sides_have_sent_belongs_to_the_side_of_the_strongest_identifier() -> None:
    world = merged()
    phone, device = created(A, T, "phone").ids[0], id_of(B)
    world.feed(shown(viewed(B, "tea", T + 2 * SECOND), device, phone)).run()
    split(world, B, A, created(A, T, "phone").ids, 11, T + 3 * SECOND)
    world.run()
    assert (views_of(world.profile(A)), views_of(world.profile(B))) == ([("tea", T + 2 * SECOND)], [])


def test_a_hand_over_told_again_after_the_split_is_not_taken_again() -> None:
    world = merged()
    told = [record for raw in world.log[1] if isinstance(record := stitched.decode(raw), Absorb)]
    split(world, B, A, created(A, T, "phone").ids, 11, T + 2 * SECOND)
    world.run()
    before = did(world.profile(B))
    world.feed(*told).run()
    assert len(told) == 1
    assert did(world.profile(B)) == before


def merged() -> World:
    """A and B, one customer B; each has looked at something and put something into a cart."""
    world = World()
    for customer in (A, B):
        world.feed(*reachable(customer, T - DAY), created(customer, T - DAY))
        world.feed(shown(carted(customer, f"cart {customer}", T, 20.0), id_of(customer)))
    return world.run().merge(A, B, 10, T + SECOND).run()


def test_a_cart_that_was_reminded_of_is_not_reminded_of_again_after_the_split() -> None:
    world = merged().feed(tick(T + 31 * MINUTE)).run()
    assert sorted(world.told()) == [("cart_abandoned", "cool_down"), ("cart_abandoned", "emitted")]
    split(world, B, A, created(A, T, "phone").ids, 11, T + 32 * MINUTE)
    world.run().feed(tick(T + 90 * MINUTE)).run()
    assert len(world.told()) == 2
    assert [len(world.profile(customer).decided) for customer in (A, B)] == [2, 2]


def test_what_was_sent_while_they_were_one_counts_on_both_sides() -> None:
    world = merged().feed(tick(T + 31 * MINUTE)).run()
    assert [each.subject for each in world.triggers] == [B]
    split(world, B, A, created(A, T, "phone").ids, 11, T + 32 * MINUTE)
    world.run()
    assert [len(world.profile(customer).sent) for customer in (A, B)] == [1, 1]
    world.merge(A, B, 12, T + 33 * MINUTE).run()
    split(world, B, A, created(A, T, "phone").ids, 13, T + 34 * MINUTE)
    world.run()
    assert [len(world.profile(customer).sent) for customer in (A, B)] == [1, 1]


def test_who_stays_under_a_name_remembers_what_was_decided_in_it() -> None:
    """B was welcomed; its own identifier leaves, and who signs up under the name B again is A."""
    world = World().feed(*reachable(B, T - DAY), created(B, T - DAY), signed_up(B, T), created(A, T - DAY)).run()
    assert world.told() == [("welcome", "emitted")]
    world.merge(A, B, 10, T + SECOND).run()
    split(world, B, C, created(B, T, "phone").ids, 11, T + MINUTE)
    world.run().feed(*reachable(B, T + MINUTE), signed_up(B, T + 2 * MINUTE)).run()
    assert sorted(world.told()) == [("welcome", "duplicate"), ("welcome", "emitted")]
    assert [len(world.profile(customer).sent) for customer in (B, C)] == [1, 1]
    assert world.profile(B).cooling == {"welcome": T}


def test_a_part_that_comes_only_after_it_should_have_left_follows() -> None:
    """The split overtakes the hand-over: the views of A are A's."""
    world = World()
    for customer, sku in ((A, "tea"), (B, "cup")):
        world.feed(created(customer, T - DAY), shown(viewed(customer, sku, T), id_of(customer)))
    world.run().merge(A, B, 10, T + SECOND)
    split(world, B, A, [id_of(A)], 11, T + 2 * SECOND)
    world.feed(shown(viewed(B, "pot", T + 3 * SECOND), id_of(B)))
    while world.step(shard_of(B, SHARDS)):
        pass
    world.run()
    assert (views_of(world.profile(A)), views_of(world.profile(B))) == (
        [("tea", T)],
        [("cup", T), ("pot", T + 3 * SECOND)],
    )
    assert not any(world.profile(customer).parks for customer in (A, B))
    assert (world.profile(B).parted, world.parts(B)) == (0, [])


def test_after_the_days_of_undoing_nothing_is_kept_and_a_split_moves_no_state() -> None:
    world = merged()
    assert len(world.parts(B)) == 2
    world.feed(tick(T + 31 * DAY)).run()
    assert world.parts(B) == []
    assert world.profile(B).parted == 0
    split(world, B, A, created(A, T, "phone").ids, 11, T + 31 * DAY)
    world.run()
    assert world.profile(A).behaviour == Profile(A).behaviour
    assert not world.profile(A).parks


def test_nothing_is_kept_where_undoing_is_switched_off() -> None:
    off = config()
    world = World(msgspec.structs.replace(off, identity=msgspec.structs.replace(off.identity, undo_days=0)))
    world.feed(created(A), created(B)).run().merge(A, B, 10).run()
    assert (world.parts(B), world.profile(B).parted) == ([], 0)


def test_an_identifier_that_moves_takes_along_what_it_alone_has_brought() -> None:
    """An anonymous device was merged into B; then it turns out to be C's."""
    world = World().feed(created(A, T - DAY), created(B, T - DAY), created(C, T - DAY))
    world.feed(shown(viewed(A, "tea", T), id_of(A)), shown(viewed(B, "cup", T), id_of(B)))
    world.run().merge(A, B, 10, T + SECOND).run()
    for customer in (B, C):
        world.feed(Change(T + 9, token("moves"), "moved", customer, 12, T + 9, [id_of(A)], old=B, new=C))
    world.run()
    assert views_of(world.profile(B)) == [("cup", T)]
    assert views_of(world.profile(C)) == [("tea", T)]


def test_an_identifier_that_moves_from_who_has_more_of_that_part_takes_nothing_along() -> None:
    world = merged()
    for customer in (B, C):
        world.feed(Change(T + 9, token("moves"), "moved", customer, 12, T + 9, [id_of(A)], old=B, new=C))
    world.run()
    assert len(world.profile(B).carts) == 2
    assert world.profile(C).carts == {}


def test_of_three_the_middle_one_can_be_taken_out() -> None:
    world = World()
    for customer, sku in ((A, "tea"), (B, "cup"), (C, "pot")):
        world.feed(created(customer, T - DAY), shown(viewed(customer, sku, T), id_of(customer)))
    world.run().merge(A, B, 10, T + SECOND).run().merge(B, C, 11, T + 2 * SECOND).run()
    assert sorted(views_of(world.profile(C))) == [("cup", T), ("pot", T), ("tea", T)]
    split(world, C, B, [id_of(B)], 12, T + 3 * SECOND)
    world.run()
    assert views_of(world.profile(B)) == [("cup", T)]
    assert sorted(views_of(world.profile(C))) == [("pot", T), ("tea", T)]
    split(world, C, A, [id_of(A)], 13, T + 4 * SECOND)
    world.run()
    assert (views_of(world.profile(A)), views_of(world.profile(C))) == ([("tea", T)], [("pot", T)])


def test_two_that_were_one_before_can_still_be_told_apart_after_they_left_together() -> None:
    world = World()
    for customer, sku in ((A, "tea"), (B, "cup"), (C, "pot")):
        world.feed(created(customer, T - DAY), shown(viewed(customer, sku, T), id_of(customer)))
    world.run().merge(A, B, 10, T + SECOND).run().merge(B, C, 11, T + 2 * SECOND).run()
    split(world, C, B, sorted([id_of(A), id_of(B)]), 12, T + 3 * SECOND)
    world.run()
    assert sorted(views_of(world.profile(B))) == [("cup", T), ("tea", T)]
    split(world, B, A, [id_of(A)], 13, T + 4 * SECOND)
    world.run()
    assert (views_of(world.profile(A)), views_of(world.profile(B))) == ([("tea", T)], [("cup", T)])


def test_of_too_many_parts_the_oldest_can_no_longer_be_told_apart() -> None:
    kept: list[Part] = []
    whole = Profile("whole", ids=["device:0"])
    for n in range(1, parts.KEPT_PARTS + 3):
        other = Profile(f"p{n}", ids=[f"device:{n}"], units=1)
        parts.add(kept, whole, HandOver(other, until=T))
        join.absorb(whole, copy(other))
    assert len(kept) == parts.KEPT_PARTS
    assert kept[0].ids == ["device:0", "device:1", "device:2", "device:3"]
    assert kept[0].profile.units == 3
    assert parts.whole(kept).units == whole.units


# -- erasure -----------------------------------------------------------------------------------------------


def erased(customer: str, at: int, *keys: str) -> Change:
    return Change(
        at, token(f"erased {customer}"), "erased", customer, 20, at, [id_of(customer)], touchpoint="cmd", keys=[*keys]
    )


def test_who_is_erased_is_forgotten_and_what_comes_later_finds_nobody() -> None:
    world = merged()
    world.feed(erased(B, T + MINUTE, "kid1"), erased(B, T + MINUTE, "kid1"))
    world.feed(viewed(B, "tea", T + 2 * MINUTE), viewed(A, "tea", T + 3 * MINUTE)).run()
    before = world.counts["applied"]
    world.feed(tick(T + 2 * DAY), tick(T + 60 * DAY)).run()
    assert world.counts["applied"] == before
    assert world.counts["erased"] == 2
    profile = world.profile(B)
    assert profile == Profile(B, erased=T + MINUTE)
    assert (world.examples(B), world.parts(B), world.timers) == ([], [], [{}, {}, {}, {}])
    (receipt,) = world.written("ts.audit")
    assert (receipt.command, receipt.op, receipt.outcome, receipt.customers) == ("cmd", "erase", "erased", [B])
    assert receipt.counts["carts"] == 2
    assert receipt.counts["data_keys"] == 1
    (change,) = [each for each in world.written("ts.identity.changes") if each.kind == "erased"]
    assert (change.customer, change.ids) == (B, [])
    (tombstone,) = [each for each in world.written("ts.aliases") if each.erased]
    assert (tombstone.customer, tombstone.target, tombstone.erased) == (B, "", T + MINUTE)


def test_data_keys_made_before_redis_forgot_them_are_destroyed_as_well() -> None:
    """Stitch knows the latest key of a customer alone; the others have been told to the log."""
    world = World()
    for version, kid in enumerate((f"{A}.11", f"{A}.22"), 1):
        world.feed(msgspec.structs.replace(created(A, T, version=version), id=f"c{version}", keys=[kid]))
    world.feed(msgspec.structs.replace(created(B, T), keys=[f"{B}.33"])).run()
    assert world.profile(A).keys == ["11", "22"]
    world.merge(A, B, 10, T + SECOND).run()
    assert world.profile(B).keys == ["33", f"{A}.11", f"{A}.22"]
    world.feed(erased(B, T + MINUTE, f"{A}.22", f"{B}.33")).run()
    destroyed = [(each.key, each.value) for each in world.everything() if each.topic == "ts.data-keys"]
    assert destroyed == [(f"{A}.11".encode(), b"")]
    (receipt,) = world.written("ts.audit")
    assert receipt.counts["data_keys"] == 3


def test_what_waited_for_a_hand_over_is_erased_too_and_counted() -> None:
    world = World(routing=False).feed(created(A, T - DAY), created(B, T - DAY)).run()
    world.merge(A, B, 10).feed(viewed(B, "tea", T + 1), viewed(B, "cup", T + 2)).run()
    assert world.parked() == 2
    world.feed(erased(B, T + 3)).run()
    assert (world.parked(), world.counts["erased"]) == (0, 2)


def test_a_hand_over_to_who_is_erased_is_dropped_and_one_from_him_is_empty() -> None:
    world = World().feed(created(A), created(B), created(C), viewed(A, "tea", T))
    world.feed(erased(B, T + 1)).run()
    world.merge(A, B, 10, T + 2).run().merge(B, C, 11, T + 3).run()
    assert world.profile(B) == Profile(B, erased=T + 1)
    assert world.profile(C).parks == []
    assert views_of(world.profile(C)) == []


@pytest.mark.parametrize("kind", ["linked", "moved", "split", "refused"])
def test_an_erased_customer_stays_dead_whatever_is_told_of_it(kind: str) -> None:
    world = World().feed(created(A), erased(A, T + 1)).run()
    world.feed(Change(T + 2, token(kind), kind, A, 30, T + 2, ["device:x"], old=B, new=A)).run()
    assert world.profile(A) == Profile(A, erased=T + 1)


def test_refused_and_quarantined_are_told_with_the_reason_and_an_alert() -> None:
    world = World().feed(created(A))
    world.feed(Change(T, token("no"), "refused", A, 2, T, ["member:x", "member:y"], why="limit member")).run()
    world.feed(Change(T, token("hub"), "quarantined", A, 3, T, ["device:x"], old=B, new=A)).run()
    (told,) = [each for each in world.written("ts.identity.changes") if each.kind == "refused"]
    assert (told.why, told.ids) == ("limit member", ["member:x", "member:y"])
    assert "member:x" not in world.profile(A).ids
    (alert,) = world.written("ts.alerts")
    assert (alert.kind, alert.ids) == ("quarantined", ["device:x"])


def test_the_parts_of_evicted_profiles_are_forgotten_with_them() -> None:
    shard = World().shards[0]
    for n in range(3):
        shard.profile(f"c{n}")
        shard.kept_parts(f"c{n}").append(Part(["device:1"], T, Profile(f"c{n}")))
    shard.packed()
    shard.settle(4_000)
    assert list(shard.profiles) == list(shard.parts) == ["c2"]
