"""Reading topics without being a group member: for `tail`, `dead-letters` and `status`.

Always with ``isolation.level=read_committed``: what an aborted transaction wrote is never shown.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any, TypeVar

import msgspec
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from flows.admin import Admin, admin_client
from operators.kafka import Partition, client_properties
from schemas.config import Config
from schemas.errors import TouchstreamError

T = TypeVar("T")
TIMEOUT_SECONDS = 15.0
#: How long one look for messages waits; Ctrl-C is noticed in between.
WAIT_SECONDS = 0.2
BATCH = 500
#: How long to wait before asking a partition without a leader again (seconds).
POLL_SECONDS = 0.1
_LEADERLESS = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE})


def partitions_of(admin: Admin, topic: str) -> list[Partition]:
    """The partitions of ``topic``. Raises `TouchstreamError` when there is no such topic, or no broker."""
    return [(topic, number) for number in range(partition_counts(admin, [topic])[topic])]


def partition_counts(admin: Admin, topics: Sequence[str]) -> dict[str, int]:
    """Partition counts by topic. Raises `TouchstreamError` when one is missing or no broker answers."""
    found = admin.partitions()
    if missing := [topic for topic in topics if topic not in found]:
        raise TouchstreamError(
            f"no such topic: {', '.join(missing)}; `touchstream topics create` creates them, and where Kafka checks "
            "rights, only topics that may be seen are there"
        )
    return {topic: found[topic] for topic in topics}


def end_offsets(admin: AdminClient, partitions: Sequence[Partition], *, pending: bool = False) -> dict[Partition, int]:
    """The offset after the last committed record of each partition; with ``pending`` after all that is written: what
    another transaction led to may be seen before that transaction has ended everywhere."""
    level = IsolationLevel.READ_UNCOMMITTED if pending else IsolationLevel.READ_COMMITTED
    return _offsets(admin, partitions, _spec().latest(), level)


def first_offsets(admin: AdminClient, partitions: Sequence[Partition]) -> dict[Partition, int]:
    """The offset of the first record that each partition still has."""
    return _offsets(admin, partitions, _spec().earliest(), IsolationLevel.READ_COMMITTED)


def _offsets(
    admin: AdminClient, partitions: Sequence[Partition], spec: OffsetSpec, level: IsolationLevel
) -> dict[Partition, int]:
    """Waits while partitions find their leaders, as they do just after their creation."""
    if not partitions:
        return {}
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            return _ask_offsets(admin, partitions, spec, level)
        except KafkaException as error:
            if error.args[0].code() not in _LEADERLESS or time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)


def _ask_offsets(
    admin: AdminClient, partitions: Sequence[Partition], spec: OffsetSpec, level: IsolationLevel
) -> dict[Partition, int]:
    asked = {TopicPartition(*partition): spec for partition in partitions}
    answers = admin.list_offsets(asked, isolation_level=level, request_timeout=TIMEOUT_SECONDS)
    return {(each.topic, each.partition): int(future.result().offset) for each, future in answers.items()}


def read(
    config: Config,
    topic: str,
    *,
    start: int | None,
    follow: bool,
    partition: int | None = None,
    since: int | None = None,
) -> Generator[list[Message], None, None]:
    """Batches of messages of ``topic``, in order per partition; of one ``partition``, or of all. Some are empty.

    From offset ``start`` of each partition (0 from the first record there is; None from the end as it is
    now), or from the first record that Kafka says is of ``since`` (ms) or later; up to the end, or for ever with
    ``follow``.
    """
    admin = admin_client(config)
    partitions = [each for each in partitions_of(admin, topic) if partition in (None, each[1])]
    ends = end_offsets(admin, partitions) if start is None else {}
    if since is not None:  # -1 where there is none so late, which is also what librdkafka calls the end
        ends = _offsets(admin, partitions, _spec().for_timestamp(since), IsolationLevel.READ_COMMITTED)
    first = start or OFFSET_BEGINNING
    positions = [TopicPartition(*each, ends.get(each, first)) for each in partitions]
    consumer = new_consumer(config, follow=follow)
    try:
        consumer.assign(positions)
        yield from batches(consumer, open_ends=None if follow else {number for _, number in partitions})
    finally:
        consumer.close()


def decoded(decoder: msgspec.json.Decoder[T], name: str, message: Message) -> T:
    """A record of output topic ``name``. Raises `TouchstreamError`, with its place, if it cannot be read."""
    try:
        return decoder.decode(message.value() or b"")
    except msgspec.DecodeError as error:
        place = f"{name}/{message.partition()}/{message.offset()}"
        raise TouchstreamError(f"{place} cannot be read: {error}; only touchstream may write there") from None


def _spec() -> Any:
    """Its methods have no types."""
    return OffsetSpec


def new_consumer(config: Config, *, follow: bool) -> Consumer:
    """A consumer that joins no group; unless it is to ``follow``, it is told of the ends of partitions."""
    return Consumer(
        {
            **client_properties(config),
            "group.id": f"{config.prefix}.reader",  # needed by the client, never joined or committed to
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": not follow,
            "auto.offset.reset": "earliest",
            "log_level": 3,
        }
    )


def take(consumer: Consumer, limit: int = BATCH) -> list[Message]:
    """What has come, else the next message if it comes within `WAIT_SECONDS`. Those with an error tell that the end
    of their partition was reached. Raises `KafkaException` for what will not pass."""
    # consume() waits its whole timeout for a full batch: take what is there, else wait for one.
    messages = consumer.consume(limit, 0)
    if not messages and (first := consumer.poll(WAIT_SECONDS)) is not None:
        messages = [first]
    found = []
    for message in messages:
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            found.append(message)
        elif not error.retriable() and error.fatal():
            raise KafkaException(error)
    return found


def behind(message: Message) -> int:
    """The offset behind a message, or the end of its partition that it reports: that lies behind control records, which
    take offsets and are never seen."""
    offset = message.offset() or 0
    return offset if message.error() else offset + 1


def batches(consumer: Consumer, open_ends: set[int] | None) -> Iterator[list[Message]]:
    """Until the end of every partition was reported, which then goes from ``open_ends``; control records take offsets,
    so ends are not compared. Empty ones where nothing came."""
    while open_ends is None or open_ends:
        messages = take(consumer)
        (open_ends or set()).difference_update(each.partition() for each in messages if each.error())
        yield [each for each in messages if not each.error()]
