"""What a subscription asks Kafka for when partitions are taken over."""

from __future__ import annotations

from confluent_kafka import Producer, TopicPartition

from flows import admin
from operators.kafka import client_properties
from operators.subscription import Subscription
from schemas.config import Config
from schemas.topics import topic_name


def test_logs_are_told_from_what_is_still_there_to_their_end(deployment: Config) -> None:
    topic = topic_name(deployment, "stitched")
    producer = Producer(client_properties(deployment))
    for number in range(8):
        producer.produce(topic, b"x", partition=number % 2)
    producer.flush()
    client = admin.admin_client(deployment)  # named: the answers go with the client
    for future in client.delete_records([TopicPartition(topic, 1, 3)]).values():
        future.result()
    subscription = Subscription(deployment, "engage", [topic], dict, lambda partitions, clean: None)
    assert subscription.logs() == {}  # a member that stands by
    subscription.partitions = [(topic, number) for number in range(3)]
    assert subscription.logs() == {(topic, 0): (0, 4), (topic, 1): (3, 4), (topic, 2): (0, 0)}
    subscription.partitions = []
    subscription.close()


def test_partitions_just_created_are_waited_for(deployment: Config) -> None:
    topic = topic_name(deployment, "identity.changes")
    subscription = Subscription(deployment, "engage", [topic], dict, lambda partitions, clean: None)
    subscription.partitions = [(topic, 0), (topic, 1)]
    assert subscription.logs() == {(topic, 0): (0, 0), (topic, 1): (0, 0)}
    subscription.partitions = []
    subscription.close()
