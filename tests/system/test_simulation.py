"""The store of the simulation against a real Valkey: the same commands and scripts, the same replies and contents."""

from __future__ import annotations

from random import Random
from secrets import token_hex
from typing import Any, cast

import pytest
import redis

from schemas.errors import Conflict
from state.identity import IdentityStore, Mark, Set
from state.shards import Commit, Interest, Output, ShardStore
from tests.simulation.store import Client, Store

ROUNDS = 150
NAMES = [f"n{number}" for number in range(5)]


@pytest.mark.parametrize("seed", range(4))
def test_shards_are_kept_alike(client: redis.Redis, seed: int) -> None:
    prefix = f"t{token_hex(4)}"
    ours, real = [_history(ShardStore(each, prefix), Random(seed)) for each in (_memory(), client)]
    assert ours == real
    assert Conflict in ours
    assert ours[-1], "somebody is there in the end"


def _history(store: ShardStore, rng: Random) -> list[Any]:
    """What many calls have answered, and what is there in the end."""
    told: list[Any] = []
    owners = ["a", "b"]
    held: dict[int, int | None] = {0: None, 1: None}
    for number in range(ROUNDS):
        shard, owner, chance = rng.randrange(2), rng.choice(owners), rng.random()
        if chance < 0.1:
            told.append(store.take([0, 1], owner, f"txn-{owner}"))
        elif chance < 0.15:
            store.let_go([shard], owner)
        elif chance < 0.2:
            store.begin({shard: 3})
            held[shard] = 3 if held[shard] is None else held[shard]
        elif chance < 0.7:
            expected = held[shard] if rng.random() < 0.9 else 99
            try:
                store.commit([_commit(rng, shard, expected, number)], owner, number)
                held[shard] = number
            except Conflict:
                told.append(Conflict)
        else:
            wanted = [f"{kind}:{name}" for kind in "cxup" for name in NAMES]
            told.append((store.read([0, 1]), store.load({shard: wanted}), store.sizes([0, 1])))
            told.append((store.timers({shard: 3}), store.interested({shard: ["s"]}), store.counts([0, 1])))
    found: dict[int, list[str]] = {}
    cursor = 0
    while True:
        cursor, page = store.scan(cursor, 2)
        for shard, customers in page.items():
            found.setdefault(shard, []).extend(customers)
        if not cursor:
            return [*told, {shard: sorted(set(customers)) for shard, customers in sorted(found.items())}]


def _commit(rng: Random, shard: int, expected: int | None, r: int) -> Commit:
    entities = {f"{rng.choice('cxup')}:{name}": rng.choice([b"one", b"two", None]) for name in rng.sample(NAMES, 3)}
    timers = {name: rng.choice([None, rng.randrange(1_000)]) for name in rng.sample(NAMES, 2)}
    counters = {name: rng.randrange(3) for name in rng.sample(NAMES, 2)} | {"customers": 1}
    outbox = [Output(r, "t", -1, None, b"v")] * rng.randrange(2)
    interest = Interest({"s": {name: rng.randrange(1_000) for name in NAMES}}, rng.randrange(500), 10_000)
    return Commit(
        shard, expected, r, b"state", entities, timers, counters, outbox, interest if rng.random() < 0.5 else None
    )


@pytest.mark.parametrize("seed", range(4))
def test_identity_is_kept_alike(client: redis.Redis, seed: int) -> None:
    prefix = f"t{token_hex(4)}"
    ours, real = [_writes(IdentityStore(each, prefix), Random(seed)) for each in (_memory(), client)]
    assert ours == real
    assert {Conflict, True, False} <= {each for answer in ours if isinstance(answer, list) for each in answer}


def _writes(store: IdentityStore, rng: Random) -> list[Any]:
    told: list[Any] = []
    keys = [store.identifier_key(name.encode()) for name in NAMES]
    positions: dict[tuple[str, int], bytes] = {}
    for _ in range(ROUNDS):
        writes = [
            [Set(key, *_change(rng)) for key in rng.sample(keys, rng.randint(1, 3))] for _ in range(rng.randint(0, 3))
        ]
        source = ("t", rng.randrange(2))
        expected = positions.get(source, b"") if rng.random() < 0.8 else b"stale"
        moved = b"m%d" % rng.randrange(9)
        try:
            done = store.write(writes, [Mark(source, expected, moved)])
            told.append(done)
            if all(done):
                positions[source] = moved
        except Conflict:
            told.append([Conflict])
        told.append(store.places([name.encode() for name in NAMES]))
    return [*told, store.sources()]


def _change(rng: Random) -> tuple[bytes, bytes]:
    """What a key must begin with, and its new value."""
    return rng.choice([b"", b"*", b"1", b"2", b"12"]), rng.choice([b"", b"=", b"12345678", b"2" * 24, b"1" * 24])


def _memory() -> redis.Redis:
    return cast(redis.Redis, Client(Store(), lambda kind, what: "go"))
