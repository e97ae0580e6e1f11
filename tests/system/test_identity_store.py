"""Identity in a real Valkey: the compare-and-set script, and several processes at the same moment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Any, Literal

import pytest
import redis

from operators.evidence import HUB, KINDS, Evidence, join
from operators.stitching import Stitcher
from schemas.config import Identity
from schemas.errors import Conflict
from schemas.policy import Namespace
from schemas.stitched import Change, Event
from state.identity import ABSENT, ANY, DELETED, SAME, IdentityStore, Mark, Partition, Set, Source, Write, pack_source
from state.identity_memory import MemoryIdentity
from state.tokens import token_text
from tests.messages import START, TOPIC, Message, message
from tests.system.identity_world import World, command, evidence_of, folded, pure, restore, snapshot, token


@pytest.fixture
def world(client: redis.Redis) -> World:
    return World(client)


# -- the script --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["Redis", "memory"])
def test_each_write_is_all_or_nothing_and_marks_move_when_all_are_done(world: World, place: str) -> None:
    store = IdentityStore(world.redis, world.config.prefix) if place == "Redis" else MemoryIdentity()
    source = (TOPIC, 0)
    a, b = store.cluster_key(b"a"), store.cluster_key(b"b")

    def mark(expected: Source | None, moved: Source) -> list[Mark]:
        return [Mark(source, b"" if expected is None else pack_source(expected), pack_source(moved))]

    def position() -> Any:
        return store.sources([source]).get(source)

    def holds(key: bytes, value: bytes) -> bool:
        return store.write([[Set(key, value, SAME)]]) == [True]

    one, two = Source(1, 1), Source(2, 2)
    assert store.write([[Set(a, ABSENT, b"v1.a")]], mark(None, one)) == [True]
    assert position() == pack_source(one)
    first, second = [Set(a, b"v1", SAME), Set(b, ABSENT, b"v1.b")], [Set(b, ANY, b"no"), Set(a, ABSENT, SAME)]
    done = store.write([first, second], mark(one, two))
    assert done == [True, False]
    assert position() == pack_source(one)
    assert store.write([[Set(a, b"v1", b"v2.a"), Set(b, b"v1", DELETED)]]) == [True]
    assert (holds(a, b"v2.a"), holds(b, ABSENT), position()) == (True, True, pack_source(one))
    with pytest.raises(Conflict, match="touchpoints/0"):
        store.write([[Set(a, ANY, b"never")]], mark(two, one))
    with pytest.raises(Conflict):
        store.write([[Set(a, ANY, b"never")]], mark(None, one))
    assert holds(a, b"v2.a")
    assert not holds(b, b"v1")
    assert store.write([], mark(one, two)) == []
    assert position() == pack_source(two)


def test_the_script_is_loaded_again_after_a_flush(world: World) -> None:
    world.redis.script_flush()
    world.run(world.process(), message(0, "device:d1"))
    world.redis.script_flush()
    assert IdentityStore(world.redis, world.config.prefix).places([]) == {}
    assert len(world.stored()[0]) == 1


def test_a_large_batch_of_new_people_is_one_write(world: World) -> None:
    partitions: list[Partition] = [(TOPIC, 0)]
    world.run(world.process(), *(message(n, f"device:d{n}", f"member:m{n}", f"cookie:c{n}") for n in range(2_000)))
    assert len(world.stored()[0]) == 6_000
    assert world.process().positions.take(partitions) == {(TOPIC, 0): 2_000}


# -- several processes at the same moment ------------------------------------------------------------------


class Interrupted(IdentityStore):
    """A store where something else happens between reading and writing, or between the two reads."""

    def before(self, call: str, happens: Callable[[], None]) -> None:
        """Let ``happens`` happen before the next ``call``."""
        self._happens = {call: happens}

    def write(self, writes: Sequence[Write], marks: Sequence[Mark] = ()) -> list[bool]:
        self._interrupt("write")
        return super().write(writes, marks)

    def clusters(self, ids: Collection[bytes]) -> Any:
        if ids:
            self._interrupt("clusters")
        return super().clusters(ids)

    def _interrupt(self, call: str) -> None:
        happens = self.__dict__.setdefault("_happens", {}).pop(call, None)
        if happens is not None:
            happens()


def interruptible(world: World, part: int) -> tuple[Stitcher, Interrupted]:
    stitcher = world.process(part)
    store = Interrupted(world.redis, world.config.prefix)
    stitcher._store = stitcher._resolver._store = stitcher._resolver._planner._store = store
    return stitcher, store


@pytest.mark.parametrize("call", ["write", "clusters"])
def test_who_loses_a_race_reads_again(world: World, call: str) -> None:
    slow, store = interruptible(world, 0)
    fast = world.process(1)
    # Two identifiers: the larger cluster outlives a merge.
    seed = [message(0, "device:d1", "cookie:c1", part=1), message(1, "member:m1", part=1, time=START + 1)]
    world.run(fast, *seed)
    merge = message(2, "device:d1", "member:m1", part=1, time=START + 2)
    store.before(call, lambda: _run(world, fast, merge))
    late = [message(0, "member:m1", "phone:13812345670", time=START + 3), message(1, "device:d2", time=START + 4)]
    batch = world.run(slow, *late)
    assert batch.rounds == 2
    assert world.stored()[0] == pure([*seed, merge, *late])
    assert {token_text(each): owner for each, owner in world.stored()[0].items()} == folded(world.changes())
    assert world.process(0).positions.take([(TOPIC, 0)]) == {(TOPIC, 0): 2}


def _run(world: World, stitcher: Stitcher, *messages: Message) -> None:
    world.run(stitcher, *messages)


def test_a_kiosk_that_is_released_while_somebody_passes_it_is_read_again(client: redis.Redis) -> None:
    world = World(client, identity=Identity(namespaces={"device": Namespace(hub={"member": 2})}))
    slow, store = interruptible(world, 0)
    fast, people = world.process(1), ["member:ann", "member:bob", "member:eve"]
    world.run(fast, *(message(n, "device:kiosk", f"!{each}", part=1, time=START + n) for n, each in enumerate(people)))
    store.before("write", lambda: _run(world, fast, command(world, "release", "device:kiosk", *people)))
    batch = world.run(slow, message(0, "device:kiosk", "!member:new", time=START + 7))
    assert batch.rounds == 2
    owners, _ = world.stored()
    assert owners[token("device:kiosk")] == owners[token("member:new")], "who used it last"


def test_who_is_shown_by_a_kiosk_alone_is_found_where_the_kiosk_is_now(client: redis.Redis) -> None:
    """Who was found last in a cluster that has parted from the kiosk since is not looked for there."""
    world = World(client, identity=Identity(namespaces={"device": Namespace(hub={"member": 2})}))
    process = world.process(0)
    world.run(process, message(0, "!member:ann", "cookie:1", "device:till", "device:kiosk"))
    world.run(process, message(1, "device:kiosk", time=START + 1))
    some = [message(2 + n, "device:kiosk", f"!member:{each}", time=START + 2 + n) for n, each in enumerate("bc")]
    world.run(process, *some, message(4, "device:till", "!member:dan", time=START + 5))
    world.run(process, message(5, "device:kiosk", time=START + 90_000), message(6, "device:till", "!member:eve"))
    owners, _ = world.stored()
    alone = next(each for each in world.events() if each.src.endswith("/5"))
    assert alone.customer == owners[token("device:kiosk")]
    assert len({owners[token(f"member:{each}")] for each in ("ann", "b", "c", "dan", "eve")}) == 5


def test_redis_forgetting_between_two_rounds_of_a_batch_is_noticed(world: World) -> None:
    slow, store = interruptible(world, 0)
    fast = world.process(1)
    seed = message(0, "member:m1", part=1)
    world.run(fast, seed)
    other = message(1, "member:m1", "email:a@mail.cn", part=1, time=START + 1)
    held: dict[bytes, bytes] = {}

    def forget() -> None:
        restore(world, held)

    def overtake() -> None:
        world.run(fast, other)
        held.update(snapshot(world))  # holds nothing of the batch below, which is written in part next
        store.before("write", forget)

    store.before("write", overtake)
    news = [message(0, "device:d1"), message(1, "member:m1", "device:d2", time=START + 2)]
    batch = world.run(slow, *news)
    assert batch.rounds == 3
    assert world.stored()[0] == pure([seed, other, *news])


@pytest.mark.parametrize("rules", ["union", "retail"])
@pytest.mark.parametrize("seed", range(8))
def test_processes_that_interrupt_each_other_converge_to_the_pure_function(
    client: redis.Redis, seed: int, rules: Literal["union", "retail"]
) -> None:
    world = World(client, identity=Identity(rules=rules))
    names = [f"{ns}:{number}" for ns in ("member", "device", "cookie") for number in range(1, 15)]
    _converge(world, seed, lambda rng, part, offset: _random_message(rng, names, part, offset))


@pytest.mark.parametrize("seed", range(8))
def test_who_meets_at_a_kiosk_stays_apart_whoever_notices_it(client: redis.Redis, seed: int) -> None:
    world = World(client, identity=Identity(namespaces={"device": Namespace(hub={"member": 3})}))

    def visit(rng: Random, part: int, offset: int) -> Message:
        number = rng.randrange(1, 16)
        shown = rng.choice(([f"!member:{number}"], [f"cookie:{number}", f"!member:{number}"], []))
        kiosk = rng.choice(["device:kiosk-1", "device:kiosk-2", f"device:own-{number}"])
        both = ["device:kiosk-1"] if rng.random() < 0.05 and kiosk == "device:kiosk-2" else []
        return message(offset, kiosk, *both, *shown, part=part, time=START + rng.randrange(6 * 3_600_000))

    _converge(world, seed, visit)
    owners, clusters = world.stored()
    members = [owner for each, owner in owners.items() if each.startswith(b"member:")]
    assert len(set(members)) == len(members) > 8
    kiosk = token("device:kiosk-1")
    assert owners[kiosk] not in {owner for each, owner in owners.items() if each != kiosk}
    assert max(len(cluster.ids) for cluster in clusters) < 10, "a kiosk makes no large cluster"


def _converge(world: World, seed: int, make: Callable[[Random, int, int], Message]) -> None:
    """Three processes, interrupted by each other, stitch random messages; what is stored, what was told and the pure
    function must agree."""
    rng = Random(seed)
    queues = {part: [make(rng, part, offset) for offset in range(40)] for part in range(3)}
    every = [each for queue in queues.values() for each in queue]
    processes = {part: interruptible(world, part) for part in queues}

    def step(depth: int) -> None:
        """One batch of a random process, itself interrupted by one of another, three deep."""
        part = rng.choice([each for each in queues if queues[each] and each not in busy] or [-1])
        if part < 0:
            return
        stitcher, store = processes[part]
        size = rng.randint(1, 6)
        batch, queues[part] = queues[part][:size], queues[part][size:]
        busy.add(part)
        if depth:
            store.before(rng.choice(("write", "clusters")), lambda: step(depth - 1))
        world.run(stitcher, *batch)
        busy.discard(part)

    busy: set[int] = set()
    while any(queues.values()):
        step(2)
    owners, clusters = world.stored()
    evidence, policy = evidence_of(every, world.config.identity)
    assert {change.policy for change in world.changes()} == {policy.version}
    assert owners == pure(every, world.config.identity)
    assert {token_text(each): owner for each, owner in owners.items()} == folded(world.changes())
    assert sorted(event.src for event in world.events()) == sorted(
        f"{TOPIC}/{each.part}/{each.place}" for each in every
    )
    kept: Evidence = {}
    for cluster in clusters:
        join(kept, cluster.facts(KINDS))
        assert not cluster.pending
    # What passes between hubs says nothing of anyone, and need not be kept.
    hubs = {a for kind, a, _ in kept if kind == HUB}
    of_people = [{fact: all_[fact] for fact in all_ if not hubs.issuperset(fact[1:])} for all_ in (kept, evidence)]
    assert of_people[0] == of_people[1], "what is stored is the evidence, whole and nothing else"
    _in_order(world)


def _random_message(rng: Random, names: list[str], part: int, offset: int) -> Message:
    who = [rng.choice(("", "", "!")) + name for name in rng.sample(names, rng.choice((1, 1, 2, 2, 3)))]
    return message(offset, *who, part=part, time=START + rng.randrange(6 * 3_600_000))


def _in_order(world: World) -> None:
    """No touchpoint of a customer before its creation."""
    created: set[str] = set()
    for record in world.log:
        if isinstance(record, Change) and record.kind == "created":
            created.add(record.customer)
        elif isinstance(record, Event):
            assert record.customer in created
