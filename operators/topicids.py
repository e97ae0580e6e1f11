"""Kafka's ids of topics.

A topic that was deleted and created again has another, and its log may have grown beyond the position in the old one:
librdkafka goes on from there, and passes over records without a sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient, TopicDescription

from operators.kafka import client_properties
from schemas.config import Config
from schemas.errors import PositionError

#: How long the broker may take to tell of topics (seconds).
TOLD_SECONDS = 15.0
#: What has become of a topic.
RENEWED = "the topic was deleted and created again, what had not been read of the old one is gone"


class TopicIds:
    """Of the topics that a process reads: ``held``, by topic, as they were when partitions were taken over."""

    def __init__(self, config: Config, topics: Sequence[str]) -> None:
        # Of a broker that is away the consumer tells.
        self._admin = AdminClient({**client_properties(config), "log_level": 0})
        self._topics = topics
        self._asked: Mapping[str, Future[TopicDescription]] = {}
        self.held: dict[str, str] = {}

    def take(self) -> None:
        """Hold the present ones. Raises `KafkaException`."""
        self._asked = {}
        self.held = {topic: _id(answer.result()) for topic, answer in self._ask().items()}

    def look(self) -> None:
        """Look at the answers to the last question, if they have come, and ask again; never waits. To be called
        after `take`. Raises `PositionError` for a topic that is no longer the one it was."""
        if not all(answer.done() for answer in self._asked.values()):
            return
        for topic, answer in self._asked.items():
            if answer.exception() is None and _id(answer.result()) != self.held[topic]:
                raise PositionError(f"{topic}: {RENEWED}. Start again to see which positions are lost.")
        self._asked = self._ask()

    def _ask(self) -> Mapping[str, Future[TopicDescription]]:
        return self._admin.describe_topics(TopicCollection(list(self._topics)), request_timeout=TOLD_SECONDS)


def _id(topic: TopicDescription) -> str:
    return str(topic.topic_id)
