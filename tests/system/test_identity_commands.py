"""What operators decide, on a real Valkey: merge, split, release, erase."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.birth import customer_id
from operators.stitching import Batch, Stitcher
from schemas.config import Identity
from schemas.topics import COMMANDS, topic_name
from state.tokens import token_text
from tests.effort import examples
from tests.messages import START, Message, message
from tests.system.identity_world import World, command, folded, restore, snapshot, token

HOUR = 3_600_000


@pytest.fixture
def world(client: redis.Redis) -> World:
    return World(client, identity=Identity())


def holders(world: World, *named: str) -> list[str | None]:
    owners, _ = world.stored()
    return [owners.get(token(each)) for each in named]


def two_people(world: World) -> Stitcher:
    stitcher = world.process()
    world.run(stitcher, message(0, "!member:ann", "device:a"), message(1, "!member:bob", "device:b"))
    return stitcher


def audited(world: World) -> list[tuple[str, str, str]]:
    return [(each["op"], each["outcome"], each.get("why", "")) for each in world.audit]


def test_merging_two_and_splitting_them_again_gives_each_its_old_name(world: World) -> None:
    stitcher = two_people(world)
    ann, bob = holders(world, "member:ann", "member:bob")
    world.run(stitcher, command(world, "merge", "member:ann", "member:bob"))
    (one,) = set(holders(world, "member:ann", "member:bob", "device:a", "device:b"))
    assert one in (ann, bob)
    world.run(stitcher, command(world, "split", "member:ann", "member:bob", time=START + 2 * HOUR, offset=1))
    assert holders(world, "member:ann", "device:a", "member:bob", "device:b") == [ann, ann, bob, bob]
    told = [change.kind for change in world.changes() if change.kind not in ("created", "linked")]
    assert told == ["merged", "merged", "split", "split"]  # a copy for each side
    assert audited(world) == [("merge", "applied", ""), ("split", "applied", "")]
    assert world.audit[0]["by"] == "ops"
    assert world.audit[0]["customers"] == [one]
    assert {token_text(each): who for each, who in world.stored()[0].items()} == folded(world.changes())


def test_what_is_decided_in_vain_is_refused_with_the_reason(world: World) -> None:
    stitcher = two_people(world)
    world.run(stitcher, command(world, "split", "member:ann", "member:bob", time=START + 2 * HOUR))
    world.run(stitcher, command(world, "merge", "member:ann", "member:bob", offset=1))
    world.run(stitcher, command(world, "merge", "member:ann", "member:never seen", offset=2))
    world.run(stitcher, command(world, "release", "device:a", offset=3))
    assert audited(world) == [
        ("split", "applied", ""),
        ("merge", "refused", "split since"),
        ("merge", "refused", "unknown identifier"),
        ("release", "applied", ""),
    ]
    refused = [change for change in world.changes() if change.kind == "refused"]
    assert [change.why for change in refused] == ["split since", "unknown identifier"]
    assert {token_text(each): who for each, who in world.stored()[0].items()} == folded(world.changes())


def test_a_merge_of_one_who_is_seen_only_later_takes_effect_then(world: World) -> None:
    stitcher = two_people(world)
    world.run(stitcher, command(world, "merge", "member:ann", "member:eve"))
    assert holders(world, "member:eve") == [None]
    world.run(stitcher, message(2, "!member:eve", "device:e", time=START + 2 * HOUR))
    assert len(set(holders(world, "member:ann", "member:eve", "device:e"))) == 1


def test_a_released_hub_links_people_again(world: World) -> None:
    stitcher = world.process()
    people = [message(n, "device:kiosk", f"!member:{n}", time=START + n) for n in range(12)]
    world.run(stitcher, *people)
    everyone = [f"member:{n}" for n in range(12)]
    assert len(set(holders(world, "device:kiosk", *everyone))) == 13
    world.run(stitcher, command(world, "release", "device:kiosk", *everyone))
    assert holders(world, "device:kiosk") == holders(world, "member:11")  # who used it last
    assert audited(world) == [("release", "applied", "")]
    assert "released" in {change.kind for change in world.changes()}
    world.run(stitcher, message(12, "device:kiosk", "!member:3", time=START + HOUR + 1))
    assert holders(world, "device:kiosk") == holders(world, "member:3")


def test_a_link_that_a_limit_forbids_is_told_once(world: World) -> None:
    stitcher = world.process()
    world.run(stitcher, message(0, "!member:ann", "loyalty_card:7"))
    for offset, time in ((1, START + 2), (2, START + 3), (3, START + 1)):  # the last is an earlier first: not cheap
        world.run(stitcher, message(offset, "!member:bob", "loyalty_card:7", time=time))
    (refused,) = [change for change in world.changes() if change.kind == "refused"]
    assert refused.why == "limit member"
    assert set(refused.ids) == {token_text(token(each)) for each in ("member:bob", "loyalty_card:7")}
    assert refused.customer == holders(world, "member:bob")[0]


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b"not json",
        b'{"id":"1","op":"merge","ids":["member:x"],"time":1770000000000}',
        b'{"id":"1","op":"erase","ids":["member:x"],"time":1770000000000}',
        b'{"id":"1","op":"explode","ids":["member:AAAAAAAAAAAAAAAAAAAAAA"],"time":1770000000000}',
        b'{"id":"1","op":"erase","ids":["member:AAAAAAAAAAAAAAAAAAAAAA"],"time":1}',
    ],
)
def test_what_is_no_command_is_a_dead_letter(world: World, raw: bytes) -> None:
    batch = world.run(world.process(), Message(0, raw, source=topic_name(world.config, COMMANDS)))
    assert [each["reason"] for each in world.dead] == ["not_a_command"]
    assert (lane(batch).consumed, lane(batch).dead, lane(batch).commands) == (1, 1, 0)


def lane(batch: Batch) -> Any:
    (found,) = batch.lanes.values()
    return found


def test_a_source_cannot_give_commands(world: World) -> None:
    """The same bytes on a source topic are a broken touchpoint."""
    two_people(world)
    said = command(world, "merge", "member:ann", "member:bob")
    world.run(world.process(), Message(9, said.raw))
    assert len(world.dead) == 1
    assert len(set(holders(world, "member:ann", "member:bob"))) == 2


# -- erasure -----------------------------------------------------------------------------------------------


def test_erasing_one_identifier_forgets_all_of_the_customer_and_its_keys(world: World) -> None:
    stitcher = world.process()
    world.run(
        stitcher,
        message(0, "device:a", "email:ann@mail.cn"),
        message(1, "!member:ann", "phone:+8613812345671"),
    )
    world.run(
        stitcher,
        message(2, "!member:ann", "device:a", time=START + 5),
        message(3, "!member:bob", "device:b"),
    )
    (ann,) = set(holders(world, "member:ann", "device:a", "email:ann@mail.cn", "phone:+8613812345671"))
    bob = holders(world, "member:bob")
    kept = {kid for kid in world.keys if kid.startswith(str(bob[0]))}
    batch = world.run(stitcher, command(world, "erase", "phone:+8613812345671"))
    assert lane(batch).commands == 1
    gone = ("member:ann", "device:a", "email:ann@mail.cn", "phone:+8613812345671")
    assert holders(world, *gone, "member:bob") == [None, None, None, None, *bob]
    (change,) = [change for change in world.changes() if change.kind == "erased"]
    assert change.customer == ann
    assert len(change.keys) == 2  # the anonymous device was a customer of its own once
    assert set(world.keys) == kept
    assert world.audit[0]["customers"] == [ann]
    assert audited(world) == [("erase", "applied", "")]
    _, clusters = world.stored()
    tombstones = [cluster for cluster in clusters if cluster.erased]
    assert all(len(cluster.ids) == 1 for cluster in tombstones), "tombstones do not tell who had been one"
    assert len(tombstones) == 4
    assert all(not cluster.keys and not cluster.customers for cluster in tombstones)


def test_what_comes_late_is_dropped_and_what_is_new_starts_afresh(world: World) -> None:
    stitcher = two_people(world)
    (ann,) = set(holders(world, "member:ann", "device:a"))
    world.run(stitcher, command(world, "erase", "member:ann"))
    before = len(world.events())
    batch = world.run(
        stitcher,
        message(2, "!member:ann", "device:a"),
        message(3, "device:a", "cookie:new", time=START + HOUR),
        message(4, "!member:bob", "device:b"),
    )
    assert (lane(batch).consumed, lane(batch).erased) == (3, 2)
    assert len(world.events()) == before + 1
    assert holders(world, "member:ann", "device:a", "cookie:new") == [None, None, None]
    world.run(stitcher, message(5, "!member:ann", "device:a", time=START + HOUR + 1))
    fresh = holders(world, "member:ann", "device:a")
    assert fresh[0] == fresh[1] != ann
    assert fresh[0] != customer_id(token_text(token("member:ann")))
    # a batch that holds both, and a repetition of what is known by now
    batch = world.run(
        stitcher,
        message(6, "!member:ann", "device:a", time=START),
        message(7, "!member:ann", "device:a", time=START + HOUR + 2),
        message(8, "!member:ann", "device:a", time=START + HOUR + 2),
    )
    assert lane(batch).erased == 1
    assert holders(world, "member:ann", "device:a") == fresh
    batch = world.run(stitcher, message(9, "!member:ann", "device:a", time=START + HOUR + 2))
    assert batch.effects["nothing"] == 1
    batch = world.run(stitcher, message(10, "!member:ann", "device:a", time=START + HOUR))
    assert lane(batch).erased == 1, "the moment itself is before, whoever is known by now"


def test_erasing_twice_and_again_after_a_new_start_changes_nothing(world: World) -> None:
    stitcher = two_people(world)
    said = command(world, "erase", "member:ann")
    world.run(stitcher, said)
    world.run(stitcher, message(2, "!member:ann", "device:a", time=START + 2 * HOUR))
    before = holders(world, "member:ann", "device:a", "member:bob")
    world.run(stitcher, said._replace(place=1))
    assert holders(world, "member:ann", "device:a", "member:bob") == before
    assert sum(change.kind == "erased" for change in world.changes()) == 1


def test_erasing_who_was_never_seen_keeps_late_touchpoints_out(world: World) -> None:
    stitcher = two_people(world)
    world.run(stitcher, command(world, "erase", "email:eve@mail.cn"))
    batch = world.run(stitcher, message(2, "email:eve@mail.cn", "device:b", time=START + HOUR))
    assert lane(batch).erased == 1
    assert holders(world, "email:eve@mail.cn", "device:b") == [None, holders(world, "member:bob")[0]]


def test_who_is_erased_at_the_moment_of_an_earlier_erasure_is_named_anew(world: World) -> None:
    stitcher = world.process()
    world.run(stitcher, command(world, "erase", "device:b"))
    world.run(stitcher, message(0, "device:b", "member:1", time=START + HOUR + 1))
    (dead,) = set(holders(world, "device:b", "member:1"))
    world.run(stitcher, command(world, "erase", "member:1", offset=1))
    assert dead not in holders(world, "device:b", "member:1")


def test_the_other_user_of_a_family_device_stays(world: World) -> None:
    stitcher = world.process()
    world.run(
        stitcher,
        message(0, "!member:ann", "device:tablet"),
        message(1, "!member:bob", "device:tablet", time=START + 1),
        message(2, "!member:ann", "phone:+8613812345671", time=START + 2),
    )
    ann = holders(world, "member:ann", "phone:+8613812345671")
    world.run(stitcher, command(world, "erase", "member:bob"))
    assert holders(world, "member:bob", "device:tablet") == [None, None]
    # Ann was named after the tablet, which nobody has ever seen now.
    (renamed,) = {change.new for change in world.changes() if change.kind == "merged" and change.old == ann[0]}
    assert holders(world, "member:ann", "phone:+8613812345671") == [renamed, renamed]


def test_who_holds_what_an_erased_customer_was_named_after_keeps_the_own_id(world: World) -> None:
    stitcher = world.process()
    tablet = ("device:tablet", "!member:ann", "!member:bob")
    world.run(stitcher, *(message(n, *{tablet[0], tablet[n]}, time=START + n) for n in range(3)))
    ann, bob = holders(world, "member:ann", "member:bob")
    assert ann == customer_id(token_text(token("device:tablet")))
    world.run(stitcher, command(world, "erase", "member:ann"))
    assert holders(world, "member:ann", "member:bob", "device:tablet") == [None, bob, bob]


def test_what_was_split_off_from_who_is_erased_does_not_inherit_the_name(world: World) -> None:
    stitcher = world.process()
    world.run(stitcher, message(0, "device:a"), message(1, "device:a", "!member:ann", time=START + 1))
    world.run(stitcher, command(world, "split", "member:ann", "device:a"))
    ann, device = holders(world, "member:ann", "device:a")
    assert ann == customer_id(token_text(token("device:a"))) != device
    world.run(stitcher, command(world, "erase", "member:ann", offset=1))
    assert holders(world, "member:ann", "device:a")[0] is None
    assert holders(world, "device:a")[0] not in (None, ann)


def test_after_redis_has_lost_an_erasure_it_is_done_again(world: World) -> None:
    stitcher = two_people(world)
    held = snapshot(world)
    said = command(world, "erase", "member:ann")
    world.run(stitcher, said)
    once = folded(world.changes())
    restore(world, held)
    again = world.process()
    world.run(again, said, committed={(said.topic(), 0): 1})
    assert folded(world.changes()) == once
    assert holders(world, "member:ann", "device:a") == [None, None]
    assert len(world.audit) == 1, "the receipt is in Kafka already"


steps = st.lists(
    st.tuples(
        st.sampled_from(["see", "see", "see", "erase", "merge", "split"]),
        st.sampled_from(["member:1", "member:2", "device:a", "device:b"]),
        st.sampled_from(["member:1", "member:2", "device:a", "device:b", "cookie:c"]),
        st.integers(1, 40),
    ),
    max_size=10,
)


@given(some=steps)
@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_redis_agrees_with_itself_and_with_the_changes(client: redis.Redis, some: Any) -> None:
    world = World(client, identity=Identity())
    stitcher = world.process()
    ends: dict[str, int] = {}
    for number, (what, one, other, minute) in enumerate(some):
        time = START + minute * 60_000
        if what == "see":
            world.run(stitcher, message(number, one, other, time=time))
        elif what == "erase":
            world.run(stitcher, command(world, "erase", one, time=time, offset=number))
            ends[one] = max(time, ends.get(one, 0))
        elif one != other:
            world.run(stitcher, command(world, what, one, other, time=time, offset=number))
    owners, clusters = world.stored()
    assert {token_text(each): who for each, who in owners.items() if who} == folded(world.changes())
    assert not any(cluster.pending for cluster in clusters)
    shown = {each: cluster for cluster in clusters for each in cluster.ids}
    for named, time in ends.items():
        assert shown[token(named)].erased_at(token(named)) >= time
    dead = {change.customer for change in world.changes() if change.kind == "erased"}
    assert dead.isdisjoint(who for who in owners.values() if who)
    assert not any(kid.partition(".")[0] in dead for kid in world.keys)
