"""Where the records go: a file or Kafka, as fast as they come or at a rate; and the count of what was written."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Protocol

from confluent_kafka import KafkaError, Message, Producer

from flows.retailer.faults import BROKEN, DUPLICATE, LATE, WITH_JUNK
from flows.retailer.population import DAY
from flows.retailer.simulation import Chunk, Retailer
from schemas.errors import TouchstreamError

#: Records handed over at a time; at a rate, what is due in this many seconds.
_BATCH, BEAT = 1_000, 0.02
#: How long the end of a run waits for Kafka to confirm what is under way, in seconds.
_FLUSH_SECONDS = 60.0


@dataclass
class Summary:
    """What was written: ``written = valid + duplicates + broken``; late and junk ones are valid.

    ``failed`` of the written ones Kafka did not confirm. ``seconds`` are real, ``days`` simulated.
    """

    written: int = 0
    valid: int = 0
    duplicates: int = 0
    broken: int = 0
    late: int = 0
    junk: int = 0
    failed: int = 0
    seconds: float = 0.0
    per_second: float = 0.0
    days: float = 0.0

    def count(self, chunk: Chunk) -> None:
        kinds = chunk.kinds
        self.written += len(kinds)
        self.duplicates += kinds.count(DUPLICATE)
        self.broken += kinds.count(BROKEN)
        self.late += kinds.count(LATE)
        self.junk += kinds.count(WITH_JUNK)
        self.valid = self.written - self.duplicates - self.broken

    def as_dict(self) -> dict[str, int | float]:
        return asdict(self)


class Sink(Protocol):
    """Takes records; `close` returns how many did not arrive."""

    def write(self, chunk: Chunk) -> None: ...

    def close(self) -> int: ...


class FileSink:
    """Lines of a file (NDJSON, but for the broken ones)."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, chunk: Chunk) -> None:
        self._file.write(b"\n".join(chunk.events) + b"\n")

    def close(self) -> int:
        self._file.close()
        return 0


class KafkaSink:
    """Records of a topic, keyed by the device, card or system they come from; idempotent, delivery confirmed."""

    def __init__(self, bootstrap: str, topic: str, properties: Mapping[str, str | int | bool] | None = None) -> None:
        settings: dict[str, str | int | bool] = {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 5,
            "batch.size": 262_144,
            "queue.buffering.max.messages": 500_000,
            "queue.buffering.max.kbytes": 524_288,
            "delivery.report.only.error": True,
        }
        failures: Counter[str] = Counter()

        def failed(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failures[error.name()] += 1

        # Not a method: the producer would hold the sink that holds it, and live until a collection.
        self._producer = Producer(settings | dict(properties or {}) | {"on_delivery": failed})
        self._topic = topic
        self.failures = failures

    def write(self, chunk: Chunk) -> None:
        for key, event in zip(chunk.keys, chunk.events, strict=True):
            self._send(self._topic, event, key)
        self._producer.poll(0)

    def lines(self, topic: str, lines: Iterable[bytes]) -> None:
        """Write ``lines`` to another topic and wait until they are there. Raises `TouchstreamError` if they are not."""
        for line in lines:
            self._send(topic, line, None)
        if self.close():
            raise TouchstreamError(f"topic {topic} did not take the truth: {dict(self.failures) or 'no answer'}")

    def close(self) -> int:
        left: int = self._producer.flush(_FLUSH_SECONDS)
        return left + self.failures.total()

    # One `produce` per record: 1.1 us here, against 1.5 for `produce_batch` with a dict per record (2.16.1).
    def _send(self, topic: str, value: bytes, key: bytes | None) -> None:
        while True:
            try:
                return self._producer.produce(topic, value, key)
            except BufferError:  # the queue is full: wait for the broker
                self._producer.poll(0.1)


def write(
    retailer: Retailer,
    sink: Sink,
    *,
    events: int | None = None,
    rate: float | None = None,
    seconds: float | None = None,
    beat: float = BEAT,
    stop: Event | None = None,
    progress: Callable[[Summary], None] | None = None,
) -> Summary:
    """Write up to ``events`` records, for up to ``seconds`` (real), at ``rate`` a second or as fast as possible.

    At a rate, what is due in ``beat`` seconds is written together, up to 1,000 records; history is written at once,
    before the clock runs. Ends early when ``stop`` is set; what was written is flushed and counted in any case.
    """
    stop, summary, began = stop or Event(), Summary(), time.monotonic()
    size = _BATCH if rate is None else max(1, min(_BATCH, int(rate * beat)))
    past, opened = 0, began
    for chunk in retailer.chunks(size):
        history = chunk.at <= retailer.start_ms
        if rate is not None and not history:
            stop.wait(max(0.0, (summary.written - past) / rate - (time.monotonic() - opened)))
        if stop.is_set() or (seconds is not None and time.monotonic() - began >= seconds):
            break
        whole = _first(chunk, None if events is None else events - summary.written)
        sink.write(whole)
        _account(summary, whole, began, retailer)
        if progress:
            progress(summary)
        if history:
            past, opened = summary.written, time.monotonic()
        if summary.written == events:
            break
    summary.failed = sink.close()
    return summary


def write_file(
    retailer: Retailer, path: Path, *, events: int | None = None, rate: float | None = None, stop: Event | None = None
) -> Summary:
    """`write` to a file."""
    return write(retailer, FileSink(path), events=events, rate=rate, stop=stop)


def write_kafka(
    retailer: Retailer,
    bootstrap: str,
    topic: str,
    *,
    events: int | None = None,
    rate: float | None = None,
    properties: Mapping[str, str | int | bool] | None = None,
    stop: Event | None = None,
) -> Summary:
    """`write` to a topic of a Kafka."""
    return write(retailer, KafkaSink(bootstrap, topic, properties), events=events, rate=rate, stop=stop)


def _first(chunk: Chunk, left: int | None) -> Chunk:
    if left is None or left >= len(chunk.events):
        return chunk
    return Chunk(chunk.at, chunk.events[:left], chunk.keys[:left], chunk.kinds[:left])


def _account(summary: Summary, chunk: Chunk, began: float, retailer: Retailer) -> None:
    summary.count(chunk)
    summary.seconds = round(time.monotonic() - began, 3)
    summary.per_second = round(summary.written / max(summary.seconds, 0.001), 1)
    summary.days = round((chunk.at - retailer.start_ms) / DAY, 2)
