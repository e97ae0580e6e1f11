"""State in a Redis Cluster: what one server does, three do."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
import redis
from redis.exceptions import MovedError

from schemas.config import Config
from schemas.errors import Conflict
from state.connection import connect
from state.identity import IdentityStore, Mark, Set, Source, pack_source
from state.shards import Commit, Output, ShardStore
from tests.conftest import KEYS
from tests.redis_cluster import ClusterNode, move_slot, redis_cluster
from tests.system.oracle import judge
from tests.system.pipeline import Feeder, Pipeline, await_, chaotic

pytestmark = pytest.mark.system

SHARDS = range(12)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ClusterNode]]:
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture
def client(nodes: list[ClusterNode]) -> Iterator[redis.Redis]:
    config = Config(keys=KEYS)
    settings = msgspec.structs.replace(config.redis, url=nodes[0].url, cluster=True)
    with connect(msgspec.structs.replace(config, redis=settings)) as client:
        yield client
    for node in nodes:
        node.ask("FLUSHALL")


def commit(shard: int, expected: int | None, r: int) -> Commit:
    return Commit(shard, expected, r, b"s%d" % r, {f"c:{shard}": b"p%d" % r}, {str(shard): r}, {"applied": 1},
                  [Output(r, "t", 0, None, b"v")])  # fmt: skip


def test_shards_lie_on_all_nodes_and_are_read_and_written_together(
    client: redis.Redis, nodes: list[ClusterNode]
) -> None:
    store = ShardStore(client, "ts")
    store.take(SHARDS, "me", "txn")
    store.commit([commit(shard, None, shard + 1) for shard in SHARDS], "me", 5)
    assert [held.r for held in store.read(SHARDS)] == [shard + 1 for shard in SHARDS]
    assert store.read([3])[0].outbox == [Output(4, "t", 0, None, b"v")]
    loaded = store.load({shard: [f"c:{shard}", "c:nobody"] for shard in SHARDS})
    assert loaded == {shard: [b"p%d" % (shard + 1), None] for shard in SHARDS}
    assert store.counts(SHARDS) == {"applied": len(SHARDS)}
    assert store.timers(dict.fromkeys(SHARDS, 9)) == {shard: [(shard + 1, str(shard))] for shard in SHARDS}
    assert min(node.ask("DBSIZE") for node in nodes) > 0
    with pytest.raises(Conflict, match=r"\[3\]"):
        store.commit([commit(shard, shard + 1 + (shard == 3), 20) for shard in SHARDS], "me", 6)


def test_a_scan_goes_through_all_nodes(client: redis.Redis) -> None:
    store = ShardStore(client, "ts")
    store.take(SHARDS, "me", "txn")
    store.commit([commit(shard, None, 1) for shard in SHARDS], "me", 5)
    cursor, found = 0, dict[int, list[str]]()
    while True:
        cursor, some = store.scan(cursor, 3)
        found.update(some)
        if not cursor:
            break
    assert found == {shard: [str(shard)] for shard in SHARDS}
    assert len(list(client.scan_iter("{ts.*}c:*"))) == len(SHARDS)


def test_the_identity_index_is_one_slot(client: redis.Redis) -> None:
    store, source = IdentityStore(client, "ts"), ("ts.touchpoints", 0)
    mark = Mark(source, b"", pack_source(Source(7, 9)))
    assert store.write([[Set(b"{ts.i}device:1", b"", b"x")], [Set(b"{ts.i}device:1", b"", b"y")]], [mark]) == [
        True,
        False,
    ]
    assert store.write([[Set(b"{ts.i}device:2", b"", b"x")]], [mark]) == [True]
    assert store.sources() == {source: mark.moved}


def test_who_has_moved_is_told_once_and_found_then(client: redis.Redis, nodes: list[ClusterNode]) -> None:
    store = ShardStore(client, "ts")
    store.take(SHARDS, "me", "txn")
    store.commit([commit(shard, None, 1) for shard in SHARDS], "me", 5)
    move_slot(store.key(3, "shard"), nodes)
    with pytest.raises(MovedError):
        store.read(SHARDS)
    assert [held.r for held in store.read(SHARDS)] == [1] * len(SHARDS)
    store.commit([commit(shard, 1, 2) for shard in SHARDS], "me", 6)
    assert [held.r for held in store.read(SHARDS)] == [2] * len(SHARDS)


@pytest.mark.flows
@pytest.mark.long("cluster")
def test_the_flows_keep_every_promise_while_slots_move(
    deployment: Config, nodes: list[ClusterNode], client: redis.Redis, tmp_path: Path
) -> None:
    settings = msgspec.structs.replace(deployment.redis, url=nodes[0].url, cluster=True)
    config = chaotic(msgspec.structs.replace(deployment, redis=settings))
    with Pipeline(tmp_path, config, ("stitch", "engage", "engage", "learn")) as pipeline:
        for flow in pipeline.flows:
            flow.start()
        feeder = Feeder(config, seed=11, rate=100)
        feeder.start()
        try:
            store, index = ShardStore(client, config.prefix), f"{{{config.prefix}.i}}sources"
            for turn, moving in enumerate((*[store.key(shard, "shard") for shard in range(3)], index)):
                await_(partial(_happened, pipeline, 300 * (turn + 1)), "a stretch of load")
                move_slot(moving, nodes)
            await_(partial(_happened, pipeline, 1_500), "more load")
        finally:
            feeder.finish()
        pipeline.rest(feeder.sent)
        verdict = judge(config, pipeline.redis)
    assert verdict.faults == []
    assert pipeline.ends == []


def _happened(pipeline: Pipeline, touchpoints: int) -> bool:
    """Who looks on is told of a move once, too."""
    try:
        return pipeline.revive() and pipeline.happened(touchpoints)
    except MovedError:
        return False
