"""The producing side of a flow: a batch's outputs and its input offsets as one transaction."""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Protocol

import msgspec
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer, TopicPartition

from operators import metrics
from operators.access import Complaints, raise_if_denied
from operators.failpoints import failpoint
from operators.kafka import answers, client_properties
from operators.watchdog import Watchdog
from schemas import stitched
from schemas.config import Config
from schemas.errors import AccessDenied, ClockSkew, TouchstreamError
from schemas.outputs import Alert
from schemas.stitched import Tick
from schemas.topics import ALERTS, LARGEST_OUTPUT, STITCHED, topic_name

log = logging.getLogger(__name__)


class Publishable(Protocol):
    """A record to publish; partition -1 lets Kafka choose by key."""

    @property
    def topic(self) -> str:
        """Where to."""

    @property
    def partition(self) -> int:
        """Where to."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def value(self) -> bytes | None:
        """Its content; None says that what its key named is gone."""


class Aborted(TouchstreamError):
    """The transaction was given up; what it held must be published again after taking over."""


class Fenced(TouchstreamError):
    """The producer can never be used again; the process leaves and starts anew."""


#: How long one step of a transaction is tried again (seconds). The broker gives the transaction itself up far sooner.
PATIENCE = 60.0
#: How long offsets may take (seconds) while the broker answers otherwise; so long it keeps a transaction.
OFFSETS_SECONDS = 10.0
#: What says that a trigger's value is a CloudEvent, whole (Kafka protocol binding of CloudEvents 1.0, structured mode).
CLOUD_EVENT = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
#: How often the broker's clock is compared with ours (seconds).
CLOCK_EVERY = 5.0
#: The flows that write to ``stitched``.
STAMPING = frozenset(("stitch", "engage", "learn", "rewards"))

_alert = msgspec.json.Decoder(Alert)


class Transactions:
    """A transactional producer with an id of its own, unique per incarnation.

    Of a flow that stamps records it compares the process' clock, which stamps ``at``, with the broker's, which stamps
    ``stitched``: now and then, and before anything is stamped.
    """

    def __init__(self, config: Config, flow: str) -> None:
        self.id = f"{config.prefix}.{flow}.{uuid.uuid4().hex}"
        self._flow = flow
        # With the log's clock nothing is stamped with ours.
        stamps = config.clock == "process" and flow in STAMPING
        self._stitched = topic_name(config, STITCHED) if stamps else None
        self._triggers = topic_name(config, "triggers")
        self._alerts = topic_name(config, ALERTS)
        self._tolerated_ms = config.limits.clock_skew_seconds * 1000
        self._compared_at = 0.0
        self._skew_ms = 0
        self._failed, self._aborted = metrics.DELIVERY_FAILURES.labels(flow), metrics.TRANSACTIONS_ABORTED.labels(flow)
        metrics.expect([metrics.ALERTS])
        self._seconds = metrics.BATCH_SECONDS.labels(flow, "publish")
        self._published = lru_cache(partial(metrics.RECORDS_PUBLISHED.labels, flow))
        self._producer = self._connect(config, self.id)
        self._watchdog = Watchdog("send_offsets_to_transaction", OFFSETS_SECONDS, partial(answers, self._producer))
        metrics.PRODUCER_QUEUE.source(self._queue)
        if self._stitched is not None:
            self._compare_first(self._stitched)

    @staticmethod
    def _connect(config: Config, transactional_id: str) -> Producer:
        complaints = Complaints()
        producer = Producer(
            {
                **client_properties(config),
                "error_cb": complaints,
                "transactional.id": transactional_id,
                "transaction.timeout.ms": config.kafka.transaction_timeout_ms,
                # Back-to-back transactions wait this long for the markers of the one before; the default of
                # 100 ms costs three quarters of the latency.
                "retry.backoff.ms": 2,
                "linger.ms": 0,
                "queue.buffering.max.messages": 1_000_000,
                "message.max.bytes": LARGEST_OUTPUT,
                "log_level": 3,
            }
        )
        try:
            producer.init_transactions(30)
        except KafkaException as error:
            producer.poll(0)
            raise_if_denied(complaints.instead_of(error))
            raise
        return producer

    @classmethod
    def fence(cls, config: Config, transactional_id: str) -> None:
        """End whatever transaction the dead owner of ``transactional_id`` left open. For speed, not for safety."""
        try:
            cls._connect(config, transactional_id)
        except (KafkaException, AccessDenied) as error:
            log.warning("could not fence the predecessor", extra={"error": str(error.args[0])})

    def publish(self, outputs: Sequence[Publishable], offsets: Sequence[TopicPartition], group: Any) -> None:
        """Write ``outputs`` and commit ``offsets`` of ``group`` in one transaction.

        Raises `Aborted` when the transaction was given up and `Fenced` when the producer is done for.
        """
        producer, started = self._producer, time.perf_counter()
        try:
            self._retry(producer.begin_transaction)
            self._produce(outputs)
            failpoint(f"{self._flow}.before_offsets")
            if offsets:
                with self._watchdog:
                    self._retry(producer.send_offsets_to_transaction, list(offsets), group, OFFSETS_SECONDS)
            self._retry(producer.commit_transaction, 10)
        except KafkaException as error:
            self._failed.inc(len(outputs))
            self._give_up(error)
        self._seconds.observe(time.perf_counter() - started)
        for topic, count in Counter([output.topic for output in outputs]).items():
            self._published(topic).inc(count)
            if topic == self._alerts:
                _count_alerts([output.value for output in outputs if output.topic == topic])
        producer.poll(0)
        self._check_skew()

    def _compare_first(self, topic: str) -> None:
        """Compare the clocks by a record that nobody will read: its transaction is aborted."""
        producer, compare = self._producer, partial(self._compare_clocks, time.time_ns() // 1_000_000)
        try:
            self._retry(producer.begin_transaction)
            producer.produce(topic, stitched.encode(Tick(0, 0)), partition=0, on_delivery=compare)
            producer.flush(10)
            self._retry(producer.abort_transaction, 10)
        except KafkaException as error:
            self._give_up(error)
        self._check_skew()

    def _check_skew(self) -> None:
        if self._skew_ms:
            raise ClockSkew(
                f"this machine's clock and the broker's are {self._skew_ms / 1000:+.1f} s apart (limit "
                f"{self._tolerated_ms / 1000:.0f} s): set it right (NTP) before this process stamps more records"
            )

    def _queue(self) -> list[metrics.Sample]:
        return [((self._flow,), len(self._producer))]

    def _produce(self, outputs: Sequence[Publishable]) -> None:
        produce, probe = self._producer.produce, self._probe(outputs)
        for output in outputs:
            options: dict[str, Any] = {"headers": CLOUD_EVENT} if output.topic == self._triggers else {}
            if output is probe:
                options["on_delivery"] = partial(self._compare_clocks, time.time_ns() // 1_000_000)
            try:
                produce(output.topic, output.value or None, output.key, output.partition, **options)
            except BufferError:
                # The queue is full: wait until it has drained, then this one fits.
                self._producer.flush()
                produce(output.topic, output.value or None, output.key, output.partition, **options)

    def _probe(self, outputs: Sequence[Publishable]) -> Publishable | None:
        """The output whose delivery compares the clocks, when it is time to."""
        if time.monotonic() - self._compared_at <= CLOCK_EVERY:
            return None
        probe = next((output for output in outputs if output.topic == self._stitched), None)
        if probe is not None:
            self._compared_at = time.monotonic()
        return probe

    def _compare_clocks(self, before_ms: int, error: KafkaError | None, message: Message) -> None:
        """The broker appended the record between ``before_ms`` and now, or one of the clocks is wrong."""
        kind, appended_ms = message.timestamp()
        if error is None and kind == TIMESTAMP_LOG_APPEND_TIME:
            late, early = before_ms - appended_ms, time.time_ns() // 1_000_000 - appended_ms
            skew = late if late > 0 else min(0, early)
            self._skew_ms = skew if abs(skew) > self._tolerated_ms else 0

    def _retry(self, call: Callable[..., Any], *args: Any) -> None:
        """Call again while Kafka says that calling again may help, but not for ever: a new process gets further."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                call(*args)
                return
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
                if time.monotonic() > deadline:
                    raise Fenced(f"gave up after {PATIENCE:.0f} s: {error.args[0].str()}") from error

    def _give_up(self, error: KafkaException) -> None:
        cause: KafkaError = error.args[0]
        if cause.fatal() or cause.code() in (KafkaError._FENCED, KafkaError._STATE):
            raise_if_denied(error)
            raise Fenced(f"transactional producer is out: {cause.str()}") from error
        self._aborted.inc()
        log.warning("transaction aborted", extra={"error": cause.str()})
        try:
            self._retry(self._producer.abort_transaction, 10)
        except KafkaException as second:
            raise Fenced(f"abort failed: {second.args[0].str()}") from second
        raise_if_denied(error)
        raise Aborted(cause.str()) from error


def _count_alerts(values: Sequence[bytes | None]) -> None:
    for value in values:
        if value is not None:
            metrics.ALERTS.labels(_alert.decode(value).kind).inc()
