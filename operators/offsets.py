"""What the broker says of a consumer's partitions: the offsets of the group, the ends of their logs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from operators.kafka import Partition, answers
from operators.watchdog import Watchdog

#: Errors of the consumer that pass by themselves: librdkafka reconnects and retries.
PASSING = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError._MAX_POLL_EXCEEDED,
    }
)
#: How long committed offsets may take (seconds) while the broker answers: a dead owner's transaction ends far sooner.
COMMITTED_SECONDS = 30.0
#: What is said of a partition that this client has not heard of, or that has no leader just now.
_UNSETTLED = frozenset(
    {
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
    }
)
#: How long it may take until partitions are settled, and how long to wait before asking again (seconds).
SETTLED_SECONDS, SETTLE_SECONDS = 15.0, 0.05
Answer = TypeVar("Answer")


class Offsets:
    """Asks through ``consumer``, which reads ``topics``. Methods raise `KafkaException` for what does not pass."""

    def __init__(self, consumer: Consumer, topics: Sequence[str]) -> None:
        self._consumer = consumer
        self._topics = topics
        self._watchdog = Watchdog("committed", COMMITTED_SECONDS, partial(answers, consumer))

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, TopicPartition]:
        """The group's committed offsets; waits for pending transactions."""
        asked = [TopicPartition(*partition) for partition in partitions]
        with self._watchdog:
            while asked:
                try:
                    return {(each.topic, each.partition): each for each in self._consumer.committed(asked, timeout=15)}
                except KafkaException as error:
                    if error.args[0].code() not in PASSING and not error.args[0].retriable():
                        raise
        return {}

    def committed_for(
        self, held: Collection[Partition], committed: Mapping[Partition, TopicPartition]
    ) -> Mapping[Partition, TopicPartition]:
        """``committed``, read once more if it lacks one of the partitions ``held`` in Redis: while this process stood
        still in between, another may have begun them, which is no loss."""
        return committed if all([committed[each].offset >= 0 for each in held]) else self.committed(committed)

    def logs(self, partitions: Collection[Partition]) -> dict[Partition, tuple[int, int]]:
        """Of each partition the first offset still in its log, and the one after its last record; in two requests:
        asked for one by one, those of 64 took longer than all the rest of a take-over."""
        first = self.settled(lambda: self._ask(partitions, OFFSET_BEGINNING))
        end = self.settled(lambda: self._ask(partitions, OFFSET_END))
        return {each: (first[each], end[each]) for each in partitions}

    def partition_count(self, topic: str) -> int:
        """How many partitions the broker says a topic has; 0 when it does not exist."""
        return len(self._consumer.list_topics(topic, timeout=15).topics[topic].partitions)

    def settled(self, ask: Callable[[], Answer]) -> Answer:
        """An answer about partitions, some of which may be between two leaders, or have been added and assigned by who
        heard of it before."""
        deadline = time.monotonic() + SETTLED_SECONDS
        while True:
            try:
                return ask()
            except KafkaException as error:
                if error.args[0].code() not in _UNSETTLED or time.monotonic() > deadline:
                    raise
            for topic in self._topics:  # hears of them
                self._consumer.list_topics(topic, timeout=SETTLED_SECONDS)
            time.sleep(SETTLE_SECONDS)

    def _ask(self, partitions: Collection[Partition], where: int) -> dict[Partition, int]:
        asked = [TopicPartition(*partition, where) for partition in partitions]
        found = self._consumer.offsets_for_times(asked, timeout=SETTLED_SECONDS) if asked else []
        for each in found:
            if each.error is not None:
                raise KafkaException(each.error)
        return {(each.topic, each.partition): int(each.offset) for each in found}
