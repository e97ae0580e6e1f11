"""Who is anonymous and silent is forgotten by stitch, on a real Valkey: only if nobody would notice."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import redis
from confluent_kafka import Producer

from operators.birth import customer_id
from operators.stitching import Stitcher
from schemas.config import Config, Identity
from schemas.topics import COMMANDS, DATA_KEYS, topic_name
from state.tokens import Tokens, token_text
from tests.messages import START, message, touchpoint
from tests.system.identity_world import World, command, folded, restore, snapshot, token
from tests.system.pipeline import Pipeline, await_, chaotic
from tests.system.reading import read_topic

DAY = 86_400_000
#: The commands say that nothing was heard since then.
SILENT = START + DAY


@pytest.fixture
def world(client: redis.Redis) -> World:
    return World(client, identity=Identity())


def visitor(world: World) -> Stitcher:
    """A visitor with two identifiers, and a member."""
    stitcher = world.process()
    world.run(stitcher, message(0, "device:a", "cookie:a"), message(1, "!member:bob", "device:b"))
    return stitcher


def another(world: World) -> Stitcher:
    """A process that has taken the commands over."""
    stitcher = world.process()
    stitcher.positions.take([(topic_name(world.config, COMMANDS), 0)])
    return stitcher


def left(world: World) -> set[str]:
    """The identifiers in Redis."""
    names = {f"{ns}:{value}" for ns in ("device", "cookie") for value in "ab"} | {"member:bob"}
    held, _ = world.stored()
    return {name for name in names if token(name) in held}


def test_who_is_silent_is_gone_from_the_index_and_its_key_is_destroyed(world: World) -> None:
    stitcher = visitor(world)
    world.run(stitcher, command(world, "expire", "device:a", "cookie:a", time=SILENT))
    assert left(world) == {"member:bob", "device:b"}
    owners, clusters = world.stored()
    assert len(clusters) == 1, "no tombstone stays"
    (change,) = [each for each in world.changes() if each.kind == "expired"]
    assert (len(change.keys), change.time) == (1, SILENT)
    assert set(world.keys) == {kid for kid in world.keys if kid.startswith(owners[token("member:bob")])}
    assert world.audit == [], "nobody has decided that"
    assert {token_text(each): who for each, who in owners.items()} == folded(world.changes())


def test_who_comes_back_is_the_same_customer_with_another_key(world: World) -> None:
    stitcher = visitor(world)
    before, keys = world.stored()[0][token("device:a")], set(world.keys)
    world.run(stitcher, command(world, "expire", "device:a", "cookie:a", time=SILENT))
    world.run(stitcher, message(2, "device:a", "cookie:a", time=SILENT + 100 * DAY))
    assert world.stored()[0][token("device:a")] == before
    assert len(set(world.keys) - keys) == 1
    assert [each.kind for each in world.changes() if each.customer == before] == ["created", "expired", "created"]


@pytest.mark.parametrize(
    ("named", "time"),
    [
        (("device:a", "cookie:a"), START - 1),  # seen since
        (("device:a",), SILENT),  # there is more to it than was known to who asks
        (("device:b", "member:bob"), START - 1),
    ],
)
def test_who_is_not_as_silent_as_it_seemed_stays(world: World, named: tuple[str, ...], time: int) -> None:
    stitcher = visitor(world)
    before = world.stored()
    world.run(stitcher, command(world, "expire", *named, time=time))
    assert world.stored() == before
    assert not [each for each in world.changes() if each.kind == "expired"]


def test_whose_identifiers_say_something_of_others_stays(world: World) -> None:
    """A tablet that has gone to another member: what it was to Ann, only it tells."""
    stitcher = world.process()
    world.run(stitcher, message(0, "!member:ann", "device:a"), message(1, "!member:bob", "device:a", time=START + 9))
    world.run(stitcher, command(world, "split", "member:bob", "device:a", time=START + 20))
    (alone,) = {who for each, who in world.stored()[0].items() if each == token("device:a")}
    world.run(stitcher, command(world, "expire", "device:a", time=SILENT, offset=1))
    assert world.stored()[0][token("device:a")] == alone


def test_many_expire_at_once_and_again_changes_nothing(world: World) -> None:
    stitcher = world.process()
    world.run(stitcher, *[message(n, f"device:tab{n}") for n in range(50)])
    said = [command(world, "expire", f"device:tab{n}", time=SILENT, offset=n) for n in range(50)]
    writes = world.run(stitcher, *said)
    assert writes.rounds == 1
    assert world.stored() == ({}, [])
    world.run(another(world), *said)
    assert world.stored() == ({}, [])
    assert sum(each.kind == "expired" for each in world.changes()) == 50


def test_a_crash_before_it_was_told_tells_it_again(world: World) -> None:
    stitcher = visitor(world)
    said = command(world, "expire", "device:a", "cookie:a", time=SILENT)
    stitcher.stitch([said], {}, {})  # not published: what it had to tell is lost but for what Redis holds
    assert {each.erased != {} for each in world.stored()[1] if each.pending} == {True}
    world.run(another(world), said)
    assert [each.kind for each in world.changes()].count("expired") == 1
    assert left(world) == {"member:bob", "device:b"}


def test_a_visit_between_two_halves_begins_anew(world: World) -> None:
    stitcher, other = visitor(world), world.process()
    batch = stitcher.stitch([command(world, "expire", "device:a", "cookie:a", time=SILENT)], {}, {})
    world.run(other, message(2, "device:a", time=SILENT + 100 * DAY))
    world.publish(batch)
    stitcher.published(batch)
    owners, _ = world.stored()
    assert owners[token("device:a")] in {each.customer for each in world.changes() if each.kind == "created"}
    assert {token_text(each): who for each, who in owners.items()}.items() <= folded(world.changes()).items()


def test_what_redis_forgot_expires_again(world: World) -> None:
    stitcher = visitor(world)
    held = snapshot(world)
    said = command(world, "expire", "device:a", "cookie:a", time=SILENT)
    world.run(stitcher, said)
    restore(world, held)
    world.run(another(world), said)
    assert left(world) == {"member:bob", "device:b"}


def test_a_name_is_that_of_the_oldest_identifier(world: World) -> None:
    """So whoever comes back with it alone has it, too."""
    stitcher = visitor(world)
    world.run(stitcher, command(world, "expire", "device:a", "cookie:a", time=SILENT))
    world.run(stitcher, message(2, "device:a", time=SILENT + 100 * DAY))
    assert world.stored()[0][token("device:a")] == customer_id(token_text(token("device:a")))


@pytest.mark.flows
@pytest.mark.long("expiry")
def test_silence_is_noticed_and_ends_in_both_flows(deployment: Config, tmp_path: Path) -> None:
    """By the clock of the log, through Kafka and back: two visitors and a member come once, one visitor comes back."""
    config = msgspec.structs.replace(chaotic(deployment), identity=Identity(anonymous_days=30))
    producer = Producer({"bootstrap.servers": config.kafka.bootstrap})

    def send(*who: str, day: int, number: int) -> None:
        raw = touchpoint(number, *who, time=START + day * DAY, at=START + day * DAY)
        producer.produce(topic_name(config, "touchpoints"), raw, "", 0)
        assert producer.flush(30) == 0

    def kept() -> set[str]:
        """Whose identifiers are in the index."""
        tokens = Tokens(bytes.fromhex(config.keys.index))
        names = {f"device:{each}" for each in ("a", "b", "m")}
        keys = {f"{{{config.prefix}.i}}".encode() + tokens.identifier(*name.split(":")): name for name in names}
        return {name for key, name in keys.items() if pipeline.redis.exists(key)}

    with Pipeline(tmp_path, config, ("stitch", "engage")) as pipeline:
        for flow in pipeline.flows:
            flow.start()
        for number, who in enumerate((("device:a",), ("device:b",), ("!member:m", "device:m"))):
            send(*who, day=0, number=number)
        send("device:b", day=20, number=3)
        await_(lambda: kept() == {"device:a", "device:b", "device:m"}, "all to be known")
        send("device:m", day=31, number=4)
        await_(lambda: kept() == {"device:b", "device:m"}, "the silent visitor to expire")
        send("device:m", day=60, number=5)
        await_(lambda: kept() == {"device:m"}, "the other one to expire as well")
        await_(lambda: len(list(pipeline.redis.scan_iter(f"{{{config.prefix}.*}}c:*"))) == 1, "their profiles to go")
        pipeline.drain()
    changes = [json.loads(read.value or b"") for read in read_topic(config, topic_name(config, "identity.changes"))]
    assert sorted(change["kind"] for change in changes) == ["created", "created", "created", "expired", "expired"]
    destroyed = [read.key for read in read_topic(config, topic_name(config, DATA_KEYS)) if not read.value]
    assert len(destroyed) == 2
