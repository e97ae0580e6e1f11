"""The consuming side of a flow: one consumer for all its partitions, and where each of them starts.

Classic protocol, eager range assignment, dynamic members; the group metadata is taken when partitions are assigned
and never fetched again, since metadata fetched later could commit for a partition that is lost by then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, Protocol, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from operators import metrics
from operators.access import raise_if_denied
from operators.kafka import ANSWER_SECONDS, Partition, client_properties, group_id
from operators.lag import Lag
from operators.offsets import PASSING, Offsets
from operators.topicids import TopicIds
from schemas.config import Config
from schemas.errors import PositionError, TouchstreamError

log = logging.getLogger(__name__)


class Received(Protocol):
    """A consumed message without an error, as confluent-kafka hands it out."""

    def topic(self) -> str:
        """Where it was read."""

    def partition(self) -> int:
        """Where it was read."""

    def offset(self) -> int:
        """Where it was read."""

    def key(self) -> Any:
        """Bytes, or None."""

    def value(self) -> Any:
        """Bytes, or None in a tombstone."""

    def headers(self) -> Any:
        """List of (name, bytes), or None."""

    def timestamp(self) -> tuple[int, int]:
        """(type, epoch ms)."""


#: How long it may take to be assigned partitions, or none (seconds), while the broker answers. A group waits until the
#: sessions of its dead end; a consumer whose coordinator was away may wait for ever (librdkafka's issue 5511).
JOINED_SECONDS = 60.0
#: Heartbeats in a session.
HEARTBEATS = 20
#: How often a running loop looks up where it stands, and librdkafka tells of offsets (seconds).
LOOK_EVERY, TELL_EVERY = 1.0, 5.0


class Unassigned(TouchstreamError):
    """This member of a group waits for its partitions in vain."""


class Subscription:
    """A consumer group member.

    When partitions are assigned nothing is read until ``take`` has said where to start: it is called by the next
    `poll`, outside the rebalance callback, so that its errors are ordinary ones. ``let_go`` is told which
    partitions went, and whether cleanly. ``interval``: so long after one that was not full the next batch begins
    (seconds; None: as configured).
    """

    def __init__(
        self,
        config: Config,
        flow: str,
        topics: Sequence[str],
        take: Callable[[], Mapping[Partition, int]],
        let_go: Callable[[list[Partition], bool], None],
        interval: float | None = None,
    ) -> None:
        self._flow = flow
        self._topics = list(topics)
        self._take = take
        self._let_go = let_go
        self.group: Any = None
        self.partitions: list[Partition] = []
        self.stale = False
        self._starts: Mapping[Partition, int] = {}
        self._ended: set[Partition] = set()
        self._lag = Lag()
        self._looked_at = 0.0
        self._interval = config.limits.commit_interval_ms / 1_000 if interval is None else interval
        #: When the next batch may begin (monotonic seconds).
        self._next_at = 0.0
        self._closed = False
        self._left_at = time.monotonic()
        self._consumer = Consumer(
            {
                **client_properties(config),
                "group.id": group_id(config, flow),
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "partition.assignment.strategy": "range",
                "session.timeout.ms": config.kafka.session_timeout_ms,
                # The living learn of a rebalance from the answer to a heartbeat, and until then nobody reads what is to
                # change hands.
                "heartbeat.interval.ms": max(100, config.kafka.session_timeout_ms // HEARTBEATS),
                "max.poll.interval.ms": 300_000,
                "fetch.wait.max.ms": 20,
                "fetch.error.backoff.ms": 50,
                "fetch.message.max.bytes": 4_000_000,
                "queued.max.messages.kbytes": 65_536,
                "topic.metadata.refresh.interval.ms": 30_000,
                "statistics.interval.ms": int(TELL_EVERY * 1000),
                "stats_cb": lambda statistics: self._lag.told(statistics, time.time()),
                "log_level": 3,
            }
        )
        self._ids = TopicIds(config, self._topics)
        self.offsets = Offsets(self._consumer, self._topics)
        metrics.LAG_RECORDS.source(self._lag_records)
        metrics.LAG_SECONDS.source(self._lag_seconds)
        metrics.STABLE_AGE.source(self._stable_age)
        self._consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, limit: int, wait: float) -> list[Received]:
        """Up to ``limit`` messages; waits up to ``wait`` seconds for the first. Raises `PositionError` when a
        position is out of the log's range, or a topic has become another or is gone, `Unassigned` when it waits for
        partitions in vain, and `KafkaException` for what will not pass."""
        try:
            return self._poll(limit, wait)
        except KafkaException as error:
            gone = error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART and self._gone()
            if gone:
                raise PositionError(
                    f"there is no topic {', '.join(gone)}. Create it (touchstream topics create). If it was deleted, "
                    "what had not been read is gone with it: go on without that with --initialise."
                ) from error
            raise

    def _gone(self) -> list[str]:
        return [topic for topic in self._topics if not self.offsets.partition_count(topic)]

    def _poll(self, limit: int, wait: float) -> list[Received]:
        if self.group is None:
            self._await_assignment()
        self._come_round()
        # What a transaction costs the broker, and the process, hardly depends on how much is in it.
        if (early := self._next_at - time.monotonic()) > 0:
            time.sleep(early)
        # consume() waits its whole timeout for a full batch: take what is there, else wait for one.
        messages: list[Message] = self._consumer.consume(limit, 0)
        if not messages:
            first = self._consumer.poll(wait)
            messages = [] if first is None else [first, *self._consumer.consume(limit - 1, 0)]
        if self.stale:
            self._again()
            return []
        if any([each.error() is not None for each in messages]):
            messages = [each for each in messages if self._is_record(each)]
        elif self._ended:
            self._ended.difference_update(map(_partition, messages))
        # The callback of a revocation may have run while records were being collected.
        if not self.partitions:
            return []
        for message in messages[:1] + messages[-1:]:
            # Records come in runs of a partition: looking at the ends of each batch meets them all, and costs nothing.
            self._lag.begin(_partition(message), message.timestamp()[1] / 1000, time.time())
        self._next_at = time.monotonic() + self._interval if 0 < len(messages) < limit else 0.0
        return cast(list[Received], messages)

    def _come_round(self) -> None:
        """Say that all that was read is done."""
        now = time.time()
        self._lag.come_round(now)
        if now - self._looked_at >= LOOK_EVERY and not self.stale:
            self._looked_at = now
            if self.partitions:
                self._ids.look()
            self._lag.note(self.behind(), now)

    def _await_assignment(self) -> None:
        if time.monotonic() - self._left_at > JOINED_SECONDS:
            if self.answers(ANSWER_SECONDS):
                raise Unassigned(
                    f"no partitions were assigned for {JOINED_SECONDS:.0f} s although the broker answers: leaving, "
                    "a new process gets further"
                )
            self._left_at = time.monotonic()  # while the broker is away, nobody can do better

    @property
    def problem(self) -> str:
        """Why nothing can be read yet; empty if it can. A member that is assigned nothing stands by."""
        if self.group is None:
            return f"{', '.join(self._topics)}: no partitions are assigned yet"
        return f"{', '.join(self._topics)}: partitions are being taken over" if self.stale else ""

    @property
    def lag_seconds(self) -> float:
        """How far the worst partition is behind, infinitely if that is not known yet; from any thread."""
        behind, now = self._asked(), time.time()
        return max([self._lag.seconds(each, behind.get(each), now, inf) for each in self.partitions], default=0.0)

    def answers(self, seconds: float) -> bool:
        """Whether the broker answers within ``seconds``; from any thread."""
        try:
            return bool(self._consumer.list_topics(self._topics[0], timeout=seconds).brokers)
        except (KafkaException, RuntimeError):
            return False

    def _lag_records(self) -> list[metrics.Sample]:
        return [((self._flow, topic, str(number)), records) for (topic, number), records in self._asked().items()]

    def _lag_seconds(self) -> list[metrics.Sample]:
        behind, now = self._asked(), time.time()
        return [
            ((self._flow, topic, str(number)), self._lag.seconds((topic, number), behind.get((topic, number)), now))
            for topic, number in self.partitions
        ]

    def _stable_age(self) -> list[metrics.Sample]:
        return [((self._flow, topic), age) for topic, age in self._lag.stable_age(time.time()).items()]

    def _asked(self) -> dict[Partition, int]:
        """`behind`, for another thread: nobody knows while partitions change hands."""
        try:
            return {} if self._closed or self.stale else self.behind()
        except (KafkaException, RuntimeError):
            return {}

    def _is_record(self, message: Message) -> bool:
        """Whether this is a record; notes the ends of partitions, lets pass what passes, raises other errors."""
        error = message.error()
        if error is None:
            self._ended.discard(_partition(message))
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            self._ended.add(_partition(message))
        elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise PositionError(
                f"{message.topic()}/{message.partition()}: the next offset is no longer in the log ({error.str()}); "
                "records were deleted before they were read. Restore them, or go on without them with --initialise."
            )
        elif error.code() not in PASSING and not error.retriable():
            failure = KafkaException(error)
            raise_if_denied(failure)
            raise failure
        return False

    def _again(self) -> None:
        """Take all assigned partitions over, go on from there; what was fetched ahead is thrown away."""
        started = time.monotonic()
        self.offsets.settled(self._ids.take)
        starts = self._starts = self._take()
        self._consumer.assign([TopicPartition(*partition, offset) for partition, offset in starts.items()])
        self._ended.clear()
        self.stale = False
        log.info(
            "partitions taken over",
            extra={"partitions": len(starts), "seconds": round(time.monotonic() - started, 3)},
        )

    def topic_id(self, topic: str) -> str:
        """Of which topic by the name of ``topic`` the partitions were taken over."""
        return self._ids.held[topic]

    def positions(self) -> dict[Partition, int]:
        """The next offset to be read of each partition that was taken over."""
        asked = [TopicPartition(*partition) for partition in self.partitions]
        read = {
            (each.topic, each.partition): int(each.offset)
            for each in self._consumer.position(asked)
            if each.offset >= 0
        }
        # Of a partition that nothing was read from yet the client knows none, also at its end.
        return {**self._starts, **read}

    def behind(self) -> dict[Partition, int]:
        """Records between the next to be read and the last known end, per assigned partition where known.

        Ends of transactions take offsets too: a partition said to be read to its end is not behind.
        """
        ends = {
            (topic, partition): self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)[1]
            for topic, partition in self.partitions
        }
        known = {each: max(0, ends[each] - at) for each, at in self.positions().items() if ends[each] >= 0}
        return known | {each: 0 for each in ends if each in self._ended}

    def close(self) -> None:
        """Leave the group."""
        self._closed = True
        try:
            self._consumer.close()
        except SystemError as error:
            # The client's, at a callback while it leaves. Nothing is lost by it: the session ends by itself.
            log.warning("the group was not left in order", extra={"error": str(error)})

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._closed:  # who leaves takes nothing
            return
        metrics.REBALANCES.labels(self._flow).inc()
        self.partitions = [(each.topic, each.partition) for each in partitions]
        self.group = consumer.consumer_group_metadata()
        self._lag.start(self.partitions, time.time())
        self.stale = True
        # Nothing is fetched before the take-over has said from where.
        consumer.assign([])

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Whatever was read or refused: between two polls no transaction is open.
        self._drop(consumer, clean=True)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.warning("partitions lost", extra={"partitions": len(partitions)})
        self._drop(consumer, clean=False)

    def _drop(self, consumer: Consumer, *, clean: bool) -> None:
        dropped, self.partitions, self.group, self.stale = self.partitions, [], None, False
        self._starts = {}
        self._left_at = time.monotonic()
        # Before the partitions are given back: the next owner would else find our mark, and fence us alive.
        self._let_go(dropped, clean)
        consumer.unassign()


def _partition(message: Message) -> Partition:
    return cast(str, message.topic()), cast(int, message.partition())
