"""List dead letters, and send their originals back to where they came from.

A dead letter keeps the record as it was, sealed under ``keys.dead_letters``. After the cause is mended
(a mapping, a schema, a limit) a replay puts the originals back on their source topics, where they are
processed as new. Touchpoints that were processed after all are recognised by their id as duplicates.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaException, Message, Producer

from flows.admin import admin_client
from flows.reading import end_offsets, partitions_of, read
from operators.kafka import client_properties
from schemas.config import Config
from schemas.errors import TouchstreamError
from schemas.outputs import DeadLetter
from schemas.topics import DEAD_LETTERS, topic_name
from state.vault import DeadLetterBox, Original, SealError

#: On every replayed record: the position of its dead letter, ``partition/offset``.
HEADER: Final = "touchstream-replay-of"
#: Tries of a batch whose transaction Kafka asks to repeat.
TRIES: Final = 5
_decoder = msgspec.json.Decoder(DeadLetter)


@dataclass(frozen=True)
class Letter:
    """A dead letter and the offset it stands at."""

    partition: int
    offset: int
    letter: DeadLetter


@dataclass
class Replayed:
    """What a replay did. ``unopened``: sealed under another key; ``foreign``: their topic is no source any more;
    ``next_offset``: where the next replay would go on."""

    sent: int = 0
    unopened: int = 0
    foreign: int = 0
    next_offset: int = 0


def letters(config: Config, *, reason: str | None = None, start: int = 0) -> Iterator[list[Letter]]:
    """All dead letters that there are now, from offset ``start``, in batches, those with ``reason`` if given."""
    topic, admin = topic_name(config, DEAD_LETTERS), admin_client(config)
    ends = {number: end for (_, number), end in end_offsets(admin, partitions_of(admin, topic)).items()}
    unread = {number for number, end in ends.items() if end > start}
    for messages in read(config, topic, start=start, follow=False) if unread else ():
        found = [_letter(message) for message in messages]
        unread -= {each.partition for each in found if each.offset + 1 >= ends[each.partition]}
        # What is replayed and still broken comes again behind the end: a replay would never come to an end.
        found = [each for each in found if each.offset < ends[each.partition]]
        yield [each for each in found if reason is None or each.letter.reason == reason]
        if not unread:
            return


def replay(
    config: Config,
    *,
    reason: str | None = None,
    start: int = 0,
    limit: int | None = None,
    progress: Callable[[Replayed], object] = lambda done: None,
) -> Replayed:
    """Send the originals back, one transaction a batch; reports ``progress`` after each.

    A batch is back as a whole or not at all. Raises `TouchstreamError` when Kafka refuses.
    """
    box = DeadLetterBox(bytes.fromhex(config.keys.dead_letters))
    sources = {topic_name(config, name) for name in config.topics.sources}
    sender = _Sender(config)
    done = Replayed(next_offset=start)
    for batch in letters(config, reason=reason, start=start):
        batch = batch[: None if limit is None else limit - done.sent]
        originals = [_opened(box, each, sources, done) for each in batch]
        sender.send([each for each in originals if each is not None])
        done.sent += sum(each is not None for each in originals)
        done.next_offset = max([done.next_offset, *(each.offset + 1 for each in batch)])
        progress(done)
        if limit is not None and done.sent >= limit:
            break
    return done


def _letter(message: Message) -> Letter:
    return Letter(message.partition() or 0, message.offset() or 0, _decoder.decode(message.value() or b""))


def _opened(box: DeadLetterBox, each: Letter, sources: set[str], done: Replayed) -> Original | None:
    try:
        original = box.open(each.letter.sealed)
    except SealError:
        done.unopened += 1
        return None
    if original.topic not in sources:
        done.foreign += 1
        return None
    position = f"{each.partition}/{each.offset}".encode()
    return original._replace(headers=[*original.headers, (HEADER, position)])


class _Sender:
    """Produces originals, one transaction a batch."""

    def __init__(self, config: Config) -> None:
        self._producer = Producer(
            {
                **client_properties(config),
                "transactional.id": f"{config.prefix}.replay.{uuid.uuid4().hex}",
                "transaction.timeout.ms": config.kafka.transaction_timeout_ms,
                "message.max.bytes": 16_000_000,
                "log_level": 3,
            }
        )
        self._call(self._producer.init_transactions, 30)

    def send(self, originals: list[Original]) -> None:
        """All or none. Raises `TouchstreamError`."""
        for _ in range(TRIES if originals else 0):
            try:
                self._transaction(originals)
                return
            except KafkaException as error:
                if not error.args[0].txn_requires_abort():
                    raise TouchstreamError(f"replay stopped: {error.args[0].str()}") from error
                self._call(self._producer.abort_transaction, 15)
        if originals:
            raise TouchstreamError(f"replay stopped: the transaction was refused {TRIES} times")

    def _transaction(self, originals: list[Original]) -> None:
        self._producer.begin_transaction()
        for each in originals:
            headers: list[Any] = list(each.headers)
            self._producer.produce(each.topic, each.value, each.key, headers=headers)
        self._call(self._producer.commit_transaction, 15)

    @staticmethod
    def _call(call: Callable[[float], object], seconds: float) -> None:
        """Call again while Kafka says that calling again may help."""
        while True:
            try:
                call(seconds)
                return
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
