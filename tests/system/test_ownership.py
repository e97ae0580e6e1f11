"""What owning a shard leaves in Kafka and Redis."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import Producer

from operators.kafka import client_properties
from operators.ownership import Ownership
from operators.starting import Start
from schemas.config import Config
from schemas.topics import topic_name
from state.connection import connect
from state.shards import ShardStore, Stored
from tests.system.pipeline import await_

OLD = {0: 500, 1: 7}  # R of a log that is gone; the new one reaches beyond the second


def take_over(config: Config, store: ShardStore, *, initialise: bool) -> Mapping[int, Start]:
    """Where shards start for a process that dies before it commits anything."""
    starts: dict[int, Start] = {}

    def opened(number: int, start: Start, held: Stored) -> None:
        starts[number] = start

    owner = Ownership(
        config, "engage", topic_name(config, "stitched"), store, opened, starts.clear, initialise=initialise
    )
    owner.check_partitions(config.topics.shards)
    await_(lambda: owner.poll(1, 0.05) == [] and len(starts) == config.topics.shards, "the shards to be taken over")
    found = dict(starts)
    owner.subscription.close()
    return found


def test_who_begins_anew_leaves_no_position_of_the_old_log_to_who_comes_next(deployment: Config) -> None:
    topic = topic_name(deployment, "stitched")
    producer = Producer(client_properties(deployment))
    for _ in range(20):
        producer.produce(topic, b"x", partition=1)
    producer.flush()
    store = ShardStore(connect(deployment), deployment.prefix)
    store.begin(OLD)
    assert {each.kind for each in take_over(deployment, store, initialise=True).values()} == {"fresh"}
    assert [held.r for held in store.read([0, 1, 2])] == [0, 0, 0]
    next_ = take_over(deployment, store, initialise=False)
    assert (next_[0].offset, next_[1].offset) == (0, 0)
