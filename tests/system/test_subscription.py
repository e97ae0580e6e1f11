"""What a subscription asks Kafka for when partitions are taken over."""

from __future__ import annotations

import time
from functools import partial

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition

from flows import admin
from operators import subscription
from operators.kafka import Partition, client_properties
from operators.subscription import Subscription, Unassigned
from operators.topicids import TopicIds
from schemas.config import Config
from schemas.errors import PositionError
from schemas.topics import topic_name
from tests.system.pipeline import await_


def test_logs_are_told_from_what_is_still_there_to_their_end(deployment: Config) -> None:
    topic = topic_name(deployment, "stitched")
    producer = Producer(client_properties(deployment))
    for number in range(8):
        producer.produce(topic, b"x", partition=number % 2)
    producer.flush()
    client = admin.admin_client(deployment)  # named: the answers go with the client
    for future in client.delete_records([TopicPartition(topic, 1, 3)]).values():
        future.result()
    member = Subscription(deployment, "engage", [topic], dict, lambda partitions, clean: None)
    assert member.offsets.logs([]) == {}  # a member that stands by
    found = member.offsets.logs([(topic, number) for number in range(3)])
    assert found == {(topic, 0): (0, 4), (topic, 1): (3, 4), (topic, 2): (0, 0)}
    member.close()


def test_a_partition_of_which_nothing_was_read_has_a_position(deployment: Config) -> None:
    """Its client knows of none, also at the end, and time would stand still there until something comes."""
    topic = topic_name(deployment, "stitched")
    producer = Producer(client_properties(deployment))
    for _ in range(3):
        producer.produce(topic, b"x", partition=0)
    producer.flush()
    starts: dict[Partition, int] = {
        (topic, number): 3 if number == 0 else 0 for number in range(deployment.topics.shards)
    }
    member = Subscription(deployment, "engage", [topic], lambda: starts, lambda partitions, clean: None)
    await_(lambda: member.poll(1, 0.05) == [] and set(member.behind().values()) == {0}, "the ends to be reached")
    assert member.positions() == starts
    member.close()


def test_batches_begin_the_interval_apart_unless_they_are_full(deployment: Config) -> None:
    topic = topic_name(deployment, "stitched")
    producer = Producer(client_properties(deployment))
    starts: dict[Partition, int] = {(topic, number): 0 for number in range(deployment.topics.shards)}
    member = Subscription(deployment, "engage", [topic], lambda: starts, lambda partitions, clean: None, 3.0)
    began: list[float] = []

    def read(limit: int) -> bool:
        if not (messages := member.poll(limit, 0.05)):
            return False
        began.append(time.monotonic())
        return len(messages) == 1

    for limit in (2, 1, 1):
        producer.produce(topic, b"x", partition=0)
        producer.flush()
        await_(partial(read, limit), "the record")
    assert began[1] - began[0] >= 2.9 > began[2] - began[1]
    member.close()


def test_partitions_just_created_are_waited_for(deployment: Config) -> None:
    topic = topic_name(deployment, "identity.changes")
    member = Subscription(deployment, "engage", [topic], dict, lambda partitions, clean: None)
    assert member.offsets.logs([(topic, 0), (topic, 1)]) == {(topic, 0): (0, 0), (topic, 1): (0, 0)}
    member.close()


def test_a_topic_that_was_deleted_and_created_again_is_another_one(deployment: Config) -> None:
    topic, other = topic_name(deployment, "identity.changes"), topic_name(deployment, "stitched")
    ids = TopicIds(deployment, [topic, other])
    ids.take()
    before = dict(ids.held)
    client = admin.admin_client(deployment)
    client.delete_topics([topic])[topic].result()
    await_(lambda: topic not in client.partitions(), "the topic to go")
    admin.create(deployment)
    with pytest.raises(PositionError, match=f"{topic}: the topic was deleted and created again"):
        await_(partial(_nothing_is_wrong_with, ids), "the broker to tell")
    ids.take()
    assert ids.held[topic] != before[topic]
    assert ids.held[other] == before[other]


def _nothing_is_wrong_with(ids: TopicIds) -> bool:
    ids.look()
    return False


def test_who_waits_for_partitions_in_vain_leaves(deployment: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "JOINED_SECONDS", 0.0)
    member = Subscription(
        deployment, "engage", [topic_name(deployment, "stitched")], dict, lambda partitions, clean: None
    )
    with pytest.raises(Unassigned, match="although the broker answers"):
        member.poll(1, 0.0)
    member.close()


def test_who_waits_for_a_broker_that_is_away_stays(deployment: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "JOINED_SECONDS", 0.0)
    away = msgspec.structs.replace(deployment, kafka=msgspec.structs.replace(deployment.kafka, bootstrap="127.0.0.1:1"))
    member = Subscription(away, "engage", [topic_name(away, "stitched")], dict, lambda partitions, clean: None)
    assert member.poll(1, 0.0) == []
    member.close()
