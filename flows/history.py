"""The log of ``stitched`` as a history to be replayed: all shards in one order.

Kafka keeps the order of each partition alone. Here records come in the order of the shards' clocks, so that what one
shard hands over to another comes when it did. The clock is the highest ``at`` so far of what is about customers: ticks,
visits, signals and control records stand where they stand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heapreplace
from typing import Final, Protocol

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from flows.admin import admin_client
from flows.reading import batches, end_offsets, first_offsets, new_consumer, partitions_of
from schemas import stitched
from schemas.config import Config
from schemas.errors import TouchstreamError
from schemas.stitched import Control, Record, Signal, Step, Tick, Visit
from schemas.topics import STITCHED, topic_name

#: Records about no customer, which move no clock here.
TIMELESS: Final = (Tick, Visit, Signal, Step, Control)
#: A record, the number of its shard before and its bytes after it.
Entry = tuple[int, Record, bytes]
#: Raw records held of all partitions together, roughly; what is read ahead of one partition pauses above its share.
READ_AHEAD: Final = 60_000


class History(Protocol):
    """What is replayed. ``total`` and ``done``: of how many records (lines) how many were read. ``ticked``: whether it
    has all that moved time when it was written."""

    total: int
    done: int
    ticked: bool

    def entries(self) -> Iterator[Entry]:
        """All records in the order of their shards' clocks, from the beginning."""
        ...

    def notes(self) -> list[str]:
        """What was left out, and why."""
        ...


class TopicHistory:
    """The retained log of a deployment, up to its end as it is now. Raises `TouchstreamError`."""

    ticked = True

    def __init__(self, config: Config) -> None:
        self._config = config
        self._topic = topic_name(config, STITCHED)
        admin = admin_client(config)
        partitions = partitions_of(admin, self._topic)
        if len(partitions) != config.topics.shards:
            raise TouchstreamError(
                f"{self._topic} has {len(partitions)} partitions, topics.shards is {config.topics.shards}"
            )
        first = first_offsets(admin, partitions)
        self._ends = {number: end for (_, number), end in end_offsets(admin, partitions).items()}
        self._cut = any(first.values())
        self.total, self.done = sum(self._ends.values()) - sum(first.values()), 0

    def entries(self) -> Iterator[Entry]:
        """The records of all partitions in one order."""
        consumer = new_consumer(self._config, follow=False)
        try:
            self.done = 0
            for entry in in_order(_Partitions(consumer, self._topic, self._ends), len(self._ends)):
                self.done += 1
                yield entry
        finally:
            consumer.close()

    def notes(self) -> list[str]:
        """What retention has left out."""
        if not self._cut:
            return []
        return ["the beginning of the log is gone (topics.retention_days): who agreed to what before that is not known"]


class Queues(Protocol):
    """The records of each partition in turn; `next` is None at its end."""

    def next(self, number: int) -> bytes | None: ...


def in_order(queues: Queues, partitions: int) -> Iterator[Entry]:
    """Merge partitions by the clocks of their shards."""
    decode = stitched.decode_gist
    heads: list[tuple[int, int]] = []
    entries: dict[int, Entry] = {}
    for number in range(partitions):
        raw = queues.next(number)
        if raw is not None:
            record = decode(raw)
            entries[number] = number, record, raw
            heads.append((0 if isinstance(record, TIMELESS) else record.at, number))
    heapify(heads)
    while heads:
        clock, number = heads[0]
        yield entries[number]
        raw = queues.next(number)
        if raw is None:
            heappop(heads)
            continue
        record = decode(raw)
        entries[number] = number, record, raw
        heapreplace(heads, (clock if isinstance(record, TIMELESS) else max(clock, record.at), number))


class _Partitions:
    """Partitions read side by side: of one that others wait for little is read ahead."""

    def __init__(self, consumer: Consumer, topic: str, ends: dict[int, int]) -> None:
        self._consumer = consumer
        self._topic = topic
        self._ends = ends
        self._open = {number for number, end in ends.items() if end}
        self._most = max(READ_AHEAD // len(ends), 100)
        self._queues: dict[int, deque[bytes]] = {number: deque() for number in ends}
        self._paused: set[int] = set()
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in self._open])
        self._batches = batches(consumer, self._open)

    def next(self, number: int) -> bytes | None:
        queue = self._queues[number]
        while not queue and number in self._open:
            self._read()
        return queue.popleft() if queue else None

    def _read(self) -> None:
        self._resume()
        for message in next(self._batches, ()):
            number, offset = message.partition() or 0, message.offset() or 0
            end = self._ends[number]
            if offset < end:
                self._queues[number].append(message.value() or b"")
            if offset + 1 >= end:  # what was written since is not looked at
                self._open.discard(number)
        full = {number for number in self._open - self._paused if len(self._queues[number]) > self._most}
        if full:
            self._consumer.pause([TopicPartition(self._topic, number) for number in full])
            self._paused |= full

    def _resume(self) -> None:
        hungry = {number for number in self._paused if len(self._queues[number]) < self._most // 2}
        if hungry:
            self._consumer.resume([TopicPartition(self._topic, number) for number in hungry])
            self._paused -= hungry
