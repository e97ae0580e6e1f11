"""librdkafka over the log in memory: the clients that the flows and the oracle use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol
from zlib import crc32

from confluent_kafka import (
    OFFSET_END,
    OFFSET_INVALID,
    TIMESTAMP_CREATE_TIME,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)

from operators.kafka import Partition
from tests.simulation.log import Entry, Headers, Log, Member, failure, named


class Turns(Protocol):
    """Whose turn it is: asked before everything that others can see."""

    log: Log

    def effect(self, kind: str, what: str) -> str:
        """Wait for a turn; ``go``, or how it goes wrong."""

    def name(self) -> str:
        """A name that nobody had before; later ones sort behind."""

    def some(self, most: int) -> int:
        """A number from 1 to ``most``."""

    @property
    def wall_ms(self) -> int:
        """The time (ms)."""


class Message(NamedTuple):
    """A consumed record, or the end of a partition."""

    where: Partition
    place: int
    entry: Entry | None

    def topic(self) -> str:
        return self.where[0]

    def partition(self) -> int:
        return self.where[1]

    def offset(self) -> int:
        return self.place

    def key(self) -> bytes | None:
        return self.entry.key if self.entry else None

    def value(self) -> bytes | None:
        return self.entry.value if self.entry else None

    def headers(self) -> Headers | None:
        return (self.entry and self.entry.headers) or None

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP_CREATE_TIME, self.entry.ts if self.entry else 0

    def error(self) -> KafkaError | None:
        return None if self.entry else KafkaError(KafkaError._PARTITION_EOF)


#: Records that one call may bring: small batches, so that much can happen between two of them.
FETCHED = 12


class Admin:
    """Who tells of topics: each is the one it always was."""

    def describe_topics(self, topics: TopicCollection, request_timeout: float) -> dict[str, Future[Any]]:
        answers = {name: Future[Any]() for name in topics.topic_names}
        for name, answer in answers.items():
            answer.set_result(SimpleNamespace(topic_id=name))
        return answers


class Consumer:
    """A member of a group, or with `assign` alone a reader."""

    def __init__(self, turns: Turns, properties: Mapping[str, Any]) -> None:
        self._turns, self._log = turns, turns.log
        self._group = turns.log.group(properties["group.id"])
        self._name = ""
        self._generation = 0
        self._held: list[Partition] | None = None
        self._topics: Sequence[str] = ()
        self._positions: dict[Partition, int] = {}
        self._begun: set[Partition] = set()
        self._told: set[Partition] = set()

    def subscribe(
        self,
        topics: Sequence[str],
        on_assign: Callable[..., None],
        on_revoke: Callable[..., None],
        on_lost: Callable[..., None],
    ) -> None:
        self._topics = topics
        self._on_assign, self._on_revoke, self._on_lost = on_assign, on_revoke, on_lost

    def consumer_group_metadata(self) -> Member:
        return Member(self._group.name, self._name, self._generation)

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self._positions = {named(each): each.offset for each in partitions}
        self._begun, self._told = set(), set()

    def unassign(self) -> None:
        self.assign([])

    def poll(self, timeout: float) -> Message | None:
        return next(iter(self.consume(1, timeout)), None)

    def consume(self, limit: int, timeout: float) -> list[Message]:
        whole = self._turns.effect("kafka", "read") == "all"
        if self._topics:
            self._attend()
        messages: list[Message] = []
        for partition, position in list(self._positions.items()):
            most = limit - len(messages)
            most = most if whole else min(most, self._turns.some(FETCHED))
            found, after = self._log.lane(partition).read(position, most)
            messages += [Message(partition, offset, entry) for offset, entry in found]
            self._positions[partition] = after
            if found:
                self._begun.add(partition)
                self._told.discard(partition)
            elif len(messages) < limit and after >= self._log.lane(partition).stable and partition not in self._told:
                self._told.add(partition)
                messages.append(Message(partition, after, None))
        return messages

    def _attend(self) -> None:
        """What the group wants: callbacks run in here, as those of librdkafka do."""
        group = self._group
        if not group.knows(self._name):
            if self._held is not None:
                self._give_back(self._on_lost)
            self._name = self._turns.name()
            group.join(self._name, self._topics, self._log)
        elif group.awaits(self._name):
            if self._held is not None:
                self._give_back(self._on_revoke)
            group.join(self._name, self._topics, self._log)
        if self._held is None and group.knows(self._name) and not group.joining:
            self._generation = group.generation
            self._held = list(group.assignment(self._name))
            self._on_assign(self, [TopicPartition(*each) for each in self._held])

    def _give_back(self, callback: Callable[..., None]) -> None:
        held, self._held = self._held or [], None
        callback(self, [TopicPartition(*each) for each in held])

    def committed(self, partitions: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        asked = [named(each) for each in partitions]
        self._turns.effect("kafka", "read offsets")
        while self._log.unstable(self._group.name, asked):
            self._turns.effect("wait", "for pending offsets")
        offsets = self._group.offsets
        return [TopicPartition(*each, *offsets.get(each, (OFFSET_INVALID, ""))) for each in asked]

    def position(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        known = {each: self._positions[each] for each in self._begun if each in self._positions}
        return [TopicPartition(*named(each), known.get(named(each), OFFSET_INVALID)) for each in partitions]

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = 0, cached: bool = False
    ) -> tuple[int, int]:
        return 0, self._log.lane(named(partition)).stable

    def offsets_for_times(self, partitions: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        """Of beginnings and ends alone."""
        ends = [each.offset == OFFSET_END for each in partitions]
        offsets = [self._log.lane(named(each)).stable * end for each, end in zip(partitions, ends, strict=True)]
        return [TopicPartition(*named(each), offset) for each, offset in zip(partitions, offsets, strict=True)]

    def list_topics(self, topic: str, timeout: float) -> Any:
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions=range(len(self._log.topics[topic])))})

    def close(self) -> None:
        if self._topics:
            self._turns.effect("kafka", "leave")
            if self._held is not None:
                self._give_back(self._on_revoke)
            self._group.leave(self._name, self._log)
            self._topics = ()

    def lapse(self) -> None:
        """The session ends: nobody has heard of this member for too long."""
        self._group.leave(self._name, self._log)


class Producer:
    """A transactional producer. What is produced is in the log before offsets are sent or the transaction ends."""

    def __init__(self, turns: Turns, properties: Mapping[str, Any]) -> None:
        self._turns, self._log = turns, turns.log
        self._id: str = properties["transactional.id"]
        self._epoch = 0
        self._queue: list[tuple[str, int, Entry]] = []
        self._state = ""

    def init_transactions(self, timeout: float) -> None:
        self._turns.effect("kafka", "fence")
        self._epoch = self._log.fence(self._id)
        self._state = "ready"

    def begin_transaction(self) -> None:
        self._expect("ready")
        self._state = "begun"

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        headers: Headers = (),
        on_delivery: object = None,
    ) -> None:
        self._expect("begun")
        number = partition if partition >= 0 else crc32(key or b"") % len(self._log.topics[topic])
        self._queue.append((topic, number, Entry(key, value, headers, self._turns.wall_ms, None)))

    def send_offsets_to_transaction(self, offsets: Sequence[TopicPartition], member: Any, timeout: float) -> None:
        if not isinstance(member, Member):
            raise TypeError("no group metadata")
        self._expect("begun")
        self._send()
        self._do("offsets", lambda: self._add(offsets, member))

    def commit_transaction(self, timeout: float) -> None:
        if self._state == "committed":  # an answer was lost
            self._state = "ready"
            return
        self._expect("begun")
        self._send()
        self._do("commit", self._commit)
        self._state = "ready"

    def abort_transaction(self, timeout: float) -> None:
        self._turns.effect("kafka", "abort")
        self._queue.clear()
        self._log.check(self._id, self._epoch)
        self._log.end(self._id, commit=False)
        self._state = "ready"

    def poll(self, timeout: float) -> int:
        return 0

    def flush(self) -> int:
        return 0

    def __len__(self) -> int:
        return len(self._queue)

    def lapse(self) -> None:
        """The transaction that is open has taken too long."""
        if self._id in self._log.open:
            self._log.fence(self._id)

    def _expect(self, state: str) -> None:
        if self._state == "given up":
            raise failure(KafkaError.INVALID_TXN_STATE, "the transaction was given up", abort=True)
        if self._state != state:
            raise failure(KafkaError._STATE, f"{self._state}, not {state}")

    def _send(self) -> None:
        """Records reach the log; nobody reads them yet."""
        if self._queue:
            self._do(f"produce {len(self._queue)}", self._append)

    def _append(self) -> None:
        transaction = self._log.transaction(self._id)
        for topic, number, entry in self._queue:
            transaction.partitions[topic, number] = None
            self._log.lane((topic, number)).append(entry._replace(transaction=transaction))
        self._queue.clear()

    def _add(self, offsets: Sequence[TopicPartition], member: Member) -> None:
        self._log.group(member.group).check(member)
        held = self._log.transaction(self._id).offsets
        held.update(((member.group, named(each)), (each.offset, each.metadata or "")) for each in offsets)

    def _commit(self) -> None:
        self._log.end(self._id, commit=True)
        self._state = "committed"

    def _do(self, what: str, act: Callable[[], None]) -> None:
        """One request: it may be refused, its answer may be lost."""
        verdict = self._turns.effect("kafka", what)
        self._log.check(self._id, self._epoch)
        if verdict == "refused":
            self._state = "given up"
            raise failure(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "refused", abort=True)
        if verdict == "lost":
            raise failure(KafkaError.REQUEST_TIMED_OUT, "no answer", retriable=True)
        try:
            act()
        except KafkaException:
            self._state = "given up"
            raise
        if verdict == "unheard":
            raise failure(KafkaError.REQUEST_TIMED_OUT, "no answer", retriable=True)
