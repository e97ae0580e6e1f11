"""Send a file of touchpoints, one JSON object a line, to a source topic.

Lines go out as they are, broken ones too: what cannot be used becomes a dead letter and is never dropped
in silence. The record key is the first identifier's value (else the id), so that the order of one
customer's lines is the order in Kafka.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaException, Producer

from flows.admin import admin_client
from flows.reading import partition_counts
from operators.kafka import client_properties
from schemas import touchpoint
from schemas.config import Config
from schemas.errors import RecordFault, TouchstreamError
from schemas.topics import topic_name

#: Lines between two looks at deliveries and at the clock.
STRIDE: Final = 500
#: Seconds between two reports of progress.
REPORT_SECONDS: Final = 0.2
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass
class Ingested:
    """What became of the lines: read, confirmed by Kafka, failed, blank ones skipped; ``error``: the last failure."""

    lines: int = 0
    delivered: int = 0
    failed: int = 0
    blank: int = 0
    invalid: int = 0
    error: str = ""


def ingest(
    config: Config,
    lines: Iterable[bytes],
    *,
    topic: str | None = None,
    at_event_time: bool = False,
    rate: float | None = None,
    progress: Callable[[Ingested], object] = lambda done: None,
) -> Ingested:
    """Send ``lines`` and wait until Kafka has confirmed or refused each.

    ``topic``: a source topic's name without the prefix (default: the first). ``at_event_time``: stamp ``at`` with
    the event time, which deployments with ``clock: log`` take for now. ``rate``: lines a second. Raises
    `TouchstreamError` when the topic is no source, does not exist, or no broker answers.
    """
    sending = _Sending(config, source_topic(config, topic), at_event_time, rate, progress)
    try:
        for line in lines:
            sending.take(line)
    finally:  # also when interrupted: what was handed over is waited for
        sending.finish()
    return sending.done


def source_topic(config: Config, name: str | None) -> str:
    """The full name of source topic ``name``. Raises `TouchstreamError` when it is none."""
    sources = {each: topic_name(config, each) for each in config.topics.sources}
    if name is None:
        return next(iter(sources.values()))
    if name not in sources and name not in sources.values():
        raise TouchstreamError(f"{name!r} is not a source topic; topics.sources has: {', '.join(sources)}")
    return sources.get(name, name)


class _Sending:
    """One run: the producer, its counts, its pace."""

    def __init__(
        self,
        config: Config,
        topic: str,
        at_event_time: bool,
        rate: float | None,
        progress: Callable[[Ingested], object],
    ) -> None:
        self.done = Ingested()
        self._topic, self._stamp, self._rate, self._progress = topic, at_event_time, rate, progress
        partition_counts(admin_client(config), [topic])
        self._producer = Producer(
            {
                **client_properties(config),
                "enable.idempotence": True,
                "linger.ms": 20,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 100_000,
                "message.max.bytes": 16_000_000,
                "partitioner": "murmur2_random",  # as Java clients do it
                "log_level": 3,
            }
        )
        self._started = time.monotonic()
        self._reported = 0.0

    def take(self, line: bytes) -> None:
        """Send one line."""
        line = line.strip()
        if not line:
            self.done.blank += 1
            return
        self.done.lines += 1
        key, value = self._record(line)
        self._produce(key, value)
        if self.done.lines % STRIDE == 0 or self._rate:
            self._producer.poll(self._early())
            self._report()

    def finish(self) -> None:
        """Wait until nothing is under way."""
        while self._producer.flush(REPORT_SECONDS) > 0:
            self._progress(self.done)
        self._progress(self.done)

    def _record(self, line: bytes) -> tuple[bytes | None, bytes]:
        try:
            decoded = touchpoint.decode(line)
            ids = touchpoint.decode_identifiers(decoded.identifiers)
        except RecordFault:
            self.done.invalid += 1
            return None, line
        key = (ids[0].value if ids else decoded.id).encode(errors="replace")
        return key, stamped(line, int(decoded.time)) if self._stamp else line

    def _produce(self, key: bytes | None, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value, key, on_delivery=self._delivered)
                return
            except BufferError:
                self._producer.poll(0.1)
                self._report()
            except KafkaException as error:  # too large, say
                self._failure(error.args[0].str())
                return

    def _delivered(self, error: Any, message: Any) -> None:
        if error is None:
            self.done.delivered += 1
        else:
            self._failure(error.str())

    def _failure(self, text: str) -> None:
        self.done.failed += 1
        self.done.error = text

    def _early(self) -> float:
        """Seconds this run is ahead of its pace."""
        if not self._rate:
            return 0.0
        return max(0.0, self._started + self.done.lines / self._rate - time.monotonic())

    def _report(self) -> None:
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self._reported = time.monotonic()
            self._progress(self.done)


def stamped(line: bytes, at: int) -> bytes:
    """``line`` with ``at`` set; every other field keeps its very bytes."""
    fields: dict[str, Any] = dict(_fields.decode(line))
    fields["at"] = at
    return msgspec.json.encode(fields)
