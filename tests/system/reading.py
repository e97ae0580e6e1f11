"""Reading whole topics and what Redis holds, for the oracle: plain and slow, with none of the product's machinery."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.config import Config


class Read(NamedTuple):
    """One record as it lies in a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    ts: int


def consumer(config: Config, group: str | None = None) -> Consumer:
    """A consumer that never joins a group; ``group`` only names whose offsets `committed` are asked for."""
    return Consumer(
        {
            "bootstrap.servers": config.kafka.bootstrap,
            "group.id": group or f"oracle-{uuid.uuid4().hex}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "log_level": 0,
            "fetch.wait.max.ms": 20,  # the end of an empty partition is only told when a fetch comes back
        }
    )


class Tail:
    """A topic read on and on; `read` yields what has come since, up to the ends of all partitions."""

    def __init__(self, config: Config, topic: str, partitions: int) -> None:
        self._consumer = consumer(config)
        self._partitions = partitions
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        self._ended: set[int] = set()

    def read(self) -> Iterator[Read]:
        """Everything new. Raises `KafkaException`."""
        quiet = False
        while len(self._ended) < self._partitions or not quiet:
            messages = self._consumer.consume(1_000, 0.2)
            quiet = not messages
            for message in messages:
                error, partition = message.error(), message.partition() or 0
                if error is None:
                    self._ended.discard(partition)
                    yield _read(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._ended.add(partition)
                else:
                    raise KafkaException(error)

    def close(self) -> None:
        """Let go of it."""
        self._consumer.close()


@dataclass(frozen=True)
class Topic:
    """All records of a topic that nobody writes to, in order within each partition; every iteration reads it again, so
    that it need not fit into memory."""

    config: Config
    name: str

    def __iter__(self) -> Iterator[Read]:
        asking = consumer(self.config)
        partitions = len(asking.list_topics(self.name, timeout=15).topics[self.name].partitions)
        asking.close()
        tail = Tail(self.config, self.name, partitions)
        try:
            yield from tail.read()
        finally:
            tail.close()


def read_topic(config: Config, topic: str) -> list[Read]:
    """All records of a topic, in order within each partition."""
    return list(Topic(config, topic))


def committed(config: Config, group: str, topic: str, partitions: int) -> dict[int, TopicPartition]:
    """The group's committed offsets with their metadata, by partition. Waits until the group has a coordinator."""
    asking = consumer(config, group)
    asked = [TopicPartition(topic, number) for number in range(partitions)]
    deadline = time.monotonic() + 60
    try:
        while True:
            try:
                return {each.partition: each for each in asking.committed(asked, timeout=20)}
            except KafkaException:
                # A group nobody has joined yet has none, a busy broker answers late.
                if time.monotonic() > deadline:
                    raise
    finally:
        asking.close()


def scan(client: Any, prefix: str) -> dict[bytes, bytes]:
    """The string values under all keys that begin with ``prefix``, by the rest of the key."""
    rests = keys(client, prefix)
    found: dict[bytes, bytes] = {}
    for at in range(0, len(rests), 1_000):
        part = rests[at : at + 1_000]
        values = client.mget([prefix.encode() + rest for rest in part])
        found.update((rest, value) for rest, value in zip(part, values, strict=True) if value is not None)
    return found


def keys(client: Any, prefix: str) -> list[bytes]:
    """The rest of every key that begins with ``prefix``."""
    pattern = prefix.replace("{", "\\{").replace("}", "\\}") + "*"
    return [key[len(prefix) :] for key in client.scan_iter(match=pattern, count=5_000)]


def _read(message: object) -> Read:
    held: Any = message
    return Read(
        held.topic(),
        held.partition(),
        held.offset(),
        held.key(),
        held.value(),
        list(held.headers() or ()),
        held.timestamp()[1],
    )
