"""The one reader behind all pages: a thread that follows the output topics and keeps what the screens know.

However many look, the flows notice one reader; viewers never touch Kafka. It reads outside any group, committed records
alone, begins a while before the end and goes on when a broker that was gone is back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from flows.web.known import READ, Known
from operators.kafka import Partition, client_properties
from schemas.config import Config
from schemas.topics import KPIS, topic_name, topics

log = logging.getLogger(__name__)

BATCH: Final = 2_000
#: So long (seconds) a look waits, and a broker that says nothing is given before it is asked whether it is there.
WAIT, QUIET = 0.1, 2.0
#: How long that broker has to answer, and how long to wait before the next attempt (seconds).
ANSWER, AGAIN = 2.0, 1.0
#: What a broker may say of a topic that does not pass by itself.
_LASTING: Final = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART})
#: How often (seconds) what is too old is let go of.
_TIDY: Final = 1.0


class Feed:
    """Follows the outputs of one deployment from `start` to `stop`. ``version`` rises whenever anything is new."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._names = {topic_name(config, name): name for name in READ}
        self._known = Known()
        self._next: dict[Partition, int] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._tidied = self._heard = 0.0
        self.version = 0
        #: Why nothing new can come, and since when (ms); empty while all is well.
        self.problem, self.problem_since = "Kafka has not answered yet", now_ms()

    def start(self) -> None:
        """Begin to read."""
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, once the look at hand is over."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(2 * (ANSWER + AGAIN))

    @contextmanager
    def known(self) -> Iterator[Known]:
        """What is known, held still meanwhile: be quick."""
        with self._lock:
            yield self._known

    # -- reading -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            consumer = self._consumer()
            try:
                consumer.assign(self._positions(consumer))
                self._fine()
                self._follow(consumer)
            except KafkaException as error:
                self._trouble(f"Kafka: {error.args[0].str()}")
                self._stopping.wait(AGAIN)
            finally:
                consumer.close()

    def _follow(self, consumer: Consumer) -> None:
        """Take what comes. Raises `KafkaException` for what a new consumer may get over."""
        self._heard = time.monotonic()
        while not self._stopping.is_set():
            # consume() waits its whole timeout for a full batch: take what is there, else wait for one.
            messages = consumer.consume(BATCH, 0)
            if not messages and (first := consumer.poll(WAIT)) is not None:
                messages = [first]
            self._take(messages)
            self._tidy()
            if time.monotonic() - self._heard > (AGAIN if self.problem else QUIET):
                self._ask(consumer)

    def _take(self, messages: list[Message]) -> None:
        found = False
        with self._lock:
            for message in messages:
                error, value, topic = message.error(), message.value(), message.topic() or ""
                if error is not None and (error.fatal() or error.code() in _LASTING):
                    raise KafkaException(error)
                if error is None and value is not None:
                    self._known.take(self._names[topic], _bytes(message.key()), _bytes(value), message.timestamp()[1])
                    self._next[topic, message.partition() or 0] = (message.offset() or 0) + 1
                    found = True
        if found:
            self._heard = time.monotonic()
            self._fine()
            self.version += 1

    def _ask(self, consumer: Consumer) -> None:
        """A shop may be quiet; whether its broker is there is asked."""
        try:
            consumer.list_topics(next(iter(self._names)), timeout=ANSWER)
        except KafkaException:
            self._trouble("Kafka does not answer")
        else:
            self._fine()
        self._heard = time.monotonic()

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied > _TIDY:
            self._tidied = time.monotonic()
            with self._lock:
                self._known.forget(now_ms())

    def _on_error(self, error: KafkaError) -> None:
        """What the client says by itself, while it is polled."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._trouble("Kafka does not answer")

    def _trouble(self, problem: str) -> None:
        if not self.problem:
            log.warning("nothing can be read", extra={"problem": problem})
            self.problem_since = now_ms()
        if problem != self.problem:
            self.problem = problem
            self.version += 1

    def _fine(self) -> None:
        if self.problem:
            log.info("reading", extra={"topics": sorted(self._names)})
            self.problem = ""
            self.version += 1

    # -- where to begin ------------------------------------------------------------------------------------

    def _consumer(self) -> Consumer:
        return Consumer(
            {
                **client_properties(self._config),
                "group.id": f"{self._config.prefix}.reader",  # needed by the client, never joined or committed to
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
                "reconnect.backoff.max.ms": 1_000,
                "log_level": 0,
                "error_cb": self._on_error,
            }
        )

    def _positions(self, consumer: Consumer) -> list[TopicPartition]:
        """Where to go on; at the start so far before the end as `READ` says."""
        found = []
        for topic in topics(self._config):
            if topic.name in self._names:
                most = max(1, READ[self._names[topic.name]] // topic.partitions)
                found += [self._position(consumer, topic.name, number, most) for number in range(topic.partitions)]
        return found

    def _position(self, consumer: Consumer, topic: str, number: int, most: int) -> TopicPartition:
        place = TopicPartition(topic, number)
        first, end = consumer.get_watermark_offsets(place, timeout=ANSWER)
        offset = max(first, min(end, self._next.get((topic, number), end - most)))
        if self._names[topic] == KPIS and offset == 0:
            with self._lock:
                self._known.begin()
        return TopicPartition(topic, number, offset)


def now_ms() -> int:
    """The clock on the wall."""
    return time.time_ns() // 1_000_000


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""
