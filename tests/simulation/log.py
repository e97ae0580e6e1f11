"""Kafka in memory: partitions with transactions, read_committed, consumer groups, fencing by transactional id.

What it knows of Kafka is what the flows rest on: ends of transactions take offsets; what lies behind an open
transaction is not read; offsets sent to a transaction hold when it commits, for a member of the current generation
only; a producer is fenced by the next one of its transactional id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from operators.kafka import Partition

Headers = Sequence[tuple[str, bytes | None]]


class Transaction:
    """Records and offsets that hold together or not at all. ``state``: open, committed, aborted."""

    def __init__(self) -> None:
        self.state: Literal["open", "committed", "aborted"] = "open"
        self.partitions: dict[Partition, None] = {}
        self.offsets: dict[tuple[str, Partition], tuple[int, str]] = {}


class Entry(NamedTuple):
    """What lies at an offset; a marker is the end of a transaction."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    ts: int
    transaction: Transaction | None
    marker: bool = False


class Lane:
    """One partition: its entries by offset, and where the open transactions in it begin."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.open: dict[Transaction, int] = {}

    @property
    def stable(self) -> int:
        """The last stable offset: up to here read_committed reads."""
        return min(self.open.values(), default=len(self.entries))

    def append(self, entry: Entry) -> None:
        """At the end."""
        if entry.transaction is not None and entry.transaction.state == "open":
            self.open.setdefault(entry.transaction, len(self.entries))
        self.entries.append(entry)

    def read(self, offset: int, limit: int) -> tuple[list[tuple[int, Entry]], int]:
        """Up to ``limit`` committed records from ``offset`` on, and the offset after them."""
        found: list[tuple[int, Entry]] = []
        stable = self.stable
        while offset < stable and len(found) < limit:
            entry = self.entries[offset]
            aborted = entry.transaction is not None and entry.transaction.state == "aborted"
            if not entry.marker and not aborted:
                found.append((offset, entry))
            offset += 1
        return found, offset


class Member(NamedTuple):
    """Group metadata: who may send offsets, while the generation lasts."""

    group: str
    name: str
    generation: int


class Group:
    """A consumer group: classic protocol, eager, ranges. Its generation begins when all members have joined it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.generation = 0
        self.joining = False
        self.offsets: dict[Partition, tuple[int, str]] = {}
        self._topics: dict[str, Sequence[str]] = {}
        self._joined: set[str] = set()
        self._assigned: dict[str, list[Partition]] = {}

    def knows(self, member: str) -> bool:
        """Whether this member has not been given up."""
        return member in self._topics

    def awaits(self, member: str) -> bool:
        """Whether the member is to give back what it has, and to join."""
        return self.joining and member not in self._joined

    def join(self, member: str, topics: Sequence[str], log: Log) -> None:
        """Ask for partitions; everybody has to."""
        self._topics[member] = topics
        self._joined.add(member)
        self.joining = True
        self._complete(log)

    def leave(self, member: str, log: Log) -> None:
        """Go, or be given up."""
        if self._topics.pop(member, None) is not None:
            self._joined.discard(member)
            self.joining = True
            self._complete(log)

    def assignment(self, member: str) -> list[Partition]:
        """The partitions of a member in this generation."""
        return self._assigned[member]

    def check(self, member: Member) -> None:
        """Raises `KafkaException` unless that is a member of this generation."""
        if member.name not in self._topics:
            raise failure(KafkaError.UNKNOWN_MEMBER_ID, "no such member", abort=True)
        if member.generation != self.generation:
            raise failure(KafkaError.ILLEGAL_GENERATION, "another generation", abort=True)

    def _complete(self, log: Log) -> None:
        if self._joined != self._topics.keys():
            return
        self.joining = False
        self._joined = set()
        self.generation += 1
        self._assigned = {member: [] for member in self._topics}
        for topic in sorted({each for topics in self._topics.values() for each in topics}):
            members = sorted(member for member, topics in self._topics.items() if topic in topics)
            count = len(log.topics[topic])
            for place, member in enumerate(members):
                first, last = (count * each // len(members) for each in (place, place + 1))
                self._assigned[member] += [(topic, number) for number in range(first, last)]


class Log:
    """All topics, groups and transactional ids."""

    def __init__(self) -> None:
        self.topics: dict[str, list[Lane]] = {}
        self.groups: dict[str, Group] = {}
        self._epochs: defaultdict[str, int] = defaultdict(int)
        self._open: dict[str, Transaction] = {}

    def create(self, topic: str, partitions: int) -> None:
        """A new topic."""
        self.topics[topic] = [Lane() for _ in range(partitions)]

    def lane(self, partition: Partition) -> Lane:
        """A partition's."""
        return self.topics[partition[0]][partition[1]]

    def group(self, name: str) -> Group:
        """A group, there from when somebody asks for it."""
        return self.groups.setdefault(name, Group(name))

    def unstable(self, group: str, partitions: Iterable[Partition]) -> bool:
        """Whether an open transaction may yet move one of these offsets."""
        return any((group, each) in open_.offsets for each in partitions for open_ in self._open.values())

    # -- producers -----------------------------------------------------------------------------------------

    def fence(self, transactional_id: str) -> int:
        """Begin the next epoch of an id, and end what the one before left open."""
        self.end(transactional_id, commit=False)
        self._epochs[transactional_id] += 1
        return self._epochs[transactional_id]

    def check(self, transactional_id: str, epoch: int) -> None:
        """Raises `KafkaException` when that epoch is over."""
        if self._epochs[transactional_id] != epoch:
            raise failure(KafkaError._FENCED, "fenced by a newer producer of this id", fatal=True)

    def transaction(self, transactional_id: str) -> Transaction:
        """The open transaction of an id, a new one if there is none."""
        return self._open.setdefault(transactional_id, Transaction())

    @property
    def open(self) -> list[str]:
        """Whose transactions are open."""
        return list(self._open)

    def end(self, transactional_id: str, *, commit: bool) -> None:
        """End the open transaction of an id, if it has one: its marker goes to each of its partitions."""
        transaction = self._open.pop(transactional_id, None)
        if transaction is None:
            return
        transaction.state = "committed" if commit else "aborted"
        for partition in transaction.partitions:
            lane = self.lane(partition)
            lane.append(Entry(None, None, (), 0, transaction, marker=True))
            del lane.open[transaction]
        if commit:
            for (group, partition), offset in transaction.offsets.items():
                self.group(group).offsets[partition] = offset


def failure(
    code: int, why: str, *, fatal: bool = False, retriable: bool = False, abort: bool = False
) -> KafkaException:
    """What librdkafka raises."""
    return KafkaException(KafkaError(code, why, fatal, retriable, abort))


def named(partition: TopicPartition) -> Partition:
    """As the flows name it."""
    return partition.topic, partition.partition
