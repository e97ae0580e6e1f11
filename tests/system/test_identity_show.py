"""`identity show` on what the stitch core stored."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from flows.identity_lookup import Lookup
from flows.identity_show import readable, show
from flows.why import Why
from schemas.config import Identity
from schemas.errors import TouchstreamError
from schemas.stitched import shard_of
from state.profile import Decided, Profile, pack
from state.shards import ShardStore
from tests.messages import START, message
from tests.system.identity_world import World, token

HOUR = 3_600_000
ANN = "00000000-0000-0000-0000-00000000000a"


@pytest.fixture
def world(redis_server: str) -> Iterator[World]:
    with redis.Redis.from_url(redis_server) as client:
        yield World(client, identity=Identity())


def test_a_family_device_is_explained(world: World) -> None:
    world.run(
        world.process(),
        message(0, "device:tablet"),
        message(1, "device:tablet", "!member:ann", time=START + HOUR),
        message(2, "device:tablet", "!member:bob", time=START + 9 * HOUR),
    )
    shown = show(world.config, world.redis, "device:tablet")
    owners, _ = world.stored()
    assert shown.customer == owners[token("member:bob")] != owners[token("member:ann")]
    assert [(link.kind, link.holds) for link in shown.links] == [("login", False), ("login", True)]
    assert "too many of member" in shown.links[0].why
    text = "\n".join(readable(shown))
    assert text.startswith(f"device:tablet is customer {shown.customer}")
    assert "device:tablet (asked for)" in text
    assert "ann" not in text


def test_a_kiosk_stands_for_nobody(world: World) -> None:
    people = [message(n, "device:kiosk", f"!member:{n}", time=START + n) for n in range(12)]
    world.run(world.process(), *people)
    shown = show(world.config, world.redis, "device:kiosk")
    assert [person.nobody for person in shown.people] == [True]
    assert any("hub" in decision for decision in shown.decisions)


@pytest.mark.parametrize("identifier", ["device:never", "device:null", "nonsense", ""])
def test_what_cannot_be_shown_is_said(world: World, identifier: str) -> None:
    with pytest.raises(TouchstreamError, match=r"never been seen|identifies nobody"):
        show(world.config, world.redis, identifier)


def test_nothing_of_another_is_shown_of_who_was_split_from_it(world: World) -> None:
    """Identity is known at once; the profile still leads to the other until engage has heard of the split."""
    lookup, shards = Lookup(world.config, world.redis), ShardStore(world.redis, world.config.prefix)
    world.run(world.process(), message(0, "member:bob"))
    bob = show(world.config, world.redis, "member:bob").customer
    for profile in (Profile(ANN, decided=[Decided("d", START, "welcome", "emitted")]), Profile(bob, alias=ANN)):
        world.redis.set(shards.key(shard_of(profile.customer, 4), "c:" + profile.customer), pack(profile))
    ann = lookup.profile(bob)
    assert ann is not None and ann.customer == ANN
    assert lookup.own(bob) == Profile(bob)
    assert lookup.own(ANN) == ann
    mine = Why(world.config, world.redis, seconds=1).customer("member:bob")
    assert mine == Profile(bob)
