"""The job as a plain loop over confluent-kafka, exactly-once: what Python can do here at all.

``python plain.py BOOTSTRAP attribute`` gives touchpoints to customers, ``python plain.py BOOTSTRAP decide`` does the
rest. Each is one process; what it remembers are dictionaries, and their changes go to a compacted topic in the
transaction of the batch, from which the next process restores them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from benchmarks.peers import job

#: Topic, key, value of a record to be written; its partition follows from the key.
Output = tuple[str, str, bytes]
#: Records of a transaction at most, and how long the first is waited for (seconds).
BATCH, WAIT = 2_000, 0.05
DEVICES, PROFILES = "peers.plain.devices", "peers.plain.profiles"


class Attribution:
    """Which customer each device belongs to."""

    reads, remembers = job.SOURCE, DEVICES

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}

    def restore(self, key: str, value: bytes) -> None:
        self._owners[key] = value.decode()

    def work(self, messages: Iterable[Message]) -> list[Output]:
        outputs = []
        for message in messages:
            touch = job.decode(message.value() or b"")
            device, customer = job.device_of(touch), job.login(touch)
            if customer is None:
                customer = self._owners[device]
            elif self._owners.get(device) != customer:
                self._owners[device] = customer
                outputs.append((DEVICES, device, customer.encode()))
            outputs.append((job.KEYED, customer, message.value() or b""))
        return outputs


class Decision:
    """Profiles, and what follows from them."""

    reads, remembers = job.KEYED, PROFILES

    def __init__(self) -> None:
        self._profiles: dict[str, job.Profile] = {}

    def restore(self, key: str, value: bytes) -> None:
        self._profiles[key] = job.unpack(value)

    def work(self, messages: Iterable[Message]) -> list[Output]:
        outputs, changed, profiles = [], {}, self._profiles
        for message in messages:
            customer = (message.key() or b"").decode()
            profile = profiles.get(customer)
            if profile is None:
                profile = profiles[customer] = job.Profile()
            triggers = job.apply(profile, customer, job.decode(message.value() or b""))
            if triggers is not None:
                changed[customer] = profile
                outputs += [(job.TRIGGERS, customer, job.encode(each)) for each in triggers]
        return outputs + [(PROFILES, customer, job.pack(profile)) for customer, profile in changed.items()]


def main(bootstrap: str, step: str) -> None:
    """Run one step until the process is ended."""
    worker: Attribution | Decision = Attribution() if step == "attribute" else Decision()
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": f"peers.plain.{step}",
            "transaction.timeout.ms": 10_000,
            "retry.backoff.ms": 2,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    # Ends what a predecessor has left open, so that all it did can be read now.
    producer.init_transactions(30)
    reader = {"bootstrap.servers": bootstrap, "isolation.level": "read_committed", "enable.auto.commit": False}
    restore(Consumer({**reader, "group.id": "peers.plain.restore", "enable.partition.eof": True}), worker)
    consumer = Consumer(
        {**reader, "group.id": f"peers.plain.{step}", "auto.offset.reset": "earliest", "fetch.wait.max.ms": 20}
    )
    consumer.subscribe([worker.reads])
    print("ready", flush=True)
    while True:
        messages = consumer.consume(BATCH, 0)
        if not messages:
            first = consumer.poll(WAIT)
            messages = [] if first is None else [first, *consumer.consume(BATCH - 1, 0)]
        if messages:
            publish(producer, consumer, worker.work(messages), _next(messages))


def _next(messages: Iterable[Message]) -> list[TopicPartition]:
    last = {(each.topic() or "", each.partition() or 0): each.offset() or 0 for each in messages}
    return [TopicPartition(topic, partition, offset + 1) for (topic, partition), offset in last.items()]


def publish(producer: Producer, consumer: Consumer, outputs: list[Output], offsets: list[TopicPartition]) -> None:
    """All of a batch in one transaction; any error ends the process, and the next one restores what was committed."""
    producer.begin_transaction()
    produce: Callable[..., None] = producer.produce
    for topic, key, value in outputs:
        produce(topic, value, key)
    producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
    producer.commit_transaction()


def restore(consumer: Consumer, worker: Attribution | Decision) -> None:
    """Let a worker remember what its predecessor did."""
    partitions = consumer.list_topics(worker.remembers).topics[worker.remembers].partitions
    consumer.assign([TopicPartition(worker.remembers, each, 0) for each in partitions])
    open_ends = len(partitions)
    while open_ends:
        message = consumer.poll(1)
        if message is not None and message.error() is not None:
            open_ends -= 1
        elif message is not None:
            worker.restore((message.key() or b"").decode(), message.value() or b"")
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:3])
